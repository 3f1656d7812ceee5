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
import warnings

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
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

    Attributes:
        find_engine: Returns the engine of another database than the session's, where there are several.
        wrote: Whether its transaction has done more than reading.
        transaction: The innermost `Transaction` that is open.
        committed: The transaction that has been committed and not ended.
        after_commit: What is to be called, and for which savepoint, if for one.
    """

    # PERF: defaults of the class, so that a session costs what one of SQLAlchemy does.
    find_engine: t.Callable[[str], Engine] | None = None
    wrote: bool = False
    transaction: t.Any = None
    committed: SessionTransaction | None = None
    after_commit: tuple[tuple[SessionTransaction | None, Hook], ...] = ()

    def call_after_commit(self, hook: Hook) -> None:
        """Call *hook* after the commit; at once if no transaction has begun."""
        if self.in_transaction():
            self.after_commit += ((self.get_nested_transaction(), hook),)
        else:
            _run_hook(self, hook)

    @property
    def is_pending(self) -> bool:
        """Whether a commit would write something, or `transaction` will commit it."""
        return self.transaction is not None or self.wrote or bool(self.new or self.dirty or self.deleted)

    def get_bind(self, mapper: t.Any = None, *, clause: t.Any = None, bind: t.Any = None, **kw: t.Any) -> t.Any:
        """Return the engine for a statement, by its first table's metadata."""
        # PERF: noted here, where each statement comes by: a listener for do_orm_execute would have it prepared twice.
        if clause is not None and not getattr(clause, "is_select", False):
            self.wrote = True
        if bind is None and self.find_engine is not None:
            tables = [mapper.persist_selectable] if hasattr(mapper, "persist_selectable") else _tables(clause)
            for table in tables:
                metadata = getattr(table, "metadata", None)
                if metadata is not None and "bind_key" in metadata.info:
                    return self.find_engine(metadata.info["bind_key"])
        return super().get_bind(mapper, clause=clause, bind=bind, **kw)


def _tables(clause: t.Any) -> t.Iterator[t.Any]:
    if clause is not None:
        for element in visitors.iterate(clause):
            if getattr(element, "__visit_name__", None) == "table":
                yield element
            elif (table := getattr(element, "table", None)) is not None:
                yield table


class DebugSession(RequestSession):
    """The session in debug mode: tells of rows that are loaded one by one, and of changes that are lost."""

    def warn_of_loss(self) -> None:
        """Warn of changes that were not committed."""
        lost = [*self.new, *self.dirty, *self.deleted]
        if lost:
            warnings.warn(
                f"Changes that were not committed are lost: {', '.join(map(repr, lost[:5]))}. Call db.session.commit(),"
                " or put them into 'with db.transaction():'.",
                stacklevel=2,
            )


@event.listens_for(DebugSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> None:
    if state.is_relationship_load:
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
            hooks, session.after_commit = session.after_commit, ()
            if is_committed:
                for _, hook in hooks:
                    _run_hook(session, hook)
        return
    outer = transaction.parent if transaction.parent is not None and transaction.parent.nested else None
    session.after_commit = tuple(
        (outer, hook) if owner is transaction else (owner, hook)
        for owner, hook in session.after_commit
        if is_committed or owner is not transaction
    )


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
    """The sessions of one context, which is told to each method: kept here it would be a cycle, for the collector.

    Args:
        database: Whose.
        replica: The number of the replica to read from; None for the main database.
    """

    def __init__(self, database: Database, replica: int | None) -> None:
        self._database = database
        self._replica = replica
        self._threads: dict[int | None, RequestSession] = {}
        self._task: asyncio.Task[t.Any] | None = None
        self._session: AsyncSession | None = None
        self._others: dict[asyncio.Task[t.Any], AsyncSession] = {}

    def sync(self, ctx: AppContext) -> RequestSession:
        """Return the session for this thread."""
        key = None if is_in_our_thread() else threading.get_ident()
        session = self._threads.get(key)
        if session is None:
            if not self._threads:
                ctx.call_at_teardown(self._close_sync)
            session = self._threads[key] = self._database.new_session(replica=self._replica)
        return session

    def asynchronous(self, ctx: AppContext) -> AsyncSession:
        """Return the session for this task; inside ``run_sync`` its sync side."""
        task = asyncio.current_task()
        session = self._session
        if task is not self._task and self._task is not None and not self._task.done():
            return self._for_other_task(task)
        # Hooks and view may be tasks of their own, one after the other.
        self._task = task
        if session is None:
            ctx.call_at_teardown(self._close_async)
            session = self._session = self._database.aio.new_session(replica=self._replica)
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
            session = self._others[task] = self._database.aio.new_session(replica=self._replica)
            task.add_done_callback(self._other_task_ended)
        return session

    def _other_task_ended(self, task: asyncio.Task[t.Any]) -> None:
        session = self._others.pop(task, None)
        if session is not None:
            keep(task.get_loop().create_task(_close(session)))

    def _close_sync(self, exc: BaseException | None) -> None:
        sessions, self._threads = self._threads, {}
        for session in sessions.values():
            if exc is None and isinstance(session, DebugSession):
                session.warn_of_loss()
            try:
                session.close()
            except DBAPIError:
                # The connection is lost, and with it what was to be rolled back. The answer is none the worse for it.
                session.invalidate()

    async def _close_async(self, exc: BaseException | None) -> None:
        session, self._session, self._task = self._session, None, None
        if session is not None:
            if exc is None and isinstance(session.sync_session, DebugSession):
                session.sync_session.warn_of_loss()
            # A client that leaves cancels this task, possibly here.
            await asyncio.shield(_close(session))


async def _close(session: AsyncSession) -> None:
    try:
        await session.close()
    except DBAPIError:
        await session.invalidate()


def current_side(session: AsyncSession) -> AsyncSession | Session:
    """Return what the code that asks can use: inside ``run_sync``, where nothing can be awaited, the sync session."""
    return session.sync_session if in_greenlet() else session
