"""The connection between a test client and an application: what a socket and a server's buffers would be.

An :class:`Exchange` is a request and its response, a :class:`Dialogue` a WebSocket. The application's side runs on one
event loop: the test's own for an async client, :func:`event_loop` for the sync one.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import typing as t
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus

if t.TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CHUNK = 65536
"""Bytes of the request body given to the application at a time."""

WINDOW = 65536
"""Bytes of the response that may wait for the client before ``send`` blocks, as a socket's buffer would."""

LEAVE_TIMEOUT = 10.0
"""Seconds that the application has to end after the client left."""

T = t.TypeVar("T")
HeaderList = list[tuple[str, str]]
Head = tuple[int, HeaderList]


class ClientLeft(ConnectionError):
    """The client has closed the connection."""


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that all sync test clients of the process share, running in a daemon thread."""
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


def submit(coroutine: Coroutine[t.Any, t.Any, T]) -> concurrent.futures.Future[T]:
    """Run *coroutine* on :func:`event_loop`, in a context of its own, as a server's task has.

    Raises:
        RuntimeError: That loop runs in this very thread.
    """
    import asyncio

    loop = event_loop()
    if asyncio._get_running_loop() is loop:
        coroutine.close()
        raise RuntimeError("A test client cannot wait for a request where it has to be run: on its own event loop.")
    return Context().run(asyncio.run_coroutine_threadsafe, coroutine, loop)


def run(coroutine: Coroutine[t.Any, t.Any, T]) -> T:
    """Run *coroutine* on :func:`event_loop` and wait for it in this thread."""
    future = submit(coroutine)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class Exchange:
    """One request and its response. Used on the application's loop only.

    Args:
        environ: The request.
        put: Hands the client the status and headers, the parts of the body, and None when the application has
            returned.
    """

    def __init__(self, environ: WSGIEnvironment, put: Callable[[Head | bytes | None], None]) -> None:
        import asyncio

        self.put = put
        self.input = environ["wsgi.input"]
        length = environ.get("CONTENT_LENGTH") or None
        # A server gives a body that is announced by a length or sent in chunks, and none otherwise (RFC 9112 6.3).
        self.unread = int(length) if length else None if environ.get("wsgi.input_terminated") else 0
        self.waiting = 0
        self.asked = False
        self.room = asyncio.Event()
        self.over = asyncio.Event()
        self.left = False
        self.ended = False

    # The application's side.

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

    def start(self, status: int, headers: HeaderList) -> None:
        self.asked = False
        self.put((status, headers))

    def write(self, data: bytes) -> None:
        if data:
            self.waiting += len(data)
            self.asked = False
            self.put(data)

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

    async def wanted(self) -> None:
        """Wait until the client asks for more than it was given.

        Raises:
            ClientLeft: The client closed the response.
        """
        while not self.asked and not self.left:
            self.room.clear()
            await self.room.wait()
        if self.left:
            raise ClientLeft

    def end(self) -> None:
        self.ended = True
        self.over.set()

    # The client's side.

    def leave(self) -> None:
        self.left = True
        self.over.set()
        self.room.set()

    def ask(self) -> None:
        self.asked = True
        self.room.set()

    def taken(self, size: int) -> None:
        self.waiting -= size
        self.room.set()


class BlockingBody:
    """A response as the caller's thread reads it. Ends when the application has returned."""

    def __init__(
        self,
        begin: Callable[[Exchange], Coroutine[t.Any, t.Any, None]],
        environ: WSGIEnvironment,
        start_response: StartResponse,
    ) -> None:
        self.output: queue.SimpleQueue[Head | bytes | None] = queue.SimpleQueue()
        self.done = False
        self.ahead: bytes | None = None
        self.loop = event_loop()
        self.exchange = Exchange(environ, self.output.put)
        try:
            self.task = submit(begin(self.exchange))
        except BaseException:
            self.done = True
            raise
        put = self.output.put
        # Not of this object, which the task would keep from being forgotten, and left.
        self.task.add_done_callback(lambda _: put(None))
        head = self.output.get()
        if head is None:
            self.done = True
            self.task.result()
            raise RuntimeError("The application returned without a response.")
        status, headers = t.cast(Head, head)
        start_response(status_line(status), headers)

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
        data = t.cast("bytes | None", self.output.get())
        if data is None:
            self.done = True
            self.task.result()
        else:
            self.loop.call_soon_threadsafe(self.exchange.taken, len(data))
        return data

    def close(self) -> None:
        """Leave, if the response is not read to its end, and wait until the application has returned."""
        if self.done:
            return
        self.done = True
        self.loop.call_soon_threadsafe(self.exchange.leave)
        try:
            self.task.result(LEAVE_TIMEOUT)
        except TimeoutError:
            self.task.cancel()
            raise still_running(LEAVE_TIMEOUT) from None
        except ClientLeft:
            pass

    def __del__(self) -> None:
        if not self.done:
            self.loop.call_soon_threadsafe(self.exchange.leave)


