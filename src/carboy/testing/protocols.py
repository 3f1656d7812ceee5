"""Twins of servers: what an application is given over WSGI, ASGI and RSGI, without a socket.

A server turns an environ, in which a test client says what it asks for, into what a server of its protocol would pass,
and runs the application on an event loop, in a context of its own. What servers do on their own account is done here
too: the body is announced and counted, a client that closes the response early has left, and a body that nobody reads
is held back once :data:`WINDOW` bytes are waiting.

As a WebSocket server the ASGI twin does what uvicorn 0.54 does, with the events of specification 2.5: the
application's own close is the code of its ``websocket.disconnect``, a client that vanished gives 1005, ``send`` to a
client that left raises ``OSError``, and an application that returns without closing drops the connection (1006).

The RSGI twin does what granian 2.8.7 does, found by experiment:

- ``accept()`` takes no arguments: neither a subprotocol nor headers can be sent. Called twice it ends the process.
- ``close(status)`` before that answers with this status, without headers or content; without a status it is 403, as it
  is when the application returns or raises. A status outside 100 to 999 ends the process.
- ``close()`` afterwards sends a close frame without code or reason, whatever it is given, so that the client sees 1005;
  so does returning. It may be called again. A ``receive()`` that waits is not woken.
- A message has ``kind`` 0 (close), 1 (bytes) or 2 (str), a plain int, and ``data`` except for the first.
- ``receive()`` raises ``RSGIProtocolClosed`` after the client's close was received or when it vanished, and
  ``RSGIProtocolError`` while another waits. After one's own close it goes on giving messages up to the client's answer.
- ``send_bytes()`` and ``send_str()`` wait for a slow client. They raise ``RSGIProtocolError`` after one's own close,
  ``RSGIProtocolClosed`` when the client has vanished or its close was received.
"""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from functools import partial
from urllib.parse import quote

from werkzeug.test import run_wsgi_app

from .exchange import ABNORMAL, NO_STATUS, BlockingBody, ClientLeft, Closed, Dialogue, Exchange, HeaderList, T
from .exchange import WINDOW as WINDOW
from .exchange import event_loop as event_loop
from .lint import ASGIApplication, Event, RSGIApplication

if t.TYPE_CHECKING:
    import asyncio

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Server(t.Protocol):
    """What a client needs of a server's twin. Both coroutines end when the application has returned."""

    def http(self, environ: WSGIEnvironment, exchange: Exchange) -> Coroutine[t.Any, t.Any, None]:
        """Run the application for a request."""

    def websocket(
        self, environ: WSGIEnvironment, dialogue: Dialogue, http_response: bool
    ) -> Coroutine[t.Any, t.Any, None]:
        """Run the application for a WebSocket.

        Args:
            http_response: Whether to offer the extension ``websocket.http.response``, over ASGI.
        """


def asgi_as_wsgi(app: ASGIApplication) -> WSGIApplication:
    """Return a WSGI callable that runs an ASGI application.

    What the application raises is raised by the WSGI call or, once the response has started, by its iterable.
    """
    return _as_wsgi(ASGIServer(app))


def rsgi_as_wsgi(app: RSGIApplication) -> WSGIApplication:
    """Return a WSGI callable that runs an RSGI application.

    Args:
        app: A callable ``(scope, protocol)``, as ``__rsgi__`` of an application object is. It is given twins of
            granian's objects, which behave as granian 2.8 does.
    """
    return _as_wsgi(RSGIServer(app))


def _as_wsgi(server: Server) -> WSGIApplication:
    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return BlockingBody(partial(server.http, environ), environ, start_response)

    return wsgi


def _bytes(environ: WSGIEnvironment, key: str) -> bytes:
    """The value as it came over the wire (PEP 3333 carries bytes as latin-1 text)."""
    return t.cast(str, environ.get(key, "")).encode("latin-1")


def _headers(environ: WSGIEnvironment) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-").lower(), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield key.replace("_", "-").lower(), value


def _path(environ: WSGIEnvironment) -> bytes:
    return _bytes(environ, "SCRIPT_NAME") + _bytes(environ, "PATH_INFO")


# WSGI


