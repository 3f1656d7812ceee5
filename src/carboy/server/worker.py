"""One worker process of the production server: load the application, serve it, stop.

Granian's workers accept, parse and answer; this module starts them and, at
SIGTERM, does in this order what granian alone does not: ends WebSockets and
event streams, lets granian finish what is in flight, and shuts the application
down, all within a limit.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
import typing as t
from dataclasses import dataclass
from types import CodeType

import click

from ..lifecycle import ShutdownError, StartupError
from . import native
from .accesslog import DEFAULT_FORMAT, JSON_FORMAT, AccessFilter, JSONFormatter
from .drain import end_long_lived
from .health import Health
from .interface import Interface, choose_interface

if t.TYPE_CHECKING:
    from ..app import Carboy

_PYTHONS_THRESHOLD = gc.get_threshold()

WSGI_THREADS = 8
"""Threads of a worker under WSGI, unless told."""

SHUTDOWN_SHARE = 0.2
"""The part of the limit that is kept for shutting the application down."""

_MARGIN = 0.1
"""How long before the limit a worker ends, rather than being killed, in seconds."""

_FAREWELL = 2.0
"""How long a stopping worker waits for WebSockets and event streams to end, before it stops to accept, in seconds."""

_RUNTIME_BLOCKING_THREADS = 512
_THREAD_IDLE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker has to know. Times are in seconds."""

    load: t.Callable[[], Carboy]
    interface: t.Literal["auto", "wsgi", "asgi", "rsgi"]
    threads: int | None
    http: t.Literal["auto", "1", "2"]
    backlog: int
    max_connections: int
    tls: tuple[str, str] | None
    graceful_timeout: float
    drain_delay: float
    access_log: bool
    access_log_format: str | None
    liveness: str | None
    readiness: str | None


