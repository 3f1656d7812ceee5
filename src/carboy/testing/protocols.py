"""Bridges by which a WSGI test client drives an application over ASGI or RSGI.

A bridge is a WSGI callable. It turns the environ into what a server of the other protocol would pass, runs the
application on an event loop in a thread of its own, and gives back status, headers and an iterable of the body. What
servers do on their own account is done here too: the body is announced and counted, a client that closes the
response early has left, and a body that nobody reads is held back once :data:`WINDOW` bytes are waiting.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import typing as t
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import Context
from functools import cache
from http import HTTPStatus
from urllib.parse import quote

from .lint import ASGIApplication, Event, RSGIApplication

if t.TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

CHUNK = 65536
"""Bytes of the request body given to the application at a time."""

WINDOW = 65536
"""Bytes of the response that may wait for the client before ``send`` blocks, as a socket's buffer would."""

LEAVE_TIMEOUT = 10.0
"""Seconds that the application has to end after the client left."""


def asgi_as_wsgi(app: ASGIApplication) -> WSGIApplication:
    """Return a WSGI callable that runs an ASGI application.

    What the application raises is raised by the WSGI call or, once the response has started, by its iterable.
    """

    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = _Exchange(environ)
        scope = _asgi_scope(environ)
        connection = _ASGIConnection(exchange)
        return exchange.run(_call(app, scope, connection.receive, connection.send), start_response)

    return wsgi


def rsgi_as_wsgi(app: RSGIApplication) -> WSGIApplication:
    """Return a WSGI callable that runs an RSGI application.

    Args:
        app: A callable ``(scope, protocol)``, as ``__rsgi__`` of an application object is. It is given twins of
            granian's objects, which behave as granian 2.8 does.
    """

    def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        exchange = _Exchange(environ)
        return exchange.run(_call(app, RSGIScope(environ), RSGIProtocol(exchange)), start_response)

    return wsgi


