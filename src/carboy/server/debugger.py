"""Werkzeug's interactive debugger around an application that is served over ASGI or RSGI.

Requests stay what they are: only an exception that comes out of the application
is handed to the debugger, together with the context it came from. The debugger
itself (its page, its files, its console with PIN and host check) is a WSGI
application, which answers in a worker thread.
"""

from __future__ import annotations

import ipaddress
import socket
import typing as t

from werkzeug.debug import DebuggedApplication
from werkzeug.test import run_wsgi_app

from .. import engine
from ..concurrency import run_in_thread
from ..context import RequestContext
from ..protocols import asgi, rsgi

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..http.request import Reader

CONSOLE_IS_OFF = " * The debugger shows errors, but its console is off: not only this machine can reach {}."

_CAUGHT = "carboy.caught"
_NOT_MINE = "carboy.not_mine"
_Answer = tuple[int, list[tuple[str, str]], bytes]
_Asked = tuple[type["Reader"], t.Any]
"""What reads a request, and what it reads it from."""


def is_loopback(host: str) -> bool:
    """Return whether *host* can be reached from this machine only."""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


class NativeDebugger:
    """An application, with the debugger where it fails.

    Args:
        console: Whether frames can be evaluated in; only for servers that nobody
            else can reach.
        host: What the server listens on, from where the debugger is trusted too.
    """

    def __init__(self, app: Carboy, console: bool, host: str) -> None:
        self._app = app
        self._debugger = DebuggedApplication(_raise_caught, evalex=console)
        # SECURITY: the debugger answers only to these hosts; a page of another origin cannot reach it by DNS.
        self._debugger.trusted_hosts.append(host)
        self.failure: Exception | None = None
        """Shown in answer to all requests: why the application could not be started."""

    async def __rsgi__(self, scope: t.Any, protocol: t.Any) -> None:
        """Serve one RSGI connection."""
        __traceback_hide__ = True
        if scope.proto != "http":
            await self._app.__rsgi__(scope, protocol)
            return
        asked = rsgi.Reader, scope
        answer = await self._answer_first(scope.path, scope.query_string, asked)
        if answer is None:
            watched = _WatchedProtocol(protocol)
            try:
                await self._app.__rsgi__(scope, watched)
                return
            except Exception as error:
                if watched.has_answered:
                    raise
                answer = await self._show(error, asked)
        protocol.response_bytes(*answer)

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        """Serve one ASGI connection."""
        __traceback_hide__ = True
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_answered = False

        async def watched_send(message: t.MutableMapping[str, t.Any]) -> None:
            nonlocal has_answered
            has_answered = True
            await send(message)

        asked = asgi.Reader, (scope, asgi._headers(scope["headers"]), scope["path"])
        answer = await self._answer_first(scope["path"], scope["query_string"].decode("latin1"), asked)
        if answer is None:
            try:
                await self._app(scope, receive, watched_send)
                return
            except Exception as error:
                if has_answered:
                    raise
                answer = await self._show(error, asked)
        status, headers, body = answer
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers],
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer_first(self, path: str, query: str, asked: _Asked) -> _Answer | None:
        """Return the answer to a request that is not for the application; None if it is."""
        if "__debugger__=yes" in query or (self._debugger.evalex and path == self._debugger.console_path):
            answer = await self._ask_debugger(None, asked)
            if answer is not None:
                return answer
        return None if self.failure is None else await self._show(self.failure, asked)

    async def _show(self, error: Exception, asked: _Asked) -> _Answer:
        return t.cast(_Answer, await self._ask_debugger(error, asked))

    async def _ask_debugger(self, caught: Exception | None, asked: _Asked) -> _Answer | None:
        # The request only for what an environ says of its body, of which the debugger reads nothing.
        reader, source = asked
        environ = reader.make_environ(source, self._app.request_class.from_connection("GET", "/", reader, source))
        # A list, because the environ is copied on its way.
        not_mine: list[bool] = []
        environ[_CAUGHT], environ[_NOT_MINE] = caught, not_mine
        origin = None if caught is None else caught.__traceback__
        body, status, headers = await run_in_thread(run_wsgi_app, self._debugger, environ, buffered=True)
        if caught is not None:
            caught.__traceback__ = origin  # Without what raising it once more has added.
        elif not_mine:
            return None
        return int(status[:3]), list(headers), b"".join(body)


def _raise_caught(environ: dict[str, t.Any], start_response: t.Any) -> t.Iterable[bytes]:
    """The WSGI application that the debugger thinks it wraps."""
    __traceback_hide__ = True
    caught: Exception | None = environ[_CAUGHT]
    if caught is None:
        environ[_NOT_MINE].append(True)
        start_response("404 Not Found", [])
        return []
    keep = environ.get("werkzeug.debug.preserve_context")
    if keep is not None:
        for ctx in _contexts_in(caught):
            keep(ctx)
    raise caught


def _contexts_in(error: BaseException) -> t.Iterator[RequestContext]:
    """The context of the request that *error* comes from, for the debugger's console to be in."""
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code is engine.handle.__code__:
            yield traceback.tb_frame.f_locals["ctx"]
        traceback = traceback.tb_next


class _WatchedProtocol:
    """Granian's protocol object, and whether it was used to answer."""

    def __init__(self, inner: t.Any) -> None:
        self._inner = inner
        self.has_answered = False

    def __getattr__(self, name: str) -> t.Any:
        if name.startswith("response"):
            self.has_answered = True
        return getattr(self._inner, name)

    def __call__(self) -> t.Any:
        return self._inner()

    def __aiter__(self) -> t.Any:
        return aiter(self._inner)
