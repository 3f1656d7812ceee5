"""ASGI 3: HTTP, WebSocket and lifespan."""

from __future__ import annotations

import asyncio
import functools
import io
import sys
import typing as t
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import BadRequest, ClientDisconnected

from ..http import departure
from ..http.websocket import NO_STATUS, NORMAL, WebSocket, WebSocketDisconnect
from . import lifespan, loop

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..http import Request

R = t.TypeVar("R", bound="Request")
Scope = t.MutableMapping[str, t.Any]
Receive = t.Callable[[], t.Awaitable[t.MutableMapping[str, t.Any]]]
Send = t.Callable[[t.MutableMapping[str, t.Any]], t.Awaitable[None]]


async def serve(app: Carboy, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection."""
    if scope["type"] != "http":
        await _serve_otherwise(app, scope, receive, send)
        return
    headers = _headers(scope["headers"])
    method: str = scope["method"]
    request, host = _request(app.request_class, scope, headers, method)
    length = headers.get(b"content-length")
    has_body = (
        length not in (None, b"0")
        or b"transfer-encoding" in headers
        or (scope.get("http_version", "1.1")[0] > "1" and length is None and method not in ("GET", "HEAD"))
    )
    request.has_cookies = b"cookie" in headers
    request.client_channel = receive
    try:
        _, status, response_headers, body, close, context = await loop.answer(
            app,
            request,
            host,
            b"upgrade" not in headers,
            _Chunks(receive) if has_body else None,
            int(length) if length is not None and length.isdigit() else None,
        )
        is_whole = type(body) is list
        try:
            await send({"type": "http.response.start", "status": status, "headers": _encoded(response_headers)})
            if is_whole:
                await send({"type": "http.response.body", "body": body[0] if len(body) == 1 else b"".join(body)})
        except BaseException:
            # The client has left (ASGI 2.4), or the server gives up.
            await loop.close_body(body, close, context)
            raise
        if is_whole:
            if close is not None:
                await loop.run_close(close, context)
        # OSError: the client has left (ASGI 2.4).
        elif await loop.stream(request, body, close, context, functools.partial(_send, send), OSError):
            await send({"type": "http.response.body", "body": b""})
    finally:
        if request.departure is not None:
            departure.forget(request)


async def _serve_otherwise(app: Carboy, scope: Scope, receive: Receive, send: Send) -> None:
    kind = scope["type"]
    if kind == "lifespan":
        await lifespan.serve(app, receive, send)
        return
    if kind != "websocket":
        raise ValueError(f"The server opened an ASGI connection of the unknown type {kind!r}.")
    websocket, host = _request(app.websocket_class or WebSocket, scope, _headers(scope["headers"]), "GET")
    # The event that only says that it is there.
    await receive()
    await loop.converse(app, websocket, host, _Connection(scope, receive, send))


def _request(cls: type[R], scope: Scope, headers: dict[bytes, bytes], method: str) -> tuple[R, str | None]:
    """Return the request or WebSocket that the server tells of, and its host."""
    path: str = scope["path"]
    root_path: str | None = scope.get("root_path")
    if root_path and (path == root_path or path.startswith(f"{root_path.rstrip('/')}/")):
        path = path[len(root_path.rstrip("/")) :] or "/"
    request = cls.from_connection(method, path, Reader, (scope, headers, path))
    if not path.isascii() and "\ufffd" in path and not _is_utf8(scope.get("raw_path")):
        request.routing_exception = BadRequest("The path is not valid UTF-8.")
    host = headers.get(b"host")
    return request, None if host is None else host.decode("latin1")


def _send(send: Send, piece: bytes) -> t.Awaitable[None]:
    return send({"type": "http.response.body", "body": piece, "more_body": True})


class _Connection:
    """A WebSocket's connection, in ASGI's events."""

    carries_headers = True

    # ASGI 2.4: what send() raises when the client has left.
    gone: type[Exception] = OSError

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.receive = receive

    async def accept(self, subprotocol: str | None, headers: list[tuple[str, str]]) -> None:
        await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": _encoded(headers)})

    @staticmethod
    def decode(event: t.Any) -> str | bytes:
        if event["type"] != "websocket.receive":
            raise WebSocketDisconnect(int(event.get("code") or NO_STATUS), event.get("reason") or "")
        text = event.get("text")
        message: str | bytes = event["bytes"] if text is None else text
        return message

    def send(self, data: str | bytes) -> t.Awaitable[None]:
        return self._send({"type": "websocket.send", "text" if type(data) is str else "bytes": data})

    async def close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if (status == 403 and not body) or "websocket.http.response" not in (self._scope.get("extensions") or ()):
            # Answered by the server, always with 403.
            await self._send({"type": "websocket.close", "code": NORMAL, "reason": ""})
            return
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": _encoded(headers)})
        await self._send({"type": "websocket.http.response.body", "body": body})


def _encoded(headers: t.Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    # h11 refuses white space around a value, which is none of it (RFC 9110 section 5.5).
    return [(_encoded_name(name), value.encode("latin1").strip()) for name, value in headers]


@functools.lru_cache(maxsize=512)
def _encoded_name(name: str) -> bytes:
    return name.lower().encode("latin1")


class _Chunks:
    """The body as it is received. Not a generator: one given up half-way would need a task to be closed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True
        self._ended: asyncio.Event | None = None
        self.client_left = False

    async def ended(self) -> None:
        """Wait until the body has been received, by whoever reads it."""
        if self._more:
            self._ended = asyncio.Event()
            await self._ended.wait()

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if not self._more:
            raise StopAsyncIteration
        message = await self._receive()
        self._more = message.get("more_body", False)
        self.client_left = message["type"] == "http.disconnect"
        if self._ended is not None and not self._more:
            self._ended.set()
        if self.client_left:
            raise ClientDisconnected()
        body: bytes = message.get("body", b"")
        return body


def _headers(entries: t.Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by name; those that came more than once as one (RFC 9110 section 5.3)."""
    if not isinstance(entries, list):
        entries = list(entries)
    headers = dict(entries)
    if len(headers) == len(entries):
        return headers
    headers = {}
    for name, value in entries:
        if name in headers:
            # RFC 6265 section 5.4, RFC 9113 section 8.2.3: cookies alone are joined by semicolons.
            value = headers[name] + (b"; " if name == b"cookie" else b",") + value
        headers[name] = value
    return headers


def _is_utf8(raw_path: bytes | None) -> bool:
    # Servers put U+FFFD for what they cannot decode; it may also have been sent.
    if raw_path is None:
        return True
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return False
    return True


Source = tuple[Scope, dict[bytes, bytes], str]
"""The scope, its headers by name, and the path below the root path."""


class Reader:
    """Reads a request from its scope."""

    @staticmethod
    def make_environ(source: Source, request: Request) -> dict[str, t.Any]:
        """Return the WSGI environ (PEP 3333) that says what the scope says."""
        scope, headers, path = source
        server = scope.get("server") or ("localhost", None)
        client = scope.get("client") or ("", 0)
        environ: dict[str, t.Any] = {
            "REQUEST_METHOD": scope.get("method", "GET"),
            "SCRIPT_NAME": (scope.get("root_path") or "").encode().decode("latin1"),
            "PATH_INFO": path.encode().decode("latin1"),
            "QUERY_STRING": scope["query_string"].decode("latin1"),
            "SERVER_NAME": server[0],
            "SERVER_PORT": str(server[1] or (443 if scope.get("scheme") == "https" else 80)),
            "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
            "REMOTE_ADDR": client[0],
            "REMOTE_PORT": str(client[1]),
            "asgi.scope": scope,
        }
        raw_path = scope.get("raw_path")
        if raw_path is not None:
            environ["RAW_URI"] = environ["REQUEST_URI"] = raw_path.decode("latin1") + (
                f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
            )
        add_headers(environ, ((name.decode("latin1"), value.decode("latin1")) for name, value in headers.items()))
        add_wsgi_keys(environ, scope.get("scheme", "http"), request)
        return environ

    @staticmethod
    def get_header(source: Source, name: str) -> str | None:
        """Return the value of the header with the lower-case *name*."""
        value = source[1].get(name.encode())
        return None if value is None else value.decode("latin1")

    @staticmethod
    def get_query_string(source: Source) -> bytes:
        """Return the query string as it came."""
        query: bytes = source[0]["query_string"]
        return query

    @staticmethod
    def get_root_path(source: Source) -> str:
        """Return the path under which the application is mounted."""
        root_path: str = source[0].get("root_path") or ""
        return root_path


def add_headers(environ: dict[str, t.Any], headers: t.Iterable[tuple[str, str]]) -> None:
    """Add request headers to *environ* under their CGI names (RFC 3875)."""
    for name, value in headers:
        # A name with an underscore would pass for the one with a hyphen, which a proxy may have vouched for.
        if "_" in name:
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value


def add_wsgi_keys(environ: dict[str, t.Any], scheme: str, request: Request) -> None:
    """Add the keys that PEP 3333 requires."""
    if request.is_websocket:
        scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        # What Werkzeug tells a WebSocket by; over HTTP/2 no client sends it (RFC 8441).
        environ["HTTP_CONNECTION"] = "Upgrade"
        environ["HTTP_UPGRADE"] = "websocket"
    environ["wsgi.version"] = (1, 0)
    environ["wsgi.url_scheme"] = scheme
    environ["wsgi.input"] = request._input if request._input is not None else io.BytesIO()
    environ["wsgi.input_terminated"] = True
    environ["wsgi.errors"] = sys.stderr
    environ["wsgi.multithread"] = True
    environ["wsgi.multiprocess"] = True
    environ["wsgi.run_once"] = False
