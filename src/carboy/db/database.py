"""``Database``: what an application's code has in hand."""

from __future__ import annotations

import asyncio
import functools
import itertools
import typing as t

from sqlalchemy import MetaData, ScalarResult, Select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.util.concurrency import in_greenlet

from carboy import Blueprint, abort, current_app
from carboy.concurrency import is_on_loop
from carboy.context import current_app_context, innermost_context
from carboy.health import TIMEOUT, add_check, failing_checks
from carboy.lazy import lazy

from . import failures
from .commands import db_command
from .engines import Engines, Key
from .models import Model
from .pages import MAX_PER_PAGE, Numbered, Page, Slice, Sliced
from .sessions import DebugSession, Hook, RequestSession, Scope, current_side
from .settings import Settings
from .transactions import Transaction
from .watch import Watch

if t.TYPE_CHECKING:
    from carboy import Carboy

    from .migrations import Migrations

T = t.TypeVar("T")
P = t.ParamSpec("P")

EXTENSION = "carboy.db"
"""The key of an application's engines in ``app.extensions``."""

SESSION_OPTIONS = {
    # Objects stay readable, as they must for async code, which cannot load an attribute by reading it.
    "expire_on_commit": False,
    # A session that was closed refuses to work: nobody would close it again.
    "close_resets_only": False,
}


