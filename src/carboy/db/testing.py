"""Databases for tests: their own on the same server, left after each test as it found them.

There are two ways to leave a database as it was:

- `TestRun.rolled_back` gives sync and async code, all threads and requests, one and the same connection, in one
  transaction that is rolled back in the end. What an application takes for transactions are savepoints in it.
- `TestRun.emptied` lets the application work with connections of its own and commit; then all rows are deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import itertools
import re
import threading
import typing as t
from pathlib import Path

from sqlalchemy import MetaData, NullPool, StaticPool, create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util.concurrency import await_only, in_greenlet

from .database import EXTENSION, Database
from .engines import Engines, Key
from .settings import Settings
from .urls import DatabaseURLs

if t.TYPE_CHECKING:
    from carboy import Carboy

PREFIX = "test_"
"""How the name of a database for tests begins. Only such databases are made and dropped."""

LOCK_TIMEOUT = 5
"""Seconds to wait, when a database is emptied, for a transaction that the test has left open."""

_READS = re.compile(r"\s*(SELECT|VALUES|EXPLAIN|PRAGMA|SHOW)\b", re.IGNORECASE)

_numbers = itertools.count(1)


class TestRun:
    """The databases of a run of tests, made when they are first needed.

    A database ``shop`` on a server has ``test_shop`` beside it, made anew. For SQLite it is a file of its own. The
    application's own databases are not touched.

    Args:
        folder: For the files of SQLite.
        suffix: Of the databases' names, for runs at the same time.
        create_tables: Called once for each `Database`, in the context of an application, when its databases are empty.
    """

    __test__ = False
    """This is no class of tests, whatever pytest thinks of its name."""

    def __init__(
        self,
        folder: Path,
        *,
        suffix: str = "",
        create_tables: t.Callable[[Database], t.Any] = lambda database: database.create_all(),
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._create_tables = create_tables
        self._made: dict[URL, _Server] = {}
        self._files: dict[tuple[Database, Key], Path] = {}
        self._ready: set[tuple[Database, frozenset[URL]]] = set()
        self._shared: dict[URL, _Shared] = {}

    def close(self) -> None:
        """Drop the databases."""
        for shared in self._shared.values():
            shared.close()
        self._shared.clear()
        for url, server in self._made.items():
            server.drop(url)
        self._made.clear()
        self._ready.clear()

    @contextlib.contextmanager
    def rolled_back(self, app: Carboy) -> t.Iterator[Database]:
        """Undo in the end what is done meanwhile in the databases of *app*, commits included.

        Raises:
            RuntimeError: It has no database, or one for tests could not be made.
        """
        with self._prepared(app) as (state, settings):
            engines = _OneTransaction(settings, state.engines.made, self._shared)
            app.extensions[EXTENSION] = state._replace(engines=engines)
            try:
                yield state.database
            finally:
                engines.roll_back()

    @contextlib.contextmanager
    def emptied(self, app: Carboy) -> t.Iterator[Database]:
        """Delete in the end all rows of the tables of *app*; meanwhile it commits what it commits.

        Raises:
            RuntimeError: It has no database, or one for tests could not be made.
        """
        with self._prepared(app) as (state, settings):
            engines = _Unpooled(settings, state.engines.made)
            app.extensions[EXTENSION] = state._replace(engines=engines)
            try:
                yield state.database
            finally:
                for key, metadata in state.database.metadatas.items():
                    _empty(engines.sync(key), metadata)

    @contextlib.contextmanager
    def _prepared(self, app: Carboy) -> t.Iterator[tuple[t.Any, Settings]]:
        """Make what is missing; in the end *app* has its own databases again."""
        state: t.Any = app.extensions.get(EXTENSION)
        if state is None:
            raise RuntimeError(f"{app!r} has no database. Call db.init_app(app) when you make the application.")
        database: Database = state.database
        own: Settings = state.engines.settings
        urls = {key: self._urls(database, key, pair, own) for key, pair in own.urls.items()}
        settings = dataclasses.replace(own, urls=urls, replicas=tuple(urls[None] for _ in own.replicas))
        ready = (database, frozenset(pair.sync for pair in urls.values()))
        try:
            if ready not in self._ready:
                app.extensions[EXTENSION] = state._replace(engines=_Unpooled(settings, state.engines.made))
                with app.app_context():
                    self._create_tables(database)
                self._ready.add(ready)
            yield state, settings
        finally:
            app.extensions[EXTENSION] = state

    def _urls(self, database: Database, key: Key, own: DatabaseURLs, settings: Settings) -> DatabaseURLs:
        if own.sync.get_backend_name() == "sqlite":
            path = self._files.setdefault((database, key), self._folder / f"{PREFIX}{next(_numbers)}.sqlite")
            return DatabaseURLs(*(URL.create(url.drivername, database=str(path)) for url in own))
        name = f"{PREFIX}{str(own.sync.database).removeprefix(PREFIX)}{self._suffix}"
        urls = DatabaseURLs(*(url.set(database=name) for url in own))
        if urls.sync not in self._made:
            server = _Server(own.sync, settings)
            server.create(urls.sync)
            self._made[urls.sync] = server
        return urls


class _Server:
    """Makes and drops databases on the server of another one."""

    def __init__(self, own: URL, settings: Settings) -> None:
        is_postgresql = own.get_backend_name() == "postgresql"
        connect_args = {"connect_timeout": max(1, round(settings.connect_timeout))}
        self._engine = create_engine(
            # PostgreSQL cannot be talked to outside of a database.
            own.set(database="postgres" if is_postgresql else ""),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
            connect_args=connect_args | settings.engine_options.get("connect_args", {}),
        )
        self._force = " WITH (FORCE)" if is_postgresql else ""
        self._charset = "" if is_postgresql else " CHARACTER SET utf8mb4"

    def create(self, url: URL) -> None:
        name = self._quoted(url)
        try:
            # What a run that was cut off has left.
            self._run(f"DROP DATABASE IF EXISTS {name}{self._force}")
            self._run(f"CREATE DATABASE {name}{self._charset}")
        except DBAPIError as e:
            raise RuntimeError(
                f"The database {url.database!r} for tests could not be made on {url.host or 'this machine'}: {e.orig}"
                " Give the user of the URL the right to create databases."
            ) from e

    def drop(self, url: URL) -> None:
        self._run(f"DROP DATABASE IF EXISTS {self._quoted(url)}{self._force}")

    def _quoted(self, url: URL) -> str:
        return self._engine.dialect.identifier_preparer.quote_identifier(str(url.database))

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)


class _Unpooled(Engines):
    """Engines that leave no connection open: a test's event loop is gone when they would be closed."""

    def _options(self, url: URL) -> dict[str, t.Any]:
        return _without_pool(super()._options(url)) | {"poolclass": NullPool}


