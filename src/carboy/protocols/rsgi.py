"""RSGI 1: granian's protocol, in which a response is one native call."""

from __future__ import annotations

import asyncio
import contextlib
import typing as t

from werkzeug.exceptions import BadRequest, ClientDisconnected

from ..concurrency import keep
from ..http import departure
from ..http.websocket import NO_STATUS, WebSocket, WebSocketDisconnect
from ..lifecycle import ShutdownError, StartupError
from . import loop
from .asgi import add_headers, add_wsgi_keys

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..http import Request


def change(loop: asyncio.AbstractEventLoop, work: t.Coroutine[t.Any, t.Any, None]) -> None:
    """Start the application or shut it down, before and after the loop runs.

    Where the loop runs all the time (granian, embedded), the change is only begun
    here, and requests wait for it.
    """
    if not loop.is_running():
        loop.run_until_complete(work)
        return

    async def go_on() -> None:
        # What failed was logged; the first request tries again.
        with contextlib.suppress(StartupError, ShutdownError):
            await work

    keep(loop.create_task(go_on()))


async def serve(app: Carboy, scope: t.Any, protocol: t.Any) -> None:
    """Serve one connection."""
    incoming = scope.headers
    method: str = scope.method
    path: str = scope.path
    hosts = incoming.get_all("host")
    host = (hosts[0] if len(hosts) == 1 else ",".join(hosts)) if hosts else scope.authority
    if scope.proto != "http":
        websocket = (app.websocket_class or WebSocket).from_connection(method, path, Reader, scope)
        _check_path(websocket, path)
        await _websocket(app, websocket, host, protocol)
        return
    request = app.request_class.from_connection(method, path, Reader, scope)
    if not path.isascii():
        _check_path(request, path)
    length: int | None = None
    if "content-length" in incoming:
        announced = incoming.get("content-length")
        # SECURITY: chunks override it (RFC 9112 section 6.3), and are not counted where the body is received at once.
        length = int(announced) if announced.isdigit() and "transfer-encoding" not in incoming else None
        has_body = length != 0
    else:
        # HTTP/2 has no chunks: a body of unknown length is not announced.
        has_body = "transfer-encoding" in incoming or (method not in ("GET", "HEAD") and scope.http_version[0] == "2")
    request.client_channel = protocol
    request.has_cookies = "cookie" in incoming
    try:
        _, status, headers, body, close, context = await loop.answer(
            app,
            request,
            host,
            # Granian makes a handshake a WebSocket of its own.
            True,
            _Chunks(protocol, length) if has_body else None,
            length,
        )
        if type(body) is list:
            if not body:
                protocol.response_empty(status, headers)
            else:
                protocol.response_bytes(status, headers, body[0] if len(body) == 1 else b"".join(body))
            if close is not None:
                await loop.run_close(close, context)
            return
        transport = protocol.response_stream(status, headers)
        # RuntimeError is the server's way to say that the client has left.
        await loop.stream(request, body, close, context, transport.send_bytes, RuntimeError)
    finally:
        if request.departure is not None:
            departure.forget(request)


def _check_path(request: Request, path: str) -> None:
    if "\ufffd" in path:
        # The server has put it for what it could not decode, and does not tell the path as it came.
        request.routing_exception = BadRequest("The path is not valid UTF-8.")


async def _websocket(app: Carboy, websocket: WebSocket, host: str | None, protocol: t.Any) -> None:
    try:
        await loop.converse(app, websocket, host, _Connection(protocol))
    finally:
        # Where the client has closed, the server answers when it is told to, or when the object is forgotten.
        protocol.close()