class AwaitedBody:
    """A response as a coroutine on the application's loop reads it. Ends when the application has returned."""

    def __init__(self, begin: Callable[[Exchange], Coroutine[t.Any, t.Any, None]], environ: WSGIEnvironment) -> None:
        import asyncio

        self.output: asyncio.Queue[Head | bytes | None] = asyncio.Queue()
        self.done = False
        self.exchange = Exchange(environ, self.output.put_nowait)
        self.task = asyncio.get_running_loop().create_task(begin(self.exchange), context=Context())
        put = self.output.put_nowait
        # Not of this object, which the task would keep from being forgotten, and left.
        self.task.add_done_callback(lambda _: put(None))

    async def head(self) -> Head:
        """Wait for status and headers.

        Raises:
            RuntimeError: The application returned without a response.
        """
        head = await self._get()
        if head is None:
            raise RuntimeError("The application returned without a response.")
        return t.cast(Head, head)

    def __aiter__(self) -> AwaitedBody:
        return self

    async def __anext__(self) -> bytes:
        if self.done:
            raise StopAsyncIteration
        data = t.cast("bytes | None", await self._get())
        if data is None:
            raise StopAsyncIteration
        self.exchange.taken(len(data))
        return data

    async def _get(self) -> Head | bytes | None:
        if self.output.empty():
            self.exchange.ask()
        item = await self.output.get()
        if item is None:
            self.done = True
            raise_failure(self.task)
        return item

    def abandon(self) -> None:
        """Leave and cancel the application, without waiting for it."""
        self.done = True
        self.exchange.leave()
        self.task.cancel()

    async def aclose(self, limit: float = LEAVE_TIMEOUT) -> None:
        """Leave, if the response is not read to its end, and wait until the application has returned."""
        if self.done:
            return
        self.done = True
        self.exchange.leave()
        await finish(self.task, limit)

    def __del__(self) -> None:
        if not self.done:
            self.exchange.leave()


NO_STATUS = 1005
"""The close code of a close frame without one (RFC 6455 7.4.1)."""

ABNORMAL = 1006
"""The close code of a connection that ended without a close frame (RFC 6455 7.4.1)."""


@dataclass(frozen=True)
class Accepted:
    """The handshake was accepted."""

    subprotocol: str | None
    headers: HeaderList


@dataclass(frozen=True)
class Refused:
    """The handshake was answered with an HTTP response."""

    status: int
    headers: HeaderList
    body: bytes


@dataclass(frozen=True)
class Closed:
    """A close frame, or the loss of the connection if *is_lost*."""

    code: int
    reason: str = ""
    is_lost: bool = False


class Dialogue:
    """A WebSocket between a client and the application. Used on the application's loop only.

    Args:
        offered: The subprotocols that the client offers.
    """

    def __init__(self, offered: list[str]) -> None:
        import asyncio

        self.offered = offered
        self.to_app: asyncio.Queue[str | bytes | Closed] = asyncio.Queue()
        self.to_client: asyncio.Queue[Accepted | Refused | str | bytes | Closed | None] = asyncio.Queue()
        self.answered = False
        self.accepted = False
        self.closed_by_app: Closed | None = None
        self.closed_by_client: Closed | None = None
        self.waiting = 0
        self.room = asyncio.Event()

    # The application's side.

    def accept(self, subprotocol: str | None, headers: HeaderList) -> None:
        self.answered = self.accepted = True
        self.to_client.put_nowait(Accepted(subprotocol, headers))

    def refuse(self, status: int, headers: HeaderList, body: bytes = b"") -> None:
        self.answered = True
        self.to_client.put_nowait(Refused(status, headers, body))
        self.to_app.put_nowait(Closed(ABNORMAL, is_lost=True))

    async def send(self, data: str | bytes) -> None:
        """Send a message; return when few enough bytes wait for the client."""
        if self.closed_by_client is None:
            self.waiting += _size(data)
            self.to_client.put_nowait(data)
        while self.waiting > WINDOW and self.closed_by_client is None:
            self.room.clear()
            await self.room.wait()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, which the client answers at once with one like it."""
        if self.closed_by_app is None:
            self.closed_by_app = Closed(code, reason)
            self.to_client.put_nowait(self.closed_by_app)
            self.to_app.put_nowait(self.closed_by_app)

    # The client's side.

    def taken(self, data: str | bytes) -> None:
        self.waiting -= _size(data)
        self.room.set()

    def leave(self, closed: Closed) -> None:
        """Send a close frame, or lose the connection."""
        if self.closed_by_client is None:
            self.closed_by_client = closed
            self.to_app.put_nowait(closed)
            self.room.set()


def _size(data: str | bytes) -> int:
    return len(data.encode()) if isinstance(data, str) else len(data)


async def finish(task: asyncio.Task[None], limit: float) -> None:
    """Wait until the application has returned after the client left.

    Raises:
        RuntimeError: It has not, in *limit* seconds; it was cancelled.
    """
    import asyncio

    done, _ = await asyncio.wait([task], timeout=limit)
    if not done:
        task.cancel()
        raise still_running(limit)
    raise_failure(task)


def raise_failure(task: asyncio.Task[None]) -> None:
    """Raise what the application has raised, if it did, except that the client left."""
    if task.cancelled():
        raise RuntimeError("The application's task was cancelled, but not by a server.")
    error = task.exception()
    if error is not None and not isinstance(error, ClientLeft):
        raise error


def still_running(limit: float) -> RuntimeError:
    return RuntimeError(
        f"The application was still running {limit:g} s after the client left. What it waits for should end when the"
        " client has left, or have a time limit."
    )


def status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} UNKNOWN"
