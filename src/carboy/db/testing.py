"""Databases for tests: their own on the same server, left after each test as it found them.

There are two ways to leave a database as it was:

- `TestRun.rolled_back` gives sync and async code, all threads and requests, one and the same connection, in one
  transaction that is rolled back in the end. What an application takes for transactions are savepoints in it.
- `TestRun.emptied` lets the application work with connections of its own and commit; then all rows are deleted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import typing as t
from pathlib import Path

from sqlalchemy import MetaData, NullPool, create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError

from .database import EXTENSION, Database
from .engines import Engines, Key, without_pool
from .rollback import OneTransaction, Shared
from .settings import Settings
from .urls import DatabaseURLs

if t.TYPE_CHECKING:
    from carboy import Carboy

PREFIX = "test_"
"""How the name of a database for tests begins. Only such databases are made and dropped."""

LOCK_TIMEOUT = 5
"""Seconds to wait, when a database is emptied, for a transaction that the test has left open."""

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
        self._shared: dict[URL, Shared] = {}

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
            engines = OneTransaction(settings, state.engines.made, self._shared)
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
        return without_pool(super()._options(url)) | {"poolclass": NullPool}


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
