"""From the URL that a user writes to the drivers for sync and async code.

==============================  =====================  =====================
URL                             sync                   async
==============================  =====================  =====================
``sqlite:///path``              sqlite3                aiosqlite
``postgresql://``               psycopg 3              psycopg 3
``mysql://``, ``mariadb://``    PyMySQL                aiomysql
==============================  =====================  =====================
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import typing as t
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError


class Drivers(t.NamedTuple):
    """What connects to one kind of database.

    Attributes:
        sync: SQLAlchemy's name of dialect and driver for sync code.
        asynchronous: The same for async code.
        modules: What must be installed for them.
        extra: The extra of carboy that brings it.
    """

    sync: str
    asynchronous: str
    modules: tuple[str, ...]
    extra: str


_MYSQL = Drivers("mysql+pymysql", "mysql+aiomysql", ("pymysql", "aiomysql"), "mysql")
_MARIADB = _MYSQL._replace(sync="mariadb+pymysql", asynchronous="mariadb+aiomysql")
_POSTGRESQL = Drivers("postgresql+psycopg", "postgresql+psycopg", ("psycopg",), "postgres")
_DRIVERS = {
    "sqlite": Drivers("sqlite+pysqlite", "sqlite+aiosqlite", ("aiosqlite",), "db"),
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "mysql": _MYSQL,
    "mariadb": _MARIADB,
}


class DatabaseURLError(ValueError):
    """A database's URL cannot be used. The message never has its password."""


class DatabaseURLs(t.NamedTuple):
    """One database, for sync and for async code."""

    sync: URL
    asynchronous: URL


def database_urls(url: str | URL, folder: Path, name: str) -> DatabaseURLs:
    """Return what *url* means.

    Args:
        url: ``sqlite:///`` alone is a file of its own in *folder*, and a relative path is in *folder* too. A database
            in memory would be another one for each connection; so it is a temporary file that goes with the process.
        folder: The instance folder.
        name: Where *url* was found, for messages.

    Raises:
        DatabaseURLError: It cannot be read, the kind of database is none of the supported, or its driver is missing.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Neither its text nor its cause: both have the password.
        raise DatabaseURLError(
            f"{name} is not a URL. Write it like 'postgresql://user:password@host:5432/database'; a character of the"
            " password that means something in URLs is written as %XX."
        ) from None
    backend, _, driver = parsed.drivername.partition("+")
    drivers = _DRIVERS.get(backend)
    if drivers is None:
        raise DatabaseURLError(
            f"{name} begins with {parsed.drivername!r}. Supported are {', '.join(sorted(set(_DRIVERS)))}."
        )
    if driver and parsed.drivername not in drivers:
        raise DatabaseURLError(
            f"{name} asks for the driver {driver!r}. carboy.db uses {drivers.sync} and {drivers.asynchronous}, so that"
            f" sync and async code have the same database: write it as '{backend}://…'."
        )
    missing = [module for module in drivers.modules if importlib.util.find_spec(module) is None]
    if missing:
        raise DatabaseURLError(
            f"{name} needs {' and '.join(missing)}, which is not installed. Install it with:"
            f' pip install "carboy[{drivers.extra}]"'
        )
    if backend == "sqlite":
        parsed = _with_sqlite_file(parsed, folder)
    elif parsed.database is None or parsed.database == "":
        raise DatabaseURLError(f"{name} names no database: {parsed.render_as_string()}/<which one?>")
    return DatabaseURLs(parsed.set(drivername=drivers.sync), parsed.set(drivername=drivers.asynchronous))


def _with_sqlite_file(url: URL, folder: Path) -> URL:
    database = url.database
    if database == ":memory:":
        return url.set(database=str(Path(_temporary_folder()) / f"{os.urandom(8).hex()}.sqlite"))
    if database and database.startswith("file:"):
        return url
    path = folder / (database or "app.sqlite")
    path.parent.mkdir(parents=True, exist_ok=True)
    return url.set(database=str(path))


_folder: tempfile.TemporaryDirectory[str] | None = None


def _temporary_folder() -> str:
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="carboy-db-", ignore_cleanup_errors=True)
    return _folder.name