class Worker:
    """The one of this process.

    Args:
        number: Which it is, from 1.
        listener: The file number of the listening socket.
        is_unix: Whether that is a Unix socket.
        report: Tells the server how the start went; called once.
    """

    def __init__(
        self,
        options: WorkerOptions,
        number: int,
        listener: int,
        is_unix: bool,
        report: t.Callable[[dict[str, str]], None],
    ) -> None:
        self.options = options
        self.number = number
        self._socket = (listener, is_unix)
        self._report = report
        self._health = Health(options.liveness, options.readiness, lambda: not self._stopping)
        self._stopping = False
        self._in_time = True
        self._deadline = 0.0

    def run(self) -> int:
        """Serve until SIGTERM; return the exit code: 0 if all ended well and in time."""
        try:
            app = self.options.load()
        except click.ClickException as error:
            # Already in words for the user.
            return self._fail(f"The application could not be loaded. {error.format_message()}")
        except Exception:
            return self._fail(f"The application could not be loaded.\n{traceback.format_exc()}")
        if self.options.interface == "auto":
            interface, reason = choose_interface(app)
        else:
            interface, reason = self.options.interface, "as told"
        self._prepare_access_log()
        news = {"interface": interface, "reason": reason}
        try:
            if interface == "wsgi":
                self._serve_wsgi(app, news)
            else:
                self._serve_on_loop(app, interface, news)
        except StartupError as error:
            return self._fail(str(error))
        return 0 if self._in_time else 1

    def _fail(self, reason: str) -> int:
        self._report({"failed": reason})
        return 1

    # -- WSGI ------------------------------------------------------------------------

    def _serve_wsgi(self, app: Carboy, news: dict[str, str]) -> None:
        told_to_stop, drained = _wait_for_sigterm(), threading.Event()
        app.lifecycle.startup_blocking()
        callback = self._health.around_wsgi(app) if self._has_health else app
        worker = native.WSGIWorker(*self._settings(self.options.threads or WSGI_THREADS))
        # Granian's scheduler wants a loop for WSGI too, which it never runs.
        ended = self._start(
            worker, native.wrap_wsgi(callback, {}, self._log_format), native.Loops.get("asyncio"), "serve_mtr"
        )
        ended.add_cb(drained.set)
        calm_garbage_collection()
        self._report(news)

        told_to_stop()
        self._begin_to_stop()
        time.sleep(self.options.drain_delay)
        app.lifecycle.drain()
        ended.set()
        if not drained.wait(self._patience()):
            self._give_up()
        # In a thread of its own, because it may hang.
        shutdown = threading.Thread(target=self._shut_down_blocking, args=(app,), daemon=True)
        shutdown.start()
        shutdown.join(self._time_left())
        self._in_time &= not shutdown.is_alive()

    def _shut_down_blocking(self, app: Carboy) -> None:
        try:
            app.lifecycle.shutdown_blocking()
        except ShutdownError:
            self._in_time = False  # What failed was logged.

    # -- ASGI and RSGI -----------------------------------------------------------------

    def _serve_on_loop(self, app: Carboy, interface: Interface, news: dict[str, str]) -> None:
        if self.options.threads is not None:
            os.environ["CARBOY_THREADS"] = str(self.options.threads)
        loop = native.Loops.get("uvloop" if "uvloop" in native.Loops else "asyncio")
        stop, drained = asyncio.Event(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        is_asgi = interface == "asgi"
        callback, shut_down = (self._start_asgi if is_asgi else self._start_rsgi)(app, loop)
        watched = native.watch_request(callback)
        worker = (native.ASGIWorker if is_asgi else native.RSGIWorker)(*self._settings(1, True))
        # One thread of granian's does for both; the lighter runtime is not for HTTP/2 alone.
        serve = "serve_mtr" if is_asgi or self.options.http == "2" else "serve_str"
        ended = self._start(worker, watched, loop, serve)
        ended.add_cb(lambda: loop.call_soon_threadsafe(drained.set))
        calm_garbage_collection()
        self._report(news)
        loop.run_until_complete(self._drain_on_loop(app, stop, ended, drained, watched.__code__))
        try:
            loop.run_until_complete(asyncio.wait_for(shut_down(), self._time_left()))
        except (TimeoutError, ShutdownError):
            self._in_time = False  # What failed was logged.

    def _start_rsgi(self, app: Carboy, loop: asyncio.AbstractEventLoop) -> t.Any:
        loop.run_until_complete(app.lifecycle.startup())
        callback = self._health.around_rsgi(app.__rsgi__) if self._has_health else app.__rsgi__
        return native.wrap_rsgi(callback, self._log_format), app.lifecycle.shutdown

    def _start_asgi(self, app: Carboy, loop: asyncio.AbstractEventLoop) -> t.Any:
        # As the protocol has it, because an ASGI middleware around the application may wait for these events.
        lifespan = native.Lifespan(app)
        loop.run_until_complete(lifespan.startup())
        if lifespan.interrupt:
            raise StartupError(f"The application's lifespan did not start. {lifespan.exc or ''}".strip())

        async def shut_down() -> None:
            await lifespan.shutdown()
            if lifespan.interrupt:
                raise ShutdownError("The application's lifespan did not end well.")

        callback = self._health.around_asgi(app) if self._has_health else app
        return native.wrap_asgi(callback, {}, lifespan.state, self._log_format), shut_down

    async def _drain_on_loop(
        self, app: Carboy, stop: asyncio.Event, ended: t.Any, drained: asyncio.Event, request_code: CodeType
    ) -> None:
        await stop.wait()
        self._begin_to_stop()
        await asyncio.sleep(self.options.drain_delay)
        await end_long_lived(app, min(_FAREWELL, self._patience()))
        ended.set()
        requests = {task for task in asyncio.all_tasks() if getattr(task.get_coro(), "cr_code", None) is request_code}
        # Granian does not wait for WebSockets, so both: its connections, and the tasks that serve them.
        ends = [asyncio.ensure_future(drained.wait()), *requests]
        _, late = await asyncio.wait(ends, timeout=self._patience())
        if late:
            self._give_up()
            for task in late:
                task.cancel()
            # What the cancelled requests leave behind is torn down.
            await asyncio.wait(ends, timeout=self._time_left() / 2)

    # -- Both --------------------------------------------------------------------------

    def _start(self, worker: t.Any, callback: t.Any, loop: t.Any, serve: str) -> t.Any:
        ended = native.WorkerSignal()
        method = getattr(worker, f"{serve}_uds" if self._socket[1] else serve)
        method(native.make_scheduler(loop, callback, impl_asyncio=True), loop, ended)
        return ended

    def _settings(self, threads: int, *websockets: bool) -> tuple[t.Any, ...]:
        """Return the arguments of granian's worker classes, which take no keywords."""
        options = self.options
        listener, is_unix = self._socket
        tls: tuple[t.Any, ...] = (False, None, None, None, "tls1.2", None, [], False)
        if options.tls is not None:
            tls = (True, *options.tls, None, "tls1.2", None, [], False)
        return (
            self.number,
            (None, native.SocketHolder(listener, is_unix, options.backlog)),
            None,  # Metrics go nowhere.
            1,
            _RUNTIME_BLOCKING_THREADS,
            threads,
            _THREAD_IDLE_SECONDS,
            options.max_connections,
            options.http,
            None,
            None,
            *websockets,
            None,  # Static files are the application's.
            *tls,
            (None, None),
        )

    @property
    def _has_health(self) -> bool:
        return bool(self.options.liveness or self.options.readiness)

    @property
    def _log_format(self) -> str | None:
        if not self.options.access_log:
            return None
        return self.options.access_log_format or DEFAULT_FORMAT

    def _prepare_access_log(self) -> None:
        logger = logging.getLogger("granian.access")
        handler = logging.StreamHandler(sys.stdout)
        if self.options.access_log_format == JSON_FORMAT:
            handler.setFormatter(JSONFormatter())
        logger.handlers[:] = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
        probes = [path for path in (self.options.liveness, self.options.readiness) if path]
        logger.addFilter(AccessFilter(probes))

    # -- The end -----------------------------------------------------------------------

    def _begin_to_stop(self) -> None:
        self._stopping = True
        self._deadline = time.monotonic() + self.options.drain_delay + self.options.graceful_timeout

    def _patience(self) -> float:
        """Return how long requests may take from now on, in seconds."""
        return max(0.0, self._deadline - self.options.graceful_timeout * SHUTDOWN_SHARE - time.monotonic())

    def _time_left(self) -> float:
        return max(0.05, self._deadline - _MARGIN - time.monotonic())

    def _give_up(self) -> None:
        self._in_time = False
        logging.getLogger("carboy.server").warning(
            f"Worker {self.number}: requests did not finish in time and are cut off. The limit is"
            f" {self.options.graceful_timeout:g} s (--graceful-timeout)."
        )


def calm_garbage_collection() -> None:
    """Have Python look for cycles among what requests make, and less often.

    What is loaded by now stays until the end, so it is left out (:func:`gc.freeze`).
    A new collection begins after 10,000 new objects, not 700: a few hundred requests
    that wait at once have more than that, which are looked at again and again though
    they are no garbage. An application that has set a threshold keeps it.

    PERF: 256 requests that wait 10 ms each, server CPU per request 31 µs -> 25 µs.
    """
    gc.collect()
    gc.freeze()
    if gc.get_threshold() == _PYTHONS_THRESHOLD:
        gc.set_threshold(10_000, 10, 10)


def _wait_for_sigterm() -> t.Callable[[], None]:
    """Take note of SIGTERM from now on; return a function that waits for it.

    Through a pipe: a handler that uses a lock, as an event does, may be called
    while its own thread holds it, and waiting for a lock is not interrupted by a
    signal that another thread got.
    """
    receive, send = os.pipe()
    os.set_blocking(send, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(send, warn_on_full_buffer=False)

    def wait() -> None:
        while signal.SIGTERM not in os.read(receive, 1):
            pass

    return wait