class WSGIServer:
    """Runs a WSGI application in a thread of its own, as far as the client asks for the body.

    A WebSocket is a request like any other to it.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    async def http(self, environ: WSGIEnvironment, exchange: Exchange) -> None:
        import asyncio

        await in_own_thread(self._serve, environ, exchange, asyncio.get_running_loop())

    async def websocket(self, environ: WSGIEnvironment, dialogue: Dialogue, http_response: bool) -> None:
        parts, status, headers = await in_own_thread(run_wsgi_app, self.app, environ, True)
        dialogue.refuse(int(status[:3]), list(headers), b"".join(parts))

    def _serve(self, environ: WSGIEnvironment, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        heads: list[tuple[int, HeaderList]] = []
        sent = False

        def start_response(status: str, headers: HeaderList, *exc_info: t.Any) -> Callable[[bytes], object]:
            if sent and exc_info and exc_info[0]:
                raise exc_info[0][1]
            heads[:] = [(int(status[:3]), headers)]
            return hand

        def hand(part: bytes) -> None:
            nonlocal sent
            if heads and not sent:
                sent = True
                loop.call_soon_threadsafe(exchange.start, *heads[0])
            loop.call_soon_threadsafe(exchange.write, part)

        def is_wanted() -> bool:
            try:
                asyncio.run_coroutine_threadsafe(exchange.wanted(), loop).result()
            except ClientLeft:
                return False
            return True

        body = self.app(environ, start_response)
        try:
            iterator = iter(body)
            while is_wanted():
                part = next(iterator, None)
                if part is None:
                    break
                hand(part)
        finally:
            if hasattr(body, "close"):
                body.close()
        if not sent and not exchange.left:
            hand(b"")


async def in_own_thread(func: Callable[..., T], *args: t.Any) -> T:
    """Run a function that may block for long in a new thread, in an empty context."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[t.Any], None], outcome: t.Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def work() -> None:
        try:
            outcome: t.Any = func(*args)
            set_outcome: Callable[[t.Any], None] = future.set_result
        except BaseException as e:
            outcome, set_outcome = e, future.set_exception
        # The loop is closed if nobody waited.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, set_outcome, outcome)

    threading.Thread(target=work, name="carboy-test-wsgi", daemon=True).start()
    return await future


# ASGI


class ASGIServer:
    """Runs an ASGI application."""

    def __init__(self, app: ASGIApplication) -> None:
        self.app = app

    async def http(self, environ: WSGIEnvironment, exchange: Exchange) -> None:
        connection = _ASGIConnection(exchange)
        await self.app(_asgi_scope(environ), connection.receive, connection.send)

    async def websocket(self, environ: WSGIEnvironment, dialogue: Dialogue, http_response: bool) -> None:
        scope = _asgi_scope(environ)
        del scope["method"]
        scope["type"] = "websocket"
        scope["asgi"]["spec_version"] = "2.5"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = list(dialogue.offered)
        if http_response:
            scope["extensions"]["websocket.http.response"] = {}
        connection = _ASGIWebSocket(dialogue, http_response)
        try:
            await self.app(scope, connection.receive, connection.send)
        finally:
            if dialogue.accepted and dialogue.closed_by_app is None:
                dialogue.to_client.put_nowait(Closed(ABNORMAL, is_lost=True))


def _asgi_scope(environ: WSGIEnvironment) -> Event:
    path = _path(environ)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": environ["SERVER_PROTOCOL"].partition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": path.decode(errors="replace"),
        "raw_path": quote(path, safe="/!$&'()*+,;=:@~").encode(),
        "query_string": _bytes(environ, "QUERY_STRING"),
        "root_path": _bytes(environ, "SCRIPT_NAME").decode(errors="replace"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in _headers(environ)],
        "client": (environ.get("REMOTE_ADDR", "127.0.0.1"), int(environ.get("REMOTE_PORT", 0))),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
        "state": {},
        "extensions": {},
    }


class _ASGIConnection:
    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.body_read = False

    async def receive(self) -> Event:
        exchange = self.exchange
        if not self.body_read:
            try:
                data = exchange.read()
            except ClientLeft:
                return {"type": "http.disconnect"}
            self.body_read = not (data and exchange.unread != 0)
            return {"type": "http.request", "body": data, "more_body": not self.body_read}
        await exchange.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: Event) -> None:
        exchange = self.exchange
        if exchange.left:
            raise ClientLeft
        if event["type"] == "http.response.start":
            exchange.start(event["status"], _decoded(event))
            return
        more = event.get("more_body", False)
        if not more:
            exchange.end()
        exchange.write(event.get("body", b""))
        if more:
            await exchange.drain()


