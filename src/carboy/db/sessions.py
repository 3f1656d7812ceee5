"""The session of a request: which one ``db.session`` is, and when it ends.

Sync code has a ``Session``, code on an event loop an ``AsyncSession``. Each context has at most one of each for its own
flow: hooks, view and streamed body, which follow one another. What runs beside that flow, a thread or a task that a
view has started, gets a session of its own: a session must not be used by two at once (SQLAlchemy, "Is the Session
thread-safe?").
"""

from __future__ import annotations

import asyncio
import threading
import typing as t

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction
from sqlalchemy.sql import visitors
from sqlalchemy.util.concurrency import await_only, in_greenlet

from carboy import current_app
from carboy.concurrency import is_async, is_in_our_thread, is_on_loop, keep

from .watch import note_lazy_load

if t.TYPE_CHECKING:
    from carboy.context import AppContext

    from .database import Database

Hook = t.Callable[[], t.Any]


class RequestSession(Session):
    """A session that finds the database of each model, and runs what waits for its commit.

    ``expire_on_commit`` is off: an object stays readable after a commit, as it must for async code, which cannot load
    an attribute by reading it. After ``close`` it refuses to work, since nobody would close it again.

    Args:
        bind: The main database's engine.
        engine: Returns the engine of another database, where there are several.
        **options: As of :class:`sqlalchemy.orm.Session`.
    """

    def __init__(
        self, bind: t.Any = None, *, engine: t.Callable[[str], Engine] | None = None, **options: t.Any
    ) -> None:
        super().__init__(bind, **{"expire_on_commit": False, "close_resets_only": False} | options)
        self._engine = engine
        self.wrote = False
        self.transaction: t.Any = None
        self.committed: SessionTransaction | None = None
        self.after_commit: list[tuple[SessionTransaction | None, Hook]] = []

    def call_after_commit(self, hook: Hook) -> None:
        """Call *hook* after the commit; at once if no transaction has begun."""
        if self.in_transaction():
            self.after_commit.append((self.get_nested_transaction(), hook))
        else:
            _run_hook(self, hook)

    @property
    def is_pending(self) -> bool:
        """Whether a commit would write something, or `transaction` will commit it."""
        return self.transaction is not None or self.wrote or bool(self.new or self.dirty or self.deleted)

    def get_bind(self, mapper: t.Any = None, *, clause: t.Any = None, bind: t.Any = None, **kw: t.Any) -> t.Any:
        """Return the engine for a statement, by its first table's metadata."""
        if bind is None and self._engine is not None:
            tables = [mapper.persist_selectable] if hasattr(mapper, "persist_selectable") else _tables(clause)
            for table in tables:
                metadata = getattr(table, "metadata", None)
                if metadata is not None and "bind_key" in metadata.info:
                    return self._engine(metadata.info["bind_key"])
        return super().get_bind(mapper, clause=clause, bind=bind, **kw)


def _tables(clause: t.Any) -> t.Iterator[t.Any]:
    if clause is not None:
        for element in visitors.iterate(clause):
            if getattr(element, "__visit_name__", None) == "table":
                yield element
            elif (table := getattr(element, "table", None)) is not None:
                yield table