class _Connection:
    """A WebSocket's connection, in granian's terms.

    RSGI passes neither a subprotocol nor headers when a WebSocket is accepted, and
    granian 2.8 sends no close code: the client sees 1005.
    """

    carries_headers = False
    # The server's way to say that the connection is lost.
    gone: type[Exception] = RuntimeError
    receive: t.Callable[[], t.Awaitable[t.Any]]

    def __init__(self, protocol: t.Any) -> None:
        self._protocol = protocol
        self._transport: t.Any = None
        self._is_accepted = False

    async def accept(self, subprotocol: str | None, headers: list[tuple[str, str]]) -> None:
        if subprotocol is not None or headers:
            what = "a subprotocol" if subprotocol is not None else f"headers ({', '.join(name for name, _ in headers)})"
            raise RuntimeError(
                f"RSGI cannot pass {what} to the client of a WebSocket. Serve the application over ASGI: 'carboy serve"
                " --interface asgi', uvicorn, hypercorn."
            )
        if self._is_accepted:
            # The server's process would end at a second call.
            raise RuntimeError("The server could not accept the WebSocket.")
        self._is_accepted = True
        self._transport = await self._protocol.accept()
        self.receive = self._transport.receive

    @staticmethod
    def decode(event: t.Any) -> str | bytes:
        if event.kind == 0:
            # The server does not tell the code that came.
            raise WebSocketDisconnect(NO_STATUS)
        message: str | bytes = event.data
        return message

    def send(self, data: str | bytes) -> t.Awaitable[None]:
        transport = self._transport
        sent: t.Awaitable[None] = transport.send_str(data) if type(data) is str else transport.send_bytes(data)
        return sent

    async def close(self, code: int, reason: str) -> None:
        self._protocol.close()
        # The server closes when the last reference to its transport is gone.
        self._transport = None
        del self.receive

    async def refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._protocol.close(status)


class _Chunks:
    """The body as it is received, from granian's iterator."""

    def __init__(self, protocol: t.Any, length: int | None) -> None:
        self._iterator: t.Any = None
        self._protocol = protocol
        self._length = length
        self._received = 0

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = aiter(self._protocol)
        try:
            chunk = bytes(await anext(self._iterator))
        except RuntimeError as e:
            raise ClientDisconnected() from e
        except StopAsyncIteration:
            # Granian ends the body of a client that left like any other.
            if self._length is not None and self._received < self._length:
                raise ClientDisconnected() from None
            raise
        self._received += len(chunk)
        return chunk

    async def whole(self) -> bytes:
        """Return the body, whose announced length is known; the server lets no more of it pass.

        PERF: one call in place of one for each piece, of which each waits for another thread.
        """
        try:
            body: bytes = await self._protocol()
        except RuntimeError as e:
            raise ClientDisconnected() from e
        if self._length is not None and len(body) < self._length:
            raise ClientDisconnected()
        return body


class Reader:
    """Reads a request from its scope."""

    @staticmethod
    def make_environ(scope: t.Any, request: Request) -> dict[str, t.Any]:
        """Return the WSGI environ (PEP 3333) that says what *scope* says."""
        host, _, port = scope.server.rpartition(":")
        client, _, client_port = scope.client.rpartition(":")
        environ: dict[str, t.Any] = {
            "REQUEST_METHOD": scope.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": scope.path.encode().decode("latin1"),
            "QUERY_STRING": scope.query_string,
            "SERVER_NAME": host or scope.server,
            "SERVER_PORT": port or "80",
            "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
            "REMOTE_ADDR": client.strip("[]"),
            "REMOTE_PORT": client_port,
            "rsgi.scope": scope,
        }
        add_headers(environ, scope.headers.items())
        environ.setdefault("HTTP_HOST", scope.authority or environ["SERVER_NAME"])
        add_wsgi_keys(environ, scope.scheme, request)
        return environ

    @staticmethod
    def get_header(scope: t.Any, name: str) -> str | None:
        """Return the value of the header with the lower-case *name*."""
        # A browser may split its cookies over several (RFC 9113 section 8.2.3).
        values: list[str] = scope.headers.get_all(name)
        return ("; " if name == "cookie" else ",").join(values) if values else None

    @staticmethod
    def get_query_string(scope: t.Any) -> bytes:
        """Return the query string as it came."""
        query: bytes = scope.query_string.encode("latin1")
        return query

    @staticmethod
    def get_root_path(scope: t.Any) -> str:
        """Return the path under which the application is mounted, which RSGI does not know."""
        return ""