class _OneTransaction(Engines):
    """Engines of one connection for each database, in a transaction that never ends in between."""

    def __init__(self, settings: Settings, made: t.Callable[[Engine], None], shared: dict[URL, _Shared]) -> None:
        super().__init__(settings, made)
        self._shared = shared
        self._begun: dict[URL, _Begun] = {}

    def sync(self, key: Key = None) -> Engine:
        return self._of(key).engine

    def asynchronous(self, key: Key = None) -> AsyncEngine:
        return self._of(key).async_engine

    def dispose(self) -> None:
        """Leave it to the end of the test: the application may be started and stopped in it."""

    async def dispose_async(self) -> None:
        """Leave it, as `dispose` does."""

    def roll_back(self) -> None:
        """Undo all."""
        for url, begun in self._begun.items():
            self._shared[url].end(begun)

    def _of(self, key: Key) -> _Begun:
        url = self.urls(key).sync
        with self._lock:
            begun = self._begun.get(url)
            if begun is None:
                begun = self._begun[url] = self._connected(url).begin()
                self.made(begun.engine)
                self.made(begun.async_engine.sync_engine)
        return begun

    def _connected(self, url: URL) -> _Shared:
        options = self._options(url)
        shared = self._shared.get(url)
        if shared is None or not shared.fits(options):
            if shared is not None:
                shared.close()
            shared = self._shared[url] = _Shared(url, options, lambda engine: self._set_up(engine, url))
        return shared

    def _options(self, url: URL) -> dict[str, t.Any]:
        options = _without_pool(super()._options(url))
        # Nothing is committed by itself.
        options.pop("isolation_level", None)
        return options | {"poolclass": StaticPool, "pool_reset_on_return": None}