@event.listens_for(RequestSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    if not state.is_select:
        t.cast(RequestSession, state.session).wrote = True
    elif state.is_relationship_load:
        note_lazy_load(state)


@event.listens_for(RequestSession, "after_flush")
def _note_flush(session: RequestSession, context: t.Any) -> None:
    session.wrote = True


@event.listens_for(RequestSession, "after_commit")
def _note_commit(session: RequestSession) -> None:
    session.committed = session.get_nested_transaction() or session.get_transaction()


@event.listens_for(RequestSession, "after_transaction_end")
def _run_hooks(session: RequestSession, transaction: SessionTransaction) -> None:
    # Only now: the session has left the transaction and can begin another, which hooks may want to.
    is_committed, session.committed = session.committed is transaction, None
    if not transaction.nested:
        if transaction.parent is None:
            session.wrote = False
            hooks, session.after_commit = session.after_commit, []
            if is_committed:
                for _, hook in hooks:
                    _run_hook(session, hook)
        return
    outer = transaction.parent if transaction.parent is not None and transaction.parent.nested else None
    session.after_commit = [
        (outer, hook) if owner is transaction else (owner, hook)
        for owner, hook in session.after_commit
        if is_committed or owner is not transaction
    ]


def _run_hook(session: RequestSession, hook: Hook) -> None:
    # What was committed stays so, and the other hooks count on it: one that fails is told, not raised.
    try:
        if is_async(hook):
            await_only(hook())
        else:
            hook()
    except Exception:
        current_app.logger.exception("A function that was to run after the commit failed: %r", hook)


class Scope:
    """The sessions of one context.

    Args:
        database: Whose.
        ctx: Whose context.
        options: Of the sessions; see `RequestSession`.
    """

    def __init__(self, database: Database, ctx: AppContext, **options: t.Any) -> None:
        self._database = database
        self._ctx = ctx
        self._options = options
        self._threads: dict[int | None, RequestSession] = {}
        self._task: asyncio.Task[t.Any] | None = None
        self._session: AsyncSession | None = None
        self._others: dict[asyncio.Task[t.Any], AsyncSession] = {}

    def sync(self) -> RequestSession:
        """Return the session for this thread."""
        key = None if is_in_our_thread() else threading.get_ident()
        session = self._threads.get(key)
        if session is None:
            if not self._threads:
                self._ctx.call_at_teardown(self._close_sync)
            session = self._threads[key] = self._database.new_session(**self._options)
        return session

    def asynchronous(self) -> AsyncSession:
        """Return the session for this task; inside ``run_sync`` its sync side."""
        task = asyncio.current_task()
        session = self._session
        if task is not self._task and self._task is not None and not self._task.done():
            return self._for_other_task(task)
        # Hooks and view may be tasks of their own, one after the other.
        self._task = task
        if session is None:
            self._ctx.call_at_teardown(self._close_async)
            session = self._session = self._database.aio.new_session(**self._options)
        return session

    def pending(self) -> RequestSession | None:
        """Return what `sync` or `asynchronous` would (of it, the sync side), if it has something to commit."""
        session: t.Any
        if is_on_loop():
            task = asyncio.current_task()
            session = self._session if task is self._task else self._others.get(t.cast(t.Any, task))
            session = None if session is None else session.sync_session
        else:
            session = self._threads.get(None if is_in_our_thread() else threading.get_ident())
        return session if session is not None and session.is_pending else None

    def _for_other_task(self, task: asyncio.Task[t.Any] | None) -> AsyncSession:
        if task is None:
            raise RuntimeError("An async session needs a task: this is a callback of the event loop.")
        session = self._others.get(task)
        if session is None:
            session = self._others[task] = self._database.aio.new_session(**self._options)
            task.add_done_callback(self._other_task_ended)
        return session

    def _other_task_ended(self, task: asyncio.Task[t.Any]) -> None:
        session = self._others.pop(task, None)
        if session is not None:
            keep(task.get_loop().create_task(session.close()))

    def _close_sync(self, exc: BaseException | None) -> None:
        sessions, self._threads = self._threads, {}
        for session in sessions.values():
            self._database._warn_of_loss(session, exc)
            session.close()

    async def _close_async(self, exc: BaseException | None) -> None:
        session, self._session, self._task = self._session, None, None
        if session is not None:
            self._database._warn_of_loss(session.sync_session, exc)
            # A client that leaves cancels this task, possibly here.
            await asyncio.shield(session.close())


def current_side(session: AsyncSession) -> AsyncSession | Session:
    """Return what the code that asks can use: inside ``run_sync``, where nothing can be awaited, the sync session."""
    return session.sync_session if in_greenlet() else session
