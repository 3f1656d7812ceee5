"""A worker inside the process that serves: for development, and for small sites."""

from __future__ import annotations

import asyncio
import os
import threading
import typing as t

from .worker import Worker

if t.TYPE_CHECKING:
    from .jobs import JobsState

VARIABLE = "CARBOY_EMBED_JOBS"
"""In the environment: set by ``carboy run`` and ``carboy serve --jobs``. JOBS_EMBEDDED in the configuration wins."""


def is_wanted(state: JobsState) -> bool:
    """Return whether the process that serves *state*'s application is to run its jobs, too."""
    embedded = state.settings.embedded
    return os.environ.get(VARIABLE) == "1" if embedded is None else embedded


class EmbeddedWorker:
    """A worker in a thread, on an event loop of its own: a job that blocks its loop blocks no request."""

    def __init__(self, state: JobsState) -> None:
        self._state = state
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="carboy-jobs", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None

    def start(self) -> None:
        """Start it, and return when it can be stopped."""
        self._thread.start()
        self._started.wait()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._worker = Worker(self._state)
        finally:
            self._started.set()
        async with self._state.app.app_context():
            try:
                await self._worker.run()
            except Exception:
                self._state.app.logger.exception("The worker of jobs has ended")
            finally:
                await self._state.close()

    async def stop(self) -> None:
        """Let its jobs end, or give them back, and wait for that."""
        if self._thread.is_alive() and self._loop is not None and self._worker is not None:
            self._loop.call_soon_threadsafe(self._worker.stop)
        await asyncio.to_thread(self._thread.join)