async def _call(app: Callable[..., Awaitable[None]], *args: t.Any) -> None:
    await app(*args)


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that all test clients of the process share, running in a daemon thread."""
    import asyncio

    # In an empty context: the loop keeps the one it is made in.
    loop = Context().run(asyncio.new_event_loop)
    thread = threading.Thread(target=loop.run_forever, name="carboy-test-loop", daemon=True)
    thread.start()

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close() -> None:
        if not thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(LEAVE_TIMEOUT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LEAVE_TIMEOUT)
        loop.close()

    atexit.register(close)
    return loop


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork.
    os.register_at_fork(after_in_child=event_loop.cache_clear)


class ClientLeft(ConnectionError):
    """The client has closed the connection."""


class _Exchange:
    """One request and its response, between the caller's thread and the loop's.

    The caller's thread uses :meth:`run`; everything else is called on the loop.
    """

    def __init__(self, environ: WSGIEnvironment) -> None:
        import asyncio

        self.loop = event_loop()
        self.input = environ["wsgi.input"]
        length = environ.get("CONTENT_LENGTH") or None
        # A server gives a body that is announced by a length or sent in chunks, and none otherwise (RFC 9112 6.3).
        self.unread = int(length) if length else None if environ.get("wsgi.input_terminated") else 0
        self.output: queue.SimpleQueue[tuple[int, list[tuple[str, str]]] | bytes | None] = queue.SimpleQueue()
        self.waiting = 0
        self.room = asyncio.Event()
        self.over = asyncio.Event()
        self.left = False
        self.ended = False

    # The loop's side.

    def read(self) -> bytes:
        """Return the next part of the request body, b"" at its end.

        Raises:
            ClientLeft: The body ends before the announced length (such a client may still listen), or the client
                closed the response.
        """
        if self.left:
            raise ClientLeft
        data: bytes = self.input.read(CHUNK if self.unread is None else min(CHUNK, self.unread))
        if self.unread is not None:
            if not data and self.unread:
                raise ClientLeft
            self.unread -= len(data)
        return data

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.output.put((status, headers))

    def write(self, data: bytes) -> None:
        if data:
            self.waiting += len(data)
            self.output.put(data)

    async def drain(self) -> None:
        """Wait until the client has read enough.

        Raises:
            ClientLeft: The client closed the response.
        """
        while self.waiting > WINDOW and not self.left:
            self.room.clear()
            await self.room.wait()
        if self.left:
            raise ClientLeft

    def end(self) -> None:
        self.ended = True
        self.over.set()

    def leave(self) -> None:
        self.left = True
        self.over.set()
        self.room.set()

    def taken(self, size: int) -> None:
        self.waiting -= size
        self.room.set()

    # The caller's side.

    def run(self, coroutine: Coroutine[t.Any, t.Any, None], start_response: StartResponse) -> _Body:
        import asyncio

        if asyncio._get_running_loop() is self.loop:
            coroutine.close()
            raise RuntimeError("A test client cannot wait for a request where it has to be run: on its own event loop.")
        # In a context of its own, as a server's task has: nothing that the caller has active is active there.
        task = Context().run(asyncio.run_coroutine_threadsafe, coroutine, self.loop)
        task.add_done_callback(lambda _: self.output.put(None))
        head = self.output.get()
        if head is None:
            task.result()
            raise RuntimeError("The application returned without a response.")
        status, headers = t.cast(tuple[int, list[tuple[str, str]]], head)
        start_response(_status_line(status), headers)
        return _Body(self, task)


class _Body:
    """The response's body as the caller's thread reads it. Ends when the application has returned."""

    def __init__(self, exchange: _Exchange, task: concurrent.futures.Future[None]) -> None:
        self.exchange = exchange
        self.task = task
        self.ahead: bytes | None = None
        self.done = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data, self.ahead = self.ahead or self.next(), None
        if data is None:
            raise StopIteration
        if self.exchange.ended:
            # Let the application return first, so that what it does at the very end has been done when the client's
            # call returns, as with WSGI.
            self.ahead = self.next()
        return data

    def next(self) -> bytes | None:
        if self.done:
            return None
        data = t.cast("bytes | None", self.exchange.output.get())
        if data is None:
            self.done = True
            self.task.result()
        else:
            self.exchange.loop.call_soon_threadsafe(self.exchange.taken, len(data))
        return data

    def close(self) -> None:
        """Leave, if the response is not read to its end, and wait until the application has returned."""
        if self.done:
            return
        self.done = True
        self.exchange.loop.call_soon_threadsafe(self.exchange.leave)
        try:
            self.task.result(LEAVE_TIMEOUT)
        except TimeoutError:
            self.task.cancel()
            raise RuntimeError(f"The application was still running {LEAVE_TIMEOUT} s after the client left.") from None
        except ClientLeft:
            pass

    def __del__(self) -> None:
        if not self.done:
            self.exchange.loop.call_soon_threadsafe(self.exchange.leave)


def _status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} UNKNOWN"


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


# ASGI


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
    def __init__(self, exchange: _Exchange) -> None:
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
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.get("headers", ())]
            exchange.start(event["status"], headers)
            return
        more = event.get("more_body", False)
        if not more:
            exchange.end()
        exchange.write(event.get("body", b""))
        if more:
            await exchange.drain()


# RSGI


class RSGIProtocolError(RuntimeError):
    """The body was read twice."""


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

    def __init__(self, exchange: _Exchange) -> None:
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

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    async def send_bytes(self, data: bytes) -> None:
        self._exchange.write(data)
        try:
            await self._exchange.drain()
        except ClientLeft:
            raise RSGIProtocolClosed("RSGI transport is closed") from None

    async def send_str(self, data: str) -> None:
        await self.send_bytes(data.encode())


def _as_latin1(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Header values as WSGI carries them; RSGI servers send them in UTF-8."""
    return [(name, value.encode().decode("latin-1")) for name, value in headers]