class _ASGIWebSocket:
    def __init__(self, dialogue: Dialogue, http_response: bool) -> None:
        self.dialogue = dialogue
        self.http_response = http_response
        self.connected = False
        self.end: Closed | None = None
        self.refusal: tuple[int, HeaderList] | None = None
        self.body = b""

    async def receive(self) -> Event:
        if not self.connected:
            self.connected = True
            return {"type": "websocket.connect"}
        data = self.end or await self.dialogue.to_app.get()
        if isinstance(data, Closed):
            self.end = data
            return {"type": "websocket.disconnect", "code": data.code, "reason": data.reason}
        return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}

    async def send(self, event: Event) -> None:
        dialogue = self.dialogue
        kind = event["type"]
        if dialogue.closed_by_client is not None:
            raise ClientLeft
        if dialogue.closed_by_app is not None or (dialogue.answered and not dialogue.accepted):
            raise RuntimeError(f"{kind} was sent after the WebSocket was closed or refused.")
        if dialogue.accepted:
            await self.converse(kind, event)
        else:
            self.answer(kind, event)

    async def converse(self, kind: str, event: Event) -> None:
        if kind == "websocket.send":
            text = event.get("text")
            await self.dialogue.send(event["bytes"] if text is None else text)
            if self.dialogue.closed_by_client is not None:
                raise ClientLeft
        elif kind == "websocket.close":
            self.dialogue.close(event.get("code", 1000), event.get("reason") or "")
        else:
            raise RuntimeError(f"{kind} was sent to a WebSocket that was accepted.")

    def answer(self, kind: str, event: Event) -> None:
        if kind == "websocket.accept":
            self.dialogue.accept(event.get("subprotocol"), _decoded(event))
        elif kind == "websocket.close":
            self.dialogue.refuse(403, [])
        elif kind == "websocket.http.response.start" and self.http_response:
            self.refusal = event["status"], _decoded(event)
        elif kind == "websocket.http.response.body" and self.refusal is not None:
            self.body += event.get("body", b"")
            if not event.get("more_body", False):
                self.dialogue.refuse(*self.refusal, self.body)
        else:
            raise RuntimeError(f"{kind} was sent to a WebSocket that was not accepted.")


def _decoded(event: Event) -> HeaderList:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.get("headers") or ()]


# RSGI


class RSGIServer:
    """Runs an RSGI application."""

    def __init__(self, app: RSGIApplication) -> None:
        self.app = app

    async def http(self, environ: WSGIEnvironment, exchange: Exchange) -> None:
        await self.app(RSGIScope(environ), RSGIProtocol(exchange))

    async def websocket(self, environ: WSGIEnvironment, dialogue: Dialogue, http_response: bool) -> None:
        scope = RSGIScope(environ)
        scope.proto = "ws"
        try:
            await self.app(scope, RSGIWebSocketProtocol(dialogue))
        except BaseException:
            # Granian answers with 403 here too; the client of a test raises what the application did.
            if dialogue.accepted:
                dialogue.close(NO_STATUS, "")
            raise
        if dialogue.accepted:
            dialogue.close(NO_STATUS, "")
        elif not dialogue.answered:
            dialogue.refuse(403, [])


class RSGIProtocolError(RuntimeError):
    """The body was read twice, or a WebSocket is used in a way that the server refuses."""


class RSGIProtocolClosed(RuntimeError):
    """The client has left."""


class RSGIHeaders:
    """Request headers: names in lower case, in the order of arrival.

    Like granian's, :meth:`items` leaves out headers whose value is not ASCII.
    """

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self._headers = list(headers)

    def __contains__(self, key: str) -> bool:
        return any(name == key for name, _ in self._headers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._headers)

    def __getitem__(self, key: str) -> str:
        values = self.get_all(key)
        if not values:
            raise KeyError(key)
        return values[0]

    def keys(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._headers))

    def values(self) -> list[str]:
        return [value for _, value in self.items()]

    def items(self) -> list[tuple[str, str]]:
        return [header for header in self._headers if header[1].isascii()]

    def get(self, key: str, default: t.Any = None) -> t.Any:
        values = self.get_all(key)
        return values[0] if values else default

    def get_all(self, key: str) -> list[str]:
        return [value for name, value in self.items() if name == key]


class RSGIScope:
    """What an RSGI server says about a request."""

    proto = "http"
    rsgi_version = "1.6"
    # Set by servers for HTTP/2 and for an absolute request target only.
    authority: str | None = None

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.http_version: str = environ["SERVER_PROTOCOL"].partition("/")[2]
        self.server = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        self.client = f"{environ.get('REMOTE_ADDR', '127.0.0.1')}:{environ.get('REMOTE_PORT', 0)}"
        self.scheme: str = environ["wsgi.url_scheme"]
        self.method: str = environ["REQUEST_METHOD"]
        self.path = _path(environ).decode(errors="replace")
        self.query_string = _bytes(environ, "QUERY_STRING").decode(errors="replace")
        self.headers = RSGIHeaders(_headers(environ))


