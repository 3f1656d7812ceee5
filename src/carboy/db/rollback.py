"""One connection for all code of a test, in a transaction that is rolled back in the end.

Engines are what is replaced, so that sessions, transactions and whoever uses an engine itself work as always. What they
take for transactions are savepoints: `Shared` has the dialect's ``do_…`` methods and events make, release and roll back
one for each connection of SQLAlchemy's, all on the same connection of the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import re
import threading
import typing as t

from sqlalchemy import StaticPool, create_engine, event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util.concurrency import await_only, in_greenlet

from .engines import Engines, Key, without_pool
from .settings import Settings

_READS = re.compile(r"\s*(SELECT|VALUES|EXPLAIN|PRAGMA|SHOW)\b", re.IGNORECASE)


class OneTransaction(Engines):
    """Engines of one connection for each database, in a transaction that never ends in between."""

    def __init__(self, settings: Settings, made: t.Callable[[Engine], None], shared: dict[URL, Shared]) -> None:
        super().__init__(settings, made)
        self._shared = shared
        self._begun: dict[URL, Begun] = {}

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

    def _of(self, key: Key) -> Begun:
        url = self.urls(key).sync
        with self._lock:
            begun = self._begun.get(url)
            if begun is None:
                begun = self._begun[url] = self._connected(url).begin()
                self.made(begun.engine)
                self.made(begun.async_engine.sync_engine)
        return begun

    def _connected(self, url: URL) -> Shared:
        options = self._options(url)
        made_for = (options, self.settings.statement_timeout)
        shared = self._shared.get(url)
        if shared is None or not shared.fits(made_for):
            if shared is not None:
                shared.close()
            shared = self._shared[url] = Shared(url, options, lambda engine: self._set_up(engine, url), made_for)
        return shared

    def _options(self, url: URL) -> dict[str, t.Any]:
        options = without_pool(super()._options(url))
        # Nothing is committed by itself.
        options.pop("isolation_level", None)
        return options | {"poolclass": StaticPool, "pool_reset_on_return": None}


class Begun(t.NamedTuple):
    """What the code of one test has of a shared connection."""

    engine: Engine
    async_engine: AsyncEngine


class Shared:
    """One connection for all: transactions on it are savepoints, from their first write on.

    What only reads needs none, and so takes nothing of others back when it ends. The connection is kept from test to
    test, since to make one takes longer than most tests.
    """

    def __init__(
        self, url: URL, options: dict[str, t.Any], set_up: t.Callable[[Engine], None], made_for: object
    ) -> None:
        self._made_for = made_for
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

    def fits(self, settings: object) -> bool:
        """Return whether it can be used with these settings; who comes while it is in use takes what there is."""
        return self._users > 0 or (settings == self._made_for and not self._is_broken)

    def begin(self) -> Begun:
        """Begin what `end` will undo."""
        with self._lock:
            if self._users == 0 and self._backend == "sqlite":
                self._run("BEGIN IMMEDIATE")
            self._users += 1
        # Engines of its own, for those who listen to them, and dialects, for those who send through them.
        engine, async_engine = self._engine.execution_options(), self._async_engine.execution_options()
        for one in (engine, async_engine):
            one.dialect = copy.copy(one.dialect)
        return Begun(engine, AsyncEngine(async_engine))

    def end(self, begun: Begun) -> None:
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
