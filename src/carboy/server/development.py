"""Serve an application over ASGI or RSGI while it is being written.

Puts three parts together: granian's embedded server, which runs in a thread of
its own; Werkzeug's reloader, which restarts the process and works with any
server; and Werkzeug's interactive debugger (:mod:`.debugger`).

With reload on there are two processes: one that only starts the other again and
again, and one that serves. Both run :meth:`DevelopmentServer.run`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

import click
from werkzeug._reloader import run_with_reloader
from werkzeug.serving import is_running_from_reloader, make_ssl_devcert

try:
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server.embed import Server
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'Serving over ASGI or RSGI needs granian: pip install "carboy[server]"', name=error.name
    ) from error

from ..lifecycle import ShutdownError, StartupError
from .accesslog import AccessFilter, DevelopmentFormatter, wants_colour
from .blocking import BlockingWatch
from .debugger import CONSOLE_IS_OFF, NativeDebugger, is_loopback
from .drain import end_long_lived

if t.TYPE_CHECKING:
    from ..app import Carboy

STOP_TIMEOUT = 1.0
"""How long to wait for requests in flight before the process ends, in seconds."""

_PORT_VARIABLE = "CARBOY_SERVER_PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentServer:
    """One application, to be served on one address until it is interrupted.

    Args:
        interface: The protocol between server and application.
        host: A name, an IP address, or ``unix://`` and a file's path.
        port: 0 takes any free port.
        reload: Restart the process when a file changes.
        debugger: Show errors in the interactive debugger. Its console is on only if
            nobody but this machine can reach the address.
        cert: Serve HTTPS, with a certificate's file and its key's, or with a
            certificate made for this run (``adhoc``).
        extra_files: More files whose change restarts the process.
        exclude_patterns: Patterns (as of :mod:`fnmatch`) of files whose change
            is ignored.
    """

    app: Carboy
    interface: t.Literal["asgi", "rsgi"]
    host: str = "127.0.0.1"
    port: int = 5000
    reload: bool = False
    debugger: bool = False
    cert: tuple[str, str] | t.Literal["adhoc"] | None = None
    extra_files: t.Sequence[str] = ()
    exclude_patterns: t.Sequence[str] = ()

    def run(self) -> t.NoReturn:
        """Serve until SIGINT or SIGTERM, then end the process.

        Requests in flight get :data:`STOP_TIMEOUT` seconds to finish.

        The exit code is 1 if the server did not start.

        Raises:
            click.ClickException: The address is in use or does not exist.
        """
        with contextlib.ExitStack() as stack:
            worker = _Worker(self.app, self._server_options(stack))
            exit_code: int = 0
            try:
                if self.reload:
                    run_with_reloader(
                        worker.serve, extra_files=self.extra_files, exclude_patterns=self.exclude_patterns
                    )
                else:
                    exit_code = _run_until_interrupted(worker.serve)
            except SystemExit as end:
                exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
            stopped = worker.stop(STOP_TIMEOUT)
        if stopped:
            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: a thread that still runs user code would keep the interpreter from ending, and granian's native
        # threads, which end a little after the server, abort the process if the interpreter goes away beneath them.
        os._exit(exit_code)

    def _target(self) -> t.Any:
        """Return what is served: the application, with the debugger around it if that is on."""
        if not self.debugger or (self.reload and not is_running_from_reloader()):
            return _without_lifespan(self.app)
        console = is_loopback(self.host)
        if not console:
            click.secho(CONSOLE_IS_OFF.format(self.host), fg="yellow", err=True)
        return NativeDebugger(self.app, console, self.host)

    def _server_options(self, stack: contextlib.ExitStack) -> dict[str, t.Any]:
        options: dict[str, t.Any] = {
            "target": self._target(),
            # The application is started and shut down here, where it can be waited for.
            "interface": Interfaces.RSGI if self.interface == "rsgi" else Interfaces.ASGINL,
            "log_level": LogLevels.error,
            "log_access": True,
            "backpressure": 20_000,
        }
        try:
            options |= self._claim_socket_file() if self.host.startswith("unix://") else self._claim_address()
        except OSError as error:
            raise click.ClickException(f"Cannot listen on {self.host}, port {self.port}: {error.strerror}.") from None
        if self.cert is not None:
            cert, key = self._make_certificate(stack) if self.cert == "adhoc" else self.cert
            options["ssl_cert"], options["ssl_key"] = Path(cert), Path(key)
        return options

    def _claim_socket_file(self) -> dict[str, t.Any]:
        path = Path(self.host.removeprefix("unix://"))
        if path.is_socket():
            path.unlink()  # Left behind by a process that was killed.
        path.parent.stat()
        if not is_running_from_reloader():
            self._show_address(self.host)
        return {"uds": path}

    def _claim_address(self) -> dict[str, t.Any]:
        # Granian wants an IP address, cannot tell which port it took for 0, and shares a port that is in use.
        serves_again = is_running_from_reloader()
        port = int(os.environ[_PORT_VARIABLE]) if serves_again else self.port
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        address: t.Any = socket.getaddrinfo(self.host, port, family, socket.SOCK_STREAM)[0][4]
        if not serves_again:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if os.name == "posix":
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                port = probe.getsockname()[1]
            os.environ[_PORT_VARIABLE] = str(port)
            scheme = "http" if self.cert is None else "https"
            host = f"[{self.host}]" if ":" in self.host else self.host
            self._show_address(f"{scheme}://{host}:{port}")
        return {"address": address[0], "port": port}

    def _show_address(self, address: str) -> None:
        click.secho("WARNING: This is a development server. Do not use it in production.", fg="red", err=True)
        click.echo(f" * Running on {address} ({self.interface.upper()})", err=True)
        click.secho("Press CTRL+C to quit", fg="yellow", err=True)

    def _make_certificate(self, stack: contextlib.ExitStack) -> tuple[str, str]:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="carboy-"))
        return make_ssl_devcert(os.path.join(folder, "adhoc"), host=self.host)


def _without_lifespan(app: Carboy) -> t.Any:
    class Served:
        __rsgi__ = staticmethod(app.__rsgi__)

        def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> t.Any:
            return app(scope, receive, send)

    return Served()


class _Worker:
    """Granian in a thread: started by whoever calls ``serve``, stopped here."""

    def __init__(self, app: Carboy, options: dict[str, t.Any]) -> None:
        self.app = app
        self.options = options
        self.started = threading.Event()
        self.finished = threading.Event()

    def serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        finally:
            self.finished.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = Server(**self.options)  # Also configures the access log.
        _log_access()
        watch = BlockingWatch(lambda: self.loop, self.app.logger)
        if self.app.debug:
            watch.start()
        try:
            await self.app.lifecycle.startup()
        except StartupError as error:
            # It was logged. With the debugger on it is shown, too; else there is nothing to serve.
            if not isinstance(self.options["target"], NativeDebugger):
                return
            cause = error.__cause__
            self.options["target"].failure = cause if isinstance(cause, Exception) else error
        self.started.set()
        try:
            await self.server.serve()
        finally:
            watch.stop()
            # What failed was logged.
            with contextlib.suppress(ShutdownError):
                await self.app.lifecycle.shutdown()

    def stop(self, timeout: float) -> bool:
        """Stop serving; return whether that was done within *timeout* seconds."""
        if not self.started.is_set():
            return True
        stop = self._stop(timeout / 2)
        try:
            asyncio.run_coroutine_threadsafe(stop, self.loop)
        except RuntimeError:
            stop.close()
            return True  # The loop is closed: it has stopped by itself.
        try:
            return self.finished.wait(timeout)
        except KeyboardInterrupt:
            return False

    async def _stop(self, patience: float) -> None:
        await end_long_lived(self.app, patience)
        self.server.stop()  # type: ignore[no-untyped-call]


def _loop_factory() -> t.Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _log_access() -> None:
    logger = logging.getLogger("granian.access")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DevelopmentFormatter(wants_colour(sys.stderr)))
    logger.handlers[:] = [handler]
    logger.addFilter(AccessFilter())


def _run_until_interrupted(serve: t.Callable[[], None]) -> int:
    """Run *serve* in a thread; return the exit code: 1 if it ended by itself."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.5)  # A limit, because on Windows a join without one cannot be interrupted.
    except KeyboardInterrupt:
        return 0
    return 1