class Database:
    """A database of an application, or several, for sync and async code.

    ``db.session`` and the methods that use it are right wherever they are called: in a sync view ``db.session`` is a
    ``Session`` and ``db.get_or_404(…)`` returns a row; in an async view it is an ``AsyncSession`` and the same call
    returns something to await. Type checkers see the sync side; `aio` is the async one for them.

    Args:
        app: Given to `init_app`.
        model: The declarative base of the models; by default one is made, `Model`.
        session_options: For every session; see `sqlalchemy.orm.Session`.

    Example::

        db = Database()

        class Beer(db.Model):
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]

        @app.get("/beers/<int:id>")
        async def beer(id):
            return {"name": (await db.get_or_404(Beer, id)).name}
    """

    Model: type[t.Any]

    def __init__(
        self,
        app: Carboy | None = None,
        *,
        model: type[DeclarativeBase] | None = None,
        session_options: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.Model = _new_base() if model is None else model
        self._session_options = {**SESSION_OPTIONS, **(session_options or {})}
        self._turns = itertools.count()
        self.aio = AsyncDatabase(self)
        self.seeds: list[t.Callable[[], t.Any]] = []
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Carboy) -> None:
        """Connect *app* to its databases, at the first use, as its configuration says.

        Raises:
            DatabaseURLError: A URL of the configuration cannot be used.
            RuntimeError: The application has a database already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError(
                f"{app!r} has a database already. Make one Database for an application; further databases are entries"
                " of DATABASE_BINDS."
            )
        settings = Settings.of(app)
        app.extensions[EXTENSION] = _State(app, self, Engines(settings, Watch(app, settings.slow_query).watch))
        failures.answer(app)
        # For the macros in its templates.
        app.register_blueprint(Blueprint("carboy_db", __name__, template_folder="templates"))
        app.shell_context_processor(lambda: {"db": self})
        app.cli.add_command(db_command)
        for key in settings.keys:
            add_check(app, _name_of_check(key), functools.partial(self._ping, key))
        app.after_serving(self._dispose)

    async def _dispose(self) -> None:
        engines = self.engines
        await engines.dispose_async()
        engines.dispose()

    # -- Engines and metadata ------------------------------------------------------

    @property
    def engines(self) -> Engines:
        """The engines of the current application.

        Raises:
            RuntimeError: No application is active, or this database was not given to it.
        """
        return self._state().engines

    def _state(self) -> _State:
        # PERF: not by the proxy, which takes four calls.
        app = current_app_context().app
        state = app.extensions.get(EXTENSION)
        if not isinstance(state, _State) or state.database is not self:
            raise RuntimeError(
                f"This Database was not connected to {app.name!r}. Call db.init_app(app) when you make the application."
            )
        return state

    @property
    def engine(self) -> Engine:
        """The main database's engine for sync code."""
        return self.engines.sync()

    @property
    def metadata(self) -> MetaData:
        """The tables of the main database."""
        metadata: MetaData = self.Model.metadata
        return metadata

    @property
    def metadatas(self) -> dict[str | None, MetaData]:
        """The tables of each database; None is the main one's name."""
        metadatas: dict[str | None, MetaData] = getattr(self.Model, "metadatas", {None: self.Model.metadata})
        return metadatas

    def create_all(self) -> None:
        """Create the tables that are missing, in all databases: for tests and sketches; see ``carboy db``."""
        for key, metadata in self.metadatas.items():
            metadata.create_all(self.engines.sync(key))

    def drop_all(self) -> None:
        """Drop the tables of all databases."""
        for key, metadata in self.metadatas.items():
            metadata.drop_all(self.engines.sync(key))

    def seed(self, func: t.Callable[[], T]) -> t.Callable[[], T]:
        """Have ``carboy db seed`` call *func*, sync or async, in a transaction of its own.

        It may be called again: let it look for what it adds.
        """
        self.seeds.append(func)
        return func

    @lazy
    def migrations(self) -> Migrations:
        """How the tables become what the models say; on the command line ``carboy db``."""
        from .migrations import Migrations

        return Migrations(self)

    # -- Health ----------------------------------------------------------------------

    def check(self, timeout: float = TIMEOUT) -> dict[str, str]:
        """Return which databases cannot be used just now and why, without passwords; nothing if all is well.

        The names are those that `carboy.health` has for them. To be awaited in async code.

        Args:
            timeout: Seconds until each must have answered.
        """
        if is_on_loop() and not in_greenlet():
            return self.aio.check(timeout)  # type: ignore[return-value]
        return failing_checks(current_app, timeout, only={_name_of_check(key) for key in self.engines.settings.keys})

    def _ping(self, key: Key) -> str | None:
        try:
            with self.engines.sync(key).connect() as connection:
                connection.exec_driver_sql(_PING)
        except Exception as e:
            return failures.told(e, self.engines.urls(key).sync)
        return None

    # -- Sessions --------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session of the current request, task, command or test.

        What was not committed is rolled back when its context ends.

        Raises:
            RuntimeError: No context is active.
        """
        session: Session = self._session_of("main")
        return session

    @property
    def read_session(self) -> Session:
        """The same for a replica of the main database; for the main one itself where there is none."""
        session: Session = self._session_of("read" if self.engines.settings.replicas else "main")
        return session

    def _session_of(self, kind: str) -> t.Any:
        ctx = innermost_context()
        scopes: dict[str, Scope] | None = getattr(ctx, "database_scopes", None)
        if scopes is None:
            scopes = ctx.database_scopes = {}  # type: ignore[attr-defined]
        scope = scopes.get(kind)
        if scope is None:
            replica = None if kind == "main" else next(self._turns) % len(self.engines.settings.replicas)
            scope = scopes[kind] = Scope(self, replica)
        return current_side(scope.asynchronous(ctx)) if is_on_loop() else scope.sync(ctx)

    def pending_session(self) -> RequestSession | None:
        """Return the current session, in async code its sync side, if it has something to commit.

        For what is to be stored with an application's data, or not at all. Makes no session.
        """
        scopes: dict[str, Scope] | None = getattr(innermost_context(), "database_scopes", None)
        scope = None if scopes is None else scopes.get("main")
        return None if scope is None else scope.pending()

    def new_session(self, *, replica: int | None = None, **options: t.Any) -> RequestSession:
        """Return a session of its own, to be closed by the caller: ``with db.new_session() as session:``.

        Args:
            replica: The number of a replica to read from.
            **options: As of :class:`sqlalchemy.orm.Session`.
        """
        app, _, engines = self._state()
        kind = DebugSession if app.debug else RequestSession
        session = kind(engines.sync(replica), **self._session_options | options)
        if len(engines.settings.urls) > 1:
            session.find_engine = engines.sync
        return session

    # -- Rows ------------------------------------------------------------------------

    def get_or_404(self, model: type[T], key: t.Any, *, description: str | None = None, **options: t.Any) -> T:
        """Return the row with a primary key, or answer 404.

        Args:
            model: A model.
            key: Its primary key; a tuple or dict if that has several columns.
            description: For the error page.
            **options: Of ``Session.get``.

        Raises:
            NotFound: There is none.
        """
        session = self.session
        if isinstance(session, AsyncSession):
            return self.aio.get_or_404(model, key, description=description, **options)
        return found(session.get(model, key, **options), description)

    def first_or_404(self, statement: Select[T], *, description: str | None = None) -> T:
        """Return the first row that a statement selects, or answer 404.

        Raises:
            NotFound: It selects none.
        """
        session = self.session
        if isinstance(session, AsyncSession):
            return self.aio.first_or_404(statement, description=description)
        return found(session.scalars(statement).first(), description)

    def one_or_404(self, statement: Select[T], *, description: str | None = None) -> T:
        """Return the only row that a statement selects, or answer 404.

        Raises:
            NotFound: It selects none, or several.
        """
        session = self.session
        if isinstance(session, AsyncSession):
            return self.aio.one_or_404(statement, description=description)
        return _one(session.scalars(statement), description)

    def paginate(
        self,
        statement: Select[T],
        *,
        page: int | None = None,
        per_page: int | None = None,
        max_per_page: int = MAX_PER_PAGE,
        count: bool = True,
    ) -> Page[T]:
        """Return one page of what a statement selects, by its number.

        Args:
            statement: With an order, so that pages do not overlap.
            page: From 1 on; by default the ``page`` of the request's query, or 1.
            per_page: Rows; by default the ``per_page`` of the request's query, or 20.
            max_per_page: What a request may ask for at most.
            count: Whether to count all rows, which takes a query of its own.

        Raises:
            NotFound: There is no such page.
        """
        session = self.session
        if isinstance(session, AsyncSession):
            return self.aio.paginate(statement, page=page, per_page=per_page, max_per_page=max_per_page, count=count)
        asked = Numbered(statement, page, per_page, max_per_page)
        rows: t.Any = session.scalars(asked.rows).all()
        return asked.page(rows, session.scalar(asked.count) if count else None)

    def paginate_by_key(
        self,
        statement: Select[T],
        *,
        after: str | None = None,
        before: str | None = None,
        per_page: int | None = None,
        max_per_page: int = MAX_PER_PAGE,
    ) -> Slice[T]:
        """Return some of what a statement selects, behind or before a row.

        That costs the same however far it is, and neither repeats nor leaves out rows while others come and go.

        Args:
            statement: With an order whose columns together are unique and never NULL.
            after: The cursor of an earlier slice; by default the ``after`` of the request's query.
            before: The same for what is before.
            per_page: Rows; by default the ``per_page`` of the request's query, or 20.
            max_per_page: What a request may ask for at most.

        Raises:
            BadRequest: The cursor is not one of this list.
            ValueError: The statement has no order.
        """
        session = self.session
        if isinstance(session, AsyncSession):
            return self.aio.paginate_by_key(
                statement, after=after, before=before, per_page=per_page, max_per_page=max_per_page
            )
        asked = Sliced(statement, after, before, per_page, max_per_page)
        return asked.slice(session.execute(asked.rows).all())

    # -- Transactions ------------------------------------------------------------------

    @t.overload
    def transaction(self, func: t.Callable[P, T]) -> t.Callable[P, T]: ...
    @t.overload
    def transaction(self, *, isolation: str | None = None, retries: int = 3) -> Transaction: ...
    def transaction(
        self, func: t.Callable[P, T] | None = None, *, isolation: str | None = None, retries: int = 3
    ) -> t.Callable[P, T] | Transaction:
        """Commit what is done in it as one, or nothing of it.

        A context manager (``with`` in sync, ``async with`` in async code) and a decorator of sync and async functions.
        As a decorator it calls the function again if the database gave it up for others' sake (a serialization failure,
        a deadlock) or the connection was lost before the commit. Inside another one it is a savepoint.

        Args:
            func: The function to decorate.
            isolation: ``"SERIALIZABLE"`` or another level; the database's own by default.
            retries: How many more times to call the function.
        """
        transaction = Transaction(self, isolation, retries)
        return transaction if func is None else transaction(func)

    def after_commit(self, func: Hook) -> None:
        """Call *func* when the current session's transaction has been committed; at once if none has begun.

        It is dropped if the transaction, or the savepoint in which it was given, is rolled back. An error in it is
        logged. In async code it may be async.
        """
        session = self.session
        sync_session = t.cast(RequestSession, session.sync_session if isinstance(session, AsyncSession) else session)
        sync_session.call_after_commit(func)


class AsyncDatabase:
    """The async side of a `Database`, under the same names: for type checkers, and for code that is async only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def engine(self) -> AsyncEngine:
        """The main database's engine of the running event loop."""
        return self._database.engines.asynchronous()

    async def check(self, timeout: float = TIMEOUT) -> dict[str, str]:  # noqa: ASYNC109
        """Return which databases cannot be used just now; see `Database.check`."""
        keys = self._database.engines.settings.keys
        answers = await asyncio.gather(*(self._ping(key, timeout) for key in keys))
        return {_name_of_check(key): wrong for key, wrong in zip(keys, answers, strict=True) if wrong is not None}

    async def _ping(self, key: Key, seconds: float) -> str | None:
        engines = self._database.engines
        try:
            async with asyncio.timeout(seconds), engines.asynchronous(key).connect() as connection:
                await connection.exec_driver_sql(_PING)
        except TimeoutError:
            return f"no answer within {seconds:g} seconds"
        except Exception as e:
            return failures.told(e, engines.urls(key).sync)
        return None

    @property
    def session(self) -> AsyncSession:
        """The async session of the current request or task.

        Raises:
            RuntimeError: No context is active, or this is sync code.
        """
        return self._checked(self._database.session)

    @property
    def read_session(self) -> AsyncSession:
        """The same for a replica of the main database; for the main one itself where there is none."""
        return self._checked(self._database.read_session)

    def _checked(self, session: t.Any) -> AsyncSession:
        if not isinstance(session, AsyncSession):
            raise RuntimeError("db.aio is for async code, and this is not run by an event loop. Use db.session.")
        return session

    def new_session(self, *, replica: int | None = None, **options: t.Any) -> AsyncSession:
        """Return an async session of its own: ``async with db.aio.new_session() as session:``."""
        app, database, engines = self._database._state()
        kind = DebugSession if app.debug else RequestSession
        options = database._session_options | options
        session = AsyncSession(engines.asynchronous(replica), sync_session_class=kind, **options)
        if len(engines.settings.urls) > 1:
            sync_session = t.cast(RequestSession, session.sync_session)
            sync_session.find_engine = lambda key: engines.asynchronous(key).sync_engine
        return session

    async def get_or_404(self, model: type[T], key: t.Any, *, description: str | None = None, **options: t.Any) -> T:
        """Return the row with a primary key, or answer 404; see `Database.get_or_404`."""
        return found(await self.session.get(model, key, **options), description)

    async def first_or_404(self, statement: Select[T], *, description: str | None = None) -> T:
        """Return the first row that a statement selects, or answer 404."""
        return found((await self.session.scalars(statement)).first(), description)

    async def one_or_404(self, statement: Select[T], *, description: str | None = None) -> T:
        """Return the only row that a statement selects, or answer 404."""
        return _one(await self.session.scalars(statement), description)

    async def paginate(
        self,
        statement: Select[T],
        *,
        page: int | None = None,
        per_page: int | None = None,
        max_per_page: int = MAX_PER_PAGE,
        count: bool = True,
    ) -> Page[T]:
        """Return one page of what a statement selects, by its number; see `Database.paginate`."""
        asked = Numbered(statement, page, per_page, max_per_page)
        rows: t.Any = (await self.session.scalars(asked.rows)).all()
        return asked.page(rows, await self.session.scalar(asked.count) if count else None)

    async def paginate_by_key(
        self,
        statement: Select[T],
        *,
        after: str | None = None,
        before: str | None = None,
        per_page: int | None = None,
        max_per_page: int = MAX_PER_PAGE,
    ) -> Slice[T]:
        """Return some of what a statement selects, behind or before a row; see `Database.paginate_by_key`."""
        asked = Sliced(statement, after, before, per_page, max_per_page)
        return asked.slice((await self.session.execute(asked.rows)).all())

    async def run_sync(self, func: t.Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a sync function that uses ``db.session`` from async code, on the async connection.

        For code that is shared with sync views. It must not block in any other way.
        """
        return await self.session.run_sync(lambda session: func(*args, **kwargs))


_PING = "SELECT 1"


def _name_of_check(key: Key) -> str:
    if key is None:
        return "database"
    return f"database replica {key}" if isinstance(key, int) else f"database {key!r}"


class _State(t.NamedTuple):
    """What an application knows of its database."""

    app: Carboy
    database: Database
    engines: Engines


def _new_base() -> type[DeclarativeBase]:
    class Base(Model, DeclarativeBase):
        pass

    return Base


def found(row: T | None, description: str | None) -> T:
    """Return *row*.

    Raises:
        NotFound: It is None.
    """
    if row is None:
        abort(404, description)
    return row


def _one(rows: ScalarResult[T], description: str | None) -> T:
    try:
        return rows.one()
    except (NoResultFound, MultipleResultsFound):
        abort(404, description)