def _without_pool(options: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in options.items() if not name.startswith("pool") and name != "max_overflow"}


class _Begun(t.NamedTuple):
    """What the code of one test has of a shared connection."""

    engine: Engine
    async_engine: AsyncEngine


class _Shared:
    """One connection for all: transactions on it are savepoints, from their first write on.

    What only reads needs none, and so takes nothing of others back when it ends. The connection is kept from test to
    test, since to make one takes longer than most tests.
    """

    def __init__(self, url: URL, options: dict[str, t.Any], set_up: t.Callable[[Engine], None]) -> None:
        self._options = options
        self._lock = threading.RLock()
        self._users = 0
        self._is_broken = False
        self._savepoints: list[str] = []
        self._finished: set[str] = set()
        self._of_connection: dict[Connection, str] = {}
        self._names = itertools.count(1)
        self._engine = create_engine(url, **options)
        set_up(self._engine)
        self._backend = url.get_backend_name()
        # A connection learns about its server through the methods as they are.
        self._connection: t.Any = self._engine.raw_connection()
        self._change(self._engine.dialect)
        dialect: t.Any = copy.copy(self._engine.dialect)
        # The driver is not async, only in greenlets like one that is: it holds up the loop while a statement runs.
        dialect.is_async = True
        self._async_engine = Engine(
            self._engine.pool,
            dialect,
            url,
            echo=self._engine.echo,
            execution_options=self._engine.get_execution_options(),
            hide_parameters=self._engine.hide_parameters,
        )
        set_up(self._async_engine)
        for engine in (self._engine, self._async_engine):
            event.listen(engine, "commit", self._commit)
            event.listen(engine, "rollback", self._roll_back)

    def fits(self, options: dict[str, t.Any]) -> bool:
        """Return whether it can be used where these options are wanted; whoever comes second takes what there is."""
        return self._users > 0 or (options == self._options and not self._is_broken)

    def begin(self) -> _Begun:
        """Begin what `end` will undo."""
        with self._lock:
            if self._users == 0 and self._backend == "sqlite":
                self._run("BEGIN IMMEDIATE")
            self._users += 1
        # Engines of its own, for those who listen to them.
        return _Begun(self._engine.execution_options(), AsyncEngine(self._async_engine.execution_options()))

    def end(self, begun: _Begun) -> None:
        """Undo all; who comes later is refused."""
        for engine in (begun.engine, begun.async_engine.sync_engine):
            event.listen(engine, "before_cursor_execute", _refuse)
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for kept in (self._savepoints, self._finished, self._of_connection):
                    kept.clear()
                try:
                    self._connection.rollback()
                except Exception:
                    # It was lost, and all that was done with it.
                    self._is_broken = True

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            self._connection.close()
        self._engine.dispose()

    def _change(self, dialect: t.Any) -> None:
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, self._one_at_a_time(getattr(dialect, name)))
        # The events "commit" and "rollback" do it: they tell whose.
        dialect.do_commit = dialect.do_rollback = lambda connection: None
        # Drivers refuse that inside of a transaction.
        dialect.set_isolation_level = lambda connection, level: None
        dialect.reset_isolation_level = lambda connection: None
        # Names are of one connection only; MySQL drops a savepoint if there is another of its name.
        for name in ("do_savepoint", "do_rollback_to_savepoint", "do_release_savepoint"):
            setattr(dialect, name, _with_own_names(getattr(dialect, name)))

        class Context(dialect.execution_ctx_cls):  # type: ignore[misc]
            def create_default_cursor(self) -> t.Any:
                return _Cursor(super().create_default_cursor())

            def create_server_side_cursor(self) -> t.Any:
                # A stream would have the connection for itself.
                return self.create_default_cursor()

        dialect.execution_ctx_cls = Context
        dialect.supports_server_side_cursors = True

    def _one_at_a_time(self, run: t.Callable[..., None]) -> t.Callable[..., None]:
        def execute(cursor: t.Any, statement: str, *args: t.Any) -> None:
            if in_greenlet():
                # AsyncConnection insists that its driver waits.
                await_only(asyncio.sleep(0))
            context = args[-1]
            if context.isddl and self._backend in ("mysql", "mariadb"):
                raise RuntimeError(
                    f"{self._backend} commits when a table is made, changed or dropped, so this test cannot"
                    " be rolled back. Use db_clean for it."
                )
            with self._lock, self._protected(context.root_connection, statement):
                run(cursor, statement, *args)

        return execute

    @contextlib.contextmanager
    def _protected(self, connection: Connection, statement: str) -> t.Iterator[None]:
        """Put a statement that writes into its transaction's savepoint, one that reads into one of its own."""
        if connection in self._of_connection:
            yield
        elif _READS.match(statement) or connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            if self._backend != "postgresql":
                yield
                return
            # A failed read is enough to end a transaction there.
            self._run("SAVEPOINT carboy_statement")
            try:
                yield
            except BaseException:
                self._run("ROLLBACK TO SAVEPOINT carboy_statement")
                raise
            finally:
                self._run("RELEASE SAVEPOINT carboy_statement")
        else:
            name = self._of_connection[connection] = f"carboy_{next(self._names)}"
            self._savepoints.append(name)
            self._run(f"SAVEPOINT {name}")
            yield

    def _commit(self, connection: Connection) -> None:
        with self._lock:
            name = self._of_connection.pop(connection, None)
            if name is None:
                return
            if name not in self._savepoints:
                raise RuntimeError(
                    "A transaction cannot be committed because one that began before it was rolled back meanwhile. In a"
                    " test that is rolled back all transactions are on one connection; use db_clean for this one."
                )
            self._finished.add(name)
            self._release()

    def _roll_back(self, connection: Connection) -> None:
        with self._lock:
            name = self._of_connection.pop(connection, None)
            if name in self._savepoints:
                self._run(f"ROLLBACK TO SAVEPOINT {name}")
                # With it goes what began later.
                del self._savepoints[self._savepoints.index(name) + 1 :]
                self._finished.add(name)
                self._release()

    def _release(self) -> None:
        # Only from the end on: a release ends all savepoints that came later, which may be in use.
        while self._savepoints and self._savepoints[-1] in self._finished:
            self._run(f"RELEASE SAVEPOINT {self._savepoints[-1]}")
            self._finished.remove(self._savepoints.pop())

    def _run(self, statement: str) -> None:
        """Run a statement of ours, which nobody counts."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        cursor.close()


class _Cursor:
    """A cursor with the method that SQLAlchemy calls on those of async drivers."""

    def __init__(self, cursor: t.Any) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._cursor, name)

    async def _async_soft_close(self) -> None:
        pass


def _refuse(*args: t.Any) -> t.NoReturn:
    raise RuntimeError("The test is over: its database was used after it was rolled back.")


def _with_own_names(run: t.Callable[[Connection, str], None]) -> t.Callable[[Connection, str], None]:
    return lambda connection, name: run(connection, f"{name}_{id(connection):x}")


def _empty(engine: Engine, metadata: MetaData) -> None:
    """Delete all rows, whatever refers to whatever."""
    quote = engine.dialect.identifier_preparer.format_table
    tables = [quote(table) for table in metadata.tables.values()]
    if not tables:
        return
    with engine.connect() as connection:
        run = connection.exec_driver_sql
        # Most tests write to a few tables only, and to look takes less time than to delete nothing.
        looks = run(f"SELECT {', '.join(f'EXISTS (SELECT 1 FROM {table})' for table in tables)}").one()
        full = [table for table, has_rows in zip(tables, looks, strict=True) if has_rows]
        connection.rollback()
        if engine.dialect.name == "postgresql" and full:
            run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}s'")
            run(f"TRUNCATE {', '.join(full)} CASCADE")
        elif full:
            if engine.dialect.name == "sqlite":
                run("PRAGMA foreign_keys = OFF")
            else:
                run(f"SET SESSION foreign_key_checks = 0, innodb_lock_wait_timeout = {LOCK_TIMEOUT}")
            for table in full:
                run(f"DELETE FROM {table}")
        connection.commit()
