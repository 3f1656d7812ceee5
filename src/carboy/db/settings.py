"""The configuration of a database."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

from .urls import DatabaseURLError, DatabaseURLs, database_urls

if t.TYPE_CHECKING:
    from carboy import Carboy

DEFAULTS: dict[str, t.Any] = {
    "DATABASE_URL": "sqlite:///",
    "DATABASE_BINDS": {},
    "DATABASE_REPLICAS": (),
    "DATABASE_POOL_SIZE": 5,
    "DATABASE_MAX_OVERFLOW": 10,
    "DATABASE_POOL_TIMEOUT": 10.0,
    "DATABASE_POOL_RECYCLE": 1800.0,
    "DATABASE_CONNECT_TIMEOUT": 10.0,
    "DATABASE_STATEMENT_TIMEOUT": None,
    "DATABASE_SLOW_QUERY": 0.5,
    "DATABASE_MIGRATIONS": "migrations",
    "DATABASE_ENGINE_OPTIONS": {},
}
"""Names and defaults; times are in seconds. docs/database.md says what they mean."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an application's configuration says of its databases.

    Attributes:
        urls: By name; None is the main one's.
        replicas: Copies of the main database that can be read.
        pool_size: Connections kept open for each process (sync) and each event loop (async).
        max_overflow: Connections beyond that in times of need.
        pool_timeout: Seconds to wait for one that is free.
        pool_recycle: Seconds after which one is replaced.
        connect_timeout: Seconds until the server must have answered.
        statement_timeout: Seconds after which a statement is given up; None for no limit.
        slow_query: Seconds from which on a statement is logged as slow; None for never.
        engine_options: Passed to SQLAlchemy's ``create_engine``; these win.
    """

    urls: dict[str | None, DatabaseURLs]
    replicas: tuple[DatabaseURLs, ...]
    pool_size: int
    max_overflow: int
    pool_timeout: float
    pool_recycle: float
    connect_timeout: float
    statement_timeout: float | None
    slow_query: float | None
    engine_options: dict[str, t.Any]

    @property
    def keys(self) -> tuple[str | int | None, ...]:
        """All databases: None for the main one, names of others, numbers of replicas."""
        return (*self.urls, *range(len(self.replicas)))

    @classmethod
    def of(cls, app: Carboy) -> Settings:
        """Read the configuration of *app*, setting the defaults.

        Raises:
            DatabaseURLError: A URL cannot be used.
        """
        for name, default in DEFAULTS.items():
            app.config.setdefault(name, default)
        config = app.config
        folder = Path(app.instance_path)

        def urls_of(url: t.Any, name: str) -> DatabaseURLs:
            return database_urls(url, folder, name)

        binds = config["DATABASE_BINDS"]
        if not isinstance(binds, dict):
            raise DatabaseURLError(f"DATABASE_BINDS must be a dict of names and URLs; it is a {type(binds).__name__}.")
        replicas = config["DATABASE_REPLICAS"]
        if isinstance(replicas, str):
            replicas = replicas.split(",")
        return cls(
            urls={
                None: urls_of(config["DATABASE_URL"] or DEFAULTS["DATABASE_URL"], "DATABASE_URL"),
                **{name: urls_of(url, f"DATABASE_BINDS[{name!r}]") for name, url in binds.items()},
            },
            replicas=tuple(urls_of(url, f"DATABASE_REPLICAS[{i}]") for i, url in enumerate(replicas)),
            pool_size=int(config["DATABASE_POOL_SIZE"]),
            max_overflow=int(config["DATABASE_MAX_OVERFLOW"]),
            pool_timeout=float(config["DATABASE_POOL_TIMEOUT"]),
            pool_recycle=float(config["DATABASE_POOL_RECYCLE"]),
            connect_timeout=float(config["DATABASE_CONNECT_TIMEOUT"]),
            statement_timeout=_seconds(config["DATABASE_STATEMENT_TIMEOUT"]),
            slow_query=_seconds(config["DATABASE_SLOW_QUERY"]),
            engine_options=dict(config["DATABASE_ENGINE_OPTIONS"]),
        )


def _seconds(value: t.Any) -> float | None:
    return None if value is None else float(value)