class RSGIProtocol:
    """What an RSGI application reads its request from and answers with."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._body_taken = False

    def _take_body(self) -> None:
        if self._body_taken:
            raise RSGIProtocolError("RSGI protocol error")
        self._body_taken = True

    async def __call__(self) -> bytes:
        self._take_body()
        try:
            return b"".join(iter(self._exchange.read, b""))
        except ClientLeft:
            raise RSGIProtocolClosed("RSGI transport is closed") from None

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._take_body()
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            while data := self._exchange.read():
                yield data
        except ClientLeft:
            # As in granian: the iteration ends as if the body were complete, after an empty part.
            yield b""

    async def client_disconnect(self) -> None:
        await self._exchange.over.wait()

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._respond(status, headers, b"")

    def response_str(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        self._respond(status, headers, body.encode())

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._respond(status, headers, body)

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self.response_file_range(status, headers, file, 0, os.path.getsize(file))

    def response_file_range(self, status: int, headers: list[tuple[str, str]], file: str, start: int, end: int) -> None:
        """Send the bytes of a file from *start* up to, not including, *end*."""
        with open(file, "rb") as stream:
            stream.seek(start)
            self._respond(status, headers, stream.read(end - start))

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> RSGITransport:
        self._exchange.start(status, _as_latin1(headers))
        return RSGITransport(self._exchange)

    def _respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._exchange.start(status, _as_latin1(headers))
        self._exchange.end()
        self._exchange.write(body)


class RSGITransport:
    """The sending side of a streamed response."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def send_bytes(self, data: bytes) -> None:
        self._exchange.write(data)
        try:
            await self._exchange.drain()
        except ClientLeft:
            raise RSGIProtocolClosed("RSGI transport is closed") from None

    async def send_str(self, data: str) -> None:
        await self.send_bytes(data.encode())


class RSGIWebSocketMessage:
    """A message that a WebSocket's client has sent. That of a close frame has no data."""

    data: str | bytes

    def __init__(self, data: str | bytes | Closed) -> None:
        if isinstance(data, Closed):
            self.kind = 0
        else:
            self.kind = 2 if isinstance(data, str) else 1
            self.data = data


class RSGIWebSocketProtocol:
    """What an RSGI application accepts or refuses a WebSocket with."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._accepting = False

    async def accept(self) -> RSGIWebSocketTransport:
        if self._accepting:
            raise RSGIProtocolError("accept() was called twice, at which granian 2.8 ends the process.")
        self._accepting = True
        if self._dialogue.answered:
            raise RSGIProtocolError("RSGI protocol error")
        self._dialogue.accept(None, [])
        return RSGIWebSocketTransport(self._dialogue)

    def close(self, status: int | None = None) -> None:
        dialogue = self._dialogue
        if dialogue.accepted:
            dialogue.close(NO_STATUS, "")
        elif not dialogue.answered:
            if status is not None and not 100 <= status <= 999:
                raise RSGIProtocolError(
                    f"The status {status} was given to close(), at which granian 2.8 ends the process."
                )
            dialogue.refuse(403 if status is None else status, [])


class RSGIWebSocketTransport:
    """The open WebSocket."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._receiving = False
        self._ended = False

    async def receive(self) -> RSGIWebSocketMessage:
        if self._receiving:
            raise RSGIProtocolError("RSGI protocol error")
        if self._ended:
            raise RSGIProtocolClosed("RSGI transport is closed")
        self._receiving = True
        try:
            data = await self._dialogue.to_app.get()
        finally:
            self._receiving = False
        if isinstance(data, Closed):
            self._ended = True
            if data.is_lost:
                raise RSGIProtocolClosed("RSGI transport is closed")
        return RSGIWebSocketMessage(data)

    async def send_bytes(self, data: bytes) -> None:
        await self._send(bytes(data))

    async def send_str(self, data: str) -> None:
        await self._send(data)

    async def _send(self, data: str | bytes) -> None:
        dialogue = self._dialogue
        if dialogue.closed_by_app is not None:
            raise RSGIProtocolError("RSGI protocol error")
        left = dialogue.closed_by_client
        if self._ended or (left is not None and left.is_lost):
            raise RSGIProtocolClosed("RSGI transport is closed")
        await dialogue.send(data)


def _as_latin1(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Header values as WSGI carries them; RSGI servers send them in UTF-8."""
    return [(name, value.encode().decode("latin-1")) for name, value in headers]
