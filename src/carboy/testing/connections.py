"""What a test client opens and keeps open: WebSockets, event streams, the lifespan.

Each exists once, as a class to await. Its sync twin runs the same object on the loop that all sync clients share.
"""

from __future__ import annotations

import codecs
import typing as t
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from werkzeug.test import TestResponse
from werkzeug.wrappers import Request

from ..lifecycle import ShutdownError, StartupError
from .exchange import (
    ABNORMAL,
    Accepted,
    AwaitedBody,
    Closed,
    Dialogue,
    HeaderList,
    Refused,
    T,
    finish,
    raise_failure,
    run,
)
from .lint import ASGIApplication, ConformanceError, Event
from .protocols import Server, in_own_thread

if t.TYPE_CHECKING:
    import asyncio

    from ..app import Carboy

TIMEOUT = 5.0
"""Seconds that a client waits for the application, unless told otherwise."""


class WebSocketClosed(ConnectionError):
    """The WebSocket is closed, so that nothing more can be received or sent.

    Attributes:
        code: The close code (RFC 6455 section 7.4): 1005 where the close frame had none, as always from an RSGI server;
            1006 where there was no close frame.
        reason: The reason that came with it.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"The WebSocket was closed with {code}{f': {reason}' if reason else ''}.")
        self.code = code
        self.reason = reason


class WebSocketRefused(ConnectionError):
    """The application answered the handshake with an HTTP response.

    Attributes:
        response: That response. Over RSGI it has no content, and no headers of the application's.
    """

    def __init__(self, response: TestResponse) -> None:
        super().__init__(f"The WebSocket was refused: {response.status} {_shortened(response)}".rstrip())
        self.response = response


class EventStreamRefused(ConnectionError):
    """The application answered with something else than 200 and an event stream.

    Attributes:
        response: What it answered.
    """

    def __init__(self, response: TestResponse) -> None:
        super().__init__(
            f"No event stream, but {response.status} of type {response.content_type}: {_shortened(response)}"
        )
        self.response = response


def _shortened(response: TestResponse) -> str:
    text = response.get_data().decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:200]}…"


Responder = Callable[[int, HeaderList, bytes, Request], TestResponse]
"""Keeps the cookies of a response and makes an object of it."""


class _Waiting:
    """Something with a limit on how long it waits."""

    timeout: float
    request: Request

    async def within(self, coroutine: Coroutine[t.Any, t.Any, T], limit: float | None, what: str) -> T:
        import asyncio

        limit = self.timeout if limit is None else limit
        try:
            async with asyncio.timeout(limit) as timer:
                return await coroutine
        except TimeoutError:
            if not timer.expired():
                raise
            raise TimeoutError(f"{what} within {limit:g} s ({self.request.method} {self.request.path}).") from None


def _add_failure(to: BaseException, failure: BaseException) -> None:
    to.add_note(f"Besides, the application raised {type(failure).__name__}: {failure}")


# WebSocket


class AsyncWebSocketConnection(_Waiting):
    """A client's WebSocket, to be awaited. Made by :meth:`carboy.testing.AsyncClient.websocket`.

    Entering opens it; leaving closes it with 1000, unless it is closed, and waits until the application's handler has
    ended. What that raised is raised here.

    Attributes:
        timeout: Seconds that each wait may take, at most.
        headers: The headers that the application sent when it accepted.
        subprotocol: The subprotocol that it chose.
        close_code: The code that the WebSocket was closed with, None while it is open. 1006 after :meth:`abort`.
        close_reason: The reason that came with it.
    """

    subprotocol: str | None = None
    close_code: int | None = None
    close_reason: str | None = None

    def __init__(
        self,
        server: Server,
        request: Request,
        respond: Responder,
        json_module: t.Any,
        offered: list[str],
        timeout: float = TIMEOUT,
        http_response: bool = True,
    ) -> None:
        self.timeout = timeout
        self.request = request
        self.headers: t.Any = None
        self._begin = partial(server.websocket, request.environ, http_response=http_response)
        self._respond = respond
        self._json = json_module
        self._offered = offered
        self._failure: BaseException | None = None

    async def __aenter__(self) -> t.Self:
        import asyncio

        if self.headers is not None:
            raise RuntimeError("A WebSocket is opened once; call client.websocket() for another.")
        self._dialogue = Dialogue(self._offered)
        self._task = asyncio.get_running_loop().create_task(self._begin(dialogue=self._dialogue), context=Context())
        put = self._dialogue.to_client.put_nowait
        self._task.add_done_callback(lambda _: put(None))
        try:
            answer = await self.within(self._dialogue.to_client.get(), None, "The handshake was not answered")
        except BaseException:
            self.abort()
            self._task.cancel()
            raise
        if isinstance(answer, Refused):
            response = self._respond(answer.status, answer.headers, answer.body, self.request)
            await finish(self._task, self.timeout)
            raise WebSocketRefused(response)
        if not isinstance(answer, Accepted):
            raise_failure(self._task)
            raise RuntimeError(f"The application returned without an answer to the handshake of {self.request.path}.")
        self.headers = self._respond(101, answer.headers, b"", self.request).headers
        self.subprotocol = answer.subprotocol
        if self.subprotocol is not None and self.subprotocol not in self._offered:
            self.abort()
            await finish(self._task, self.timeout)
            raise ConformanceError(
                f"the application chose the subprotocol {self.subprotocol!r}, which is not among those offered:"
                f" {self._offered} (RFC 6455 4.2.2)"
            )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if self.close_code is None:
                self._leave(Closed(1000))
            await finish(self._task, self.timeout)
        except Exception as failure:
            if failure is self._failure:
                # Raised by receive(), and dealt with or on its way.
                return
            if exc is None or isinstance(exc, WebSocketClosed):
                raise
            _add_failure(exc, failure)

    async def send(self, data: str | bytes) -> None:
        """Send a message: text as a ``str``, binary data as ``bytes``.

        Raises:
            WebSocketClosed: It is closed, by either side.
        """
        if not isinstance(data, (str, bytes)):
            raise TypeError(f"A message is str or bytes, not {type(data).__name__}; send_json() takes other values.")
        closed = self._dialogue.closed_by_client or self._dialogue.closed_by_app
        if closed is not None:
            raise WebSocketClosed(closed.code, closed.reason)
        self._dialogue.to_app.put_nowait(data)

    async def send_json(self, value: t.Any) -> None:
        """Send *value* as text made by the application's JSON provider."""
        await self.send(self._json.dumps(value))

    async def receive(self, timeout: float | None = None) -> str | bytes:  # noqa: ASYNC109
        """Return the next message.

        Args:
            timeout: Seconds to wait for it; by default :attr:`timeout`.

        Raises:
            WebSocketClosed: It is closed, and every message before that was received.
            TimeoutError: None came in time.
        """
        dialogue = self._dialogue
        if self.close_code is not None and dialogue.to_client.empty():
            raise WebSocketClosed(self.close_code, self.close_reason or "")
        item = await self.within(dialogue.to_client.get(), timeout, "No message came from the WebSocket")
        if isinstance(item, (str, bytes)):
            dialogue.taken(item)
            return item
        if item is None:
            await self._look_for_failure()
            item = Closed(ABNORMAL)
        self._note(t.cast(Closed, item))
        raise WebSocketClosed(t.cast(int, self.close_code), self.close_reason or "")

    async def receive_json(self, timeout: float | None = None) -> t.Any:  # noqa: ASYNC109
        """Return the next message, parsed by the application's JSON provider."""
        return self._json.loads(await self.receive(timeout))

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except WebSocketClosed:
            raise StopAsyncIteration from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket; what the application has sent before can still be received.

        Args:
            code: Any, as a test may want to see what the application makes of it.
            reason: At most 123 bytes of UTF-8 fit into a close frame.
        """
        self._leave(Closed(code, reason))

    def abort(self) -> None:
        """Vanish without a close frame, as a client does whose connection breaks."""
        # As a server reports it to the application: uvicorn and granian both say that no code came.
        self._dialogue.leave(Closed(1005, is_lost=True))
        self._note(Closed(ABNORMAL))

    def _leave(self, closed: Closed) -> None:
        self._dialogue.leave(closed)
        self._note(self._dialogue.closed_by_app or closed)

    def _note(self, closed: Closed) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = closed.code, closed.reason

    async def _look_for_failure(self) -> None:
        try:
            await finish(self._task, self.timeout)
        except Exception as e:
            self._failure = e
            raise


class WebSocketConnection:
    """A client's WebSocket. Made by :meth:`carboy.testing.FlaskClient.websocket`.

    Entering opens it; leaving closes it with 1000, unless it is closed, and waits until the application's handler has
    ended. What that raised is raised here.

    Attributes:
        timeout: Seconds that each wait may take, at most.
    """

    def __init__(self, connection: AsyncWebSocketConnection) -> None:
        self._connection = connection

    @property
    def timeout(self) -> float:
        return self._connection.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._connection.timeout = seconds

    @property
    def headers(self) -> t.Any:
        """The headers that the application sent when it accepted."""
        return self._connection.headers

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose."""
        return self._connection.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code that the WebSocket was closed with, None while it is open. 1006 after :meth:`abort`."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it."""
        return self._connection.close_reason

    def __enter__(self) -> t.Self:
        run(self._connection.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        run(self._connection.__aexit__(exc_type, exc, tb))

    def send(self, data: str | bytes) -> None:
        """Send a message: text as a ``str``, binary data as ``bytes``.

        Raises:
            WebSocketClosed: It is closed, by either side.
        """
        run(self._connection.send(data))

    def send_json(self, value: t.Any) -> None:
        """Send *value* as text made by the application's JSON provider."""
        run(self._connection.send_json(value))

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message.

        Args:
            timeout: Seconds to wait for it; by default :attr:`timeout`.

        Raises:
            WebSocketClosed: It is closed, and every message before that was received.
            TimeoutError: None came in time.
        """
        return run(self._connection.receive(timeout))

    def receive_json(self, timeout: float | None = None) -> t.Any:
        """Return the next message, parsed by the application's JSON provider."""
        return run(self._connection.receive_json(timeout))

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> str | bytes:
        try:
            return self.receive()
        except WebSocketClosed:
            raise StopIteration from None

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the WebSocket; what the application has sent before can still be received."""
        run(self._connection.close(code, reason))

    def abort(self) -> None:
        """Vanish without a close frame, as a client does whose connection breaks."""

        async def abort() -> None:
            self._connection.abort()

        run(abort())


# Lifespan


class Lifespan(t.Protocol):
    """The start and the end of an application, as a server's process brings them about."""

    async def startup(self) -> None:
        """Start the application; raise `StartupError` if a serving hook fails."""

    async def shutdown(self) -> None:
        """Shut it down; raise `ShutdownError` if serving hooks fail."""


class ASGILifespan:
    """The lifespan by ASGI's events (lifespan 2.0)."""

    def __init__(self, app: ASGIApplication) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        import asyncio

        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answers: asyncio.Queue[Event | None] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

        async def serve() -> None:
            await self._app(scope, self._events.get, self._answers.put)

        put = self._answers.put_nowait
        self._task = asyncio.get_running_loop().create_task(serve(), context=Context())
        self._task.add_done_callback(lambda _: put(None))
        await self._say("lifespan.startup", StartupError)

    async def shutdown(self) -> None:
        await self._say("lifespan.shutdown", ShutdownError)
        task = t.cast("asyncio.Task[None]", self._task)
        await task

    async def _say(self, kind: str, error: type[Exception]) -> None:
        task = t.cast("asyncio.Task[None]", self._task)
        self._events.put_nowait({"type": kind})
        try:
            answer = await self._answers.get()
        except BaseException:
            task.cancel()
            raise
        if answer is None:
            raise_failure(task)
            raise RuntimeError(f"The application returned without an answer to {kind}.")
        if answer["type"] == f"{kind}.failed":
            await task
            raise error(answer.get("message") or f"The application answered {kind} with failure.")


class RSGILifespan:
    """The lifespan by RSGI's two functions, which are called when no event loop runs yet or any more."""

    def __init__(self, app: t.Any) -> None:
        self._app = app

    async def startup(self) -> None:
        await self._call("__rsgi_init__")

    async def shutdown(self) -> None:
        await self._call("__rsgi_del__")

    async def _call(self, name: str) -> None:
        loop = _LoopAtRest()
        getattr(self._app, name, lambda loop: None)(loop)
        for work in loop.work:
            await work


class _LoopAtRest:
    """Stands for the server's loop, at rest; keeps what it is to run."""

    def __init__(self) -> None:
        self.work: list[t.Awaitable[t.Any]] = []

    def is_running(self) -> bool:
        return False

    def run_until_complete(self, work: t.Awaitable[t.Any]) -> None:
        self.work.append(work)


class WSGILifespan:
    """The lifespan that carboy brings about itself, as WSGI has none: at first use, and when the process ends."""

    def __init__(self, app: Carboy) -> None:
        self._lifecycle = app.lifecycle

    async def startup(self) -> None:
        await in_own_thread(self._lifecycle.startup_blocking)

    async def shutdown(self) -> None:
        await in_own_thread(self._lifecycle.shutdown_blocking)


@asynccontextmanager
async def during(lifespan: Lifespan, limit: float) -> AsyncIterator[None]:
    """Start the application, run the block, shut the application down.

    Raises:
        TimeoutError: One of them takes longer than *limit* seconds.
    """
    await _in_time(lifespan.startup(), limit, "start")
    try:
        yield
    except BaseException as e:
        try:
            await _in_time(lifespan.shutdown(), limit, "shut down")
        except Exception as failure:
            _add_failure(e, failure)
        raise
    await _in_time(lifespan.shutdown(), limit, "shut down")


async def _in_time(coroutine: Coroutine[t.Any, t.Any, None], limit: float, what: str) -> None:
    import asyncio

    try:
        async with asyncio.timeout(limit) as timer:
            await coroutine
    except TimeoutError:
        if not timer.expired():
            raise
        raise TimeoutError(f"The application did not {what} within {limit:g} s.") from None


# Server-sent events


@dataclass(frozen=True)
class ReceivedEvent:
    """An event as a browser's ``EventSource`` would dispatch it (WHATWG HTML, 9.2.6).

    Attributes:
        data: Its data: lines joined by line feeds.
        event: Its type.
        id: The last event ID when it came, which is its own or that of an event before it.
        retry: The reconnection time that stood in it, in milliseconds, if any.
    """

    data: str = ""
    event: str = "message"
    id: str = ""
    retry: int | None = None

    def json(self) -> t.Any:
        """Return the data, parsed as JSON."""
        import json

        return json.loads(self.data)


class EventParser:
    """Makes events of the bytes of an event stream (WHATWG HTML, 9.2.6).

    Attributes:
        comments: All comments so far, without the colon and the space after it.
        last_event_id: What a client that reconnects would send as ``Last-Event-ID``.
        retry: The reconnection time in milliseconds, as last said by the stream.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.comments: list[str] = []
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._is_first = True
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._event = ReceivedEvent()

    def feed(self, data: bytes) -> list[ReceivedEvent]:
        """Return the events that *data* completes."""
        self._text += self._decoder.decode(data)
        if self._is_first and self._text:
            self._is_first = False
            self._text = self._text.removeprefix("\ufeff")
        # A carriage return at the end may be half of a line's end.
        held = "\r" if self._text.endswith("\r") else ""
        *lines, rest = self._text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._text = rest + held
        return [event for line in lines if (event := self._take(line)) is not None]

    def _take(self, line: str) -> ReceivedEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments.append(value)
        elif name == "data":
            self._lines.append(value)
        elif name == "event":
            self._event = replace(self._event, event=value)
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)
            self._event = replace(self._event, retry=self.retry)
        return None

    def _dispatch(self) -> ReceivedEvent | None:
        event, lines = self._event, self._lines
        self._begin()
        if not lines:
            return None
        return replace(event, data="\n".join(lines), event=event.event or "message", id=self.last_event_id)


class AsyncEventStream(_Waiting):
    """A client's event stream, to be awaited. Made by :meth:`carboy.testing.AsyncClient.events`.

    Entering makes the request; leaving closes the connection and waits until the application has noticed. What it
    raised is raised here.

    Attributes:
        timeout: Seconds that each wait may take, at most.
        response: Status and headers of the response. Its body is what the events are made of.
    """

    response: TestResponse

    def __init__(
        self, server: Server, request: Request, respond: Responder, last_event_id: str, timeout: float = TIMEOUT
    ) -> None:
        self.timeout = timeout
        self.request = request
        self._begin = partial(server.http, request.environ)
        self._respond = respond
        self._parser = EventParser(last_event_id)
        self._events: list[ReceivedEvent] = []
        self._failure: BaseException | None = None

    @property
    def comments(self) -> list[str]:
        """The comments that came so far: heartbeats, mostly."""
        return self._parser.comments

    @property
    def last_event_id(self) -> str:
        """What a client that reconnects would send as ``Last-Event-ID``."""
        return self._parser.last_event_id

    @property
    def retry(self) -> int | None:
        """The reconnection time in milliseconds, as last said by the stream."""
        return self._parser.retry

    async def __aenter__(self) -> t.Self:
        self._body = body = AwaitedBody(self._begin, self.request.environ)
        try:
            status, headers = await self.within(body.head(), None, "No response came")
            media_type = next((value for name, value in headers if name.lower() == "content-type"), "")
            if status == 200 and media_type.partition(";")[0].strip().lower() == "text/event-stream":
                self.response = self._respond(status, headers, b"", self.request)
                return self
            content = await self.within(_joined(body), None, "The body of the response did not end")
        except BaseException:
            body.abandon()
            raise
        raise EventStreamRefused(self._respond(status, headers, content, self.request))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stop(exc)

    async def _stop(self, exc: BaseException | None) -> None:
        try:
            await self._body.aclose(self.timeout)
        except Exception as failure:
            if exc is None:
                raise
            _add_failure(exc, failure)

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> ReceivedEvent:
        while not self._events:
            part = await self.within(_next(self._body), None, "No event came")
            if part is None:
                raise StopAsyncIteration
            self._events = self._parser.feed(part)
        return self._events.pop(0)


async def _joined(body: AwaitedBody) -> bytes:
    return b"".join([part async for part in body])


async def _next(body: AwaitedBody) -> bytes | None:
    return await anext(body, None)


class EventStream:
    """A client's event stream. Made by :meth:`carboy.testing.FlaskClient.events`.

    Entering makes the request; leaving closes the connection and waits until the application has noticed. What it
    raised is raised here.

    Attributes:
        timeout: Seconds that each wait may take, at most.
    """

    def __init__(self, stream: AsyncEventStream) -> None:
        self._stream = stream

    @property
    def timeout(self) -> float:
        return self._stream.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._stream.timeout = seconds

    @property
    def response(self) -> TestResponse:
        """Status and headers of the response. Its body is what the events are made of."""
        return self._stream.response

    @property
    def comments(self) -> list[str]:
        """The comments that came so far: heartbeats, mostly."""
        return self._stream.comments

    @property
    def last_event_id(self) -> str:
        """What a client that reconnects would send as ``Last-Event-ID``."""
        return self._stream.last_event_id

    @property
    def retry(self) -> int | None:
        """The reconnection time in milliseconds, as last said by the stream."""
        return self._stream.retry

    def __enter__(self) -> t.Self:
        run(self._stream.__aenter__())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        run(self._stream.__aexit__(exc_type, exc, tb))

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> ReceivedEvent:
        event = run(_next_event(self._stream))
        if event is None:
            raise StopIteration
        return event


async def _next_event(stream: AsyncEventStream) -> ReceivedEvent | None:
    return await anext(stream, None)
