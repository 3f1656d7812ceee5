"""Engines, and with them connections, made where they may be made.

A sync engine belongs to one process, an async one to one event loop: a connection that is carried into a forked child
or onto another loop is used by two at once. So an engine is made at its first use, in the worker; a child forgets it.
"""

from __future__ import annotations

import os
import threading
import typing as t
import weakref

from sqlalchemy import QueuePool, create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from carboy.concurrency import at_exit, lets_others_go_on, run_where

from . import mysql, sqlite
from .settings import Settings
from .urls import DatabaseURLs

if t.TYPE_CHECKING:
    import asyncio

Key = str | int | None
"""Which database: None for the main one, the name of a bind, the number of a replica."""


class Pool(QueuePool):
    """A pool that can be waited for by all worker threads, since who holds a connection gets another thread."""

    connect = lets_others_go_on(QueuePool.connect)


class Engines:
    """The engines of one application.

    Args:
        settings: Its configuration.
        made: Called with each new engine (of an async one, its sync side), to watch it.
    """

    def __init__(self, settings: Settings, made: t.Callable[[Engine], None] = lambda engine: None) -> None:
        self.settings = settings
        self.made = made
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Begin anew, leaving connections to whom they belong."""
        self._lock = threading.Lock()
        self._sync: dict[Key, Engine] = {}
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, AsyncEngine]] = (
            weakref.WeakKeyDictionary()
        )

    def urls(self, key: Key) -> DatabaseURLs:
        """Return the URLs of a database.

        Raises:
            KeyError: There is none of that name.
        """
        if isinstance(key, int):
            return self.settings.replicas[key]
        try:
            return self.settings.urls[key]
        except KeyError:
            known = ", ".join(repr(name) for name in self.settings.urls if name is not None) or "none"
            raise KeyError(f"There is no database {key!r}: DATABASE_BINDS has {known}.") from None

    def sync(self, key: Key = None) -> Engine:
        """Return this process's engine for sync code."""
        engine = self._sync.get(key)
        if engine is None:
            with self._lock:
                engine = self._sync.get(key)
                if engine is None:
                    url = self.urls(key).sync
                    engine = create_engine(url, **{"poolclass": Pool} | self._options(url))
                    self._set_up(engine, url)
                    self.made(engine)
                    self._sync[key] = engine
        return engine

    def asynchronous(self, key: Key = None) -> AsyncEngine:
        """Return the engine of the running event loop.

        Raises:
            RuntimeError: None is running.
        """
        import asyncio

        engines = self._async.setdefault(asyncio.get_running_loop(), {})
        engine = engines.get(key)
        if engine is None:
            url = self.urls(key).asynchronous
            engine = engines[key] = create_async_engine(url, **self._options(url))
            self._set_up(engine.sync_engine, url)
            self.made(engine.sync_engine)
        return engine

    def _options(self, url: URL) -> dict[str, t.Any]:
        settings = self.settings
        options: dict[str, t.Any] = {
            "pool_size": settings.pool_size,
            "max_overflow": settings.max_overflow,
            "pool_timeout": settings.pool_timeout,
            "pool_recycle": settings.pool_recycle,
            "pool_pre_ping": url.get_backend_name() != "sqlite",
            # What a user stored shall not be in logs.
            "hide_parameters": True,
            "connect_args": _connect_args(url, settings),
        }
        given = dict(settings.engine_options)
        options["connect_args"].update(given.pop("connect_args", {}))
        return options | given

    def _set_up(self, engine: Engine, url: URL) -> None:
        timeout = self.settings.statement_timeout
        if url.get_backend_name() == "sqlite":
            sqlite.set_up(engine, timeout)
        elif url.get_backend_name() in ("mysql", "mariadb"):
            mysql.set_up(engine, timeout)

    def dispose(self) -> None:
        """Close this process's idle sync connections; more are made when they are needed."""
        for engine in list(self._sync.values()):
            engine.dispose()

    async def dispose_async(self) -> None:
        """Close the idle connections of the running event loop."""
        import asyncio

        for engine in self._async.pop(asyncio.get_running_loop(), {}).values():
            await engine.dispose()


_all: weakref.WeakSet[Engines] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for engines in _all:
        for engine in engines._sync.values():
            # Not closed: the parent goes on with the same sockets.
            engine.dispose(close=False)
        engines._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _dispose_at_exit() -> None:
    for engines in list(_all):
        engines.dispose()
        for loop in list(engines._async):
            if loop.is_running():
                run_where(loop, lambda inline, engines=engines: engines.dispose_async())  # type: ignore[misc]


at_exit(_dispose_at_exit)


def without_pool(options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return *options* of an engine without those of its pool."""
    return {name: value for name, value in options.items() if not name.startswith("pool") and name != "max_overflow"}


def _connect_args(url: URL, settings: Settings) -> dict[str, t.Any]:
    backend = url.get_backend_name()
    if backend == "postgresql":
        args: dict[str, t.Any] = {"connect_timeout": max(1, round(settings.connect_timeout))}
        if settings.statement_timeout is not None and "options" not in url.query:
            args["options"] = f"-c statement_timeout={round(settings.statement_timeout * 1000)}"
        return args
    if backend in ("mysql", "mariadb"):
        return {"connect_timeout": max(1, round(settings.connect_timeout)), "charset": "utf8mb4"}
    return {}
