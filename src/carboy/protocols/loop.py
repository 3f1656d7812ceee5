"""What ASGI and RSGI share: serving a request on a server's event loop.

A plan with async functions runs right here, in the server's own task. Any other
plan runs as a whole in one worker thread.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import io
import tempfile
import typing as t
from contextvars import Context, copy_context

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, ServiceUnavailable

from .. import engine
from ..concurrency import NO_THREAD_LEFT, keep, long_lived_threads, run_in_context, run_in_thread, step
from ..context import RequestContext, enter
from ..http import departure
from ..http.form import MAX_FORM_IN_MEMORY
from ..http.response import Wire, to_bytes, wire_from_wsgi
from ..lifecycle import StartupError
from ..sse import HEARTBEAT, EventStream

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..http import Request
    from ..http.websocket import Connection, WebSocket
    from ..plan import Plan, Profile

MEMORY_LIMIT = MAX_FORM_IN_MEMORY
"""Bytes of a body that are kept in memory; what is larger goes to a temporary file, as do the files of its form."""


def _made_in(wire: Wire, request: Request, context: Context) -> Wire:
    return (*wire[:5], context)


def answer(
    app: Carboy,
    request: Request,
    host: str | None,
    plain: bool,
    chunks: t.AsyncIterator[bytes] | None,
    length: int | None,
    started: bool = False,
) -> t.Awaitable[Wire]:
    """Run *request*; await the result to have what to send.

    Args:
        host: The value of the ``Host`` header.
        plain: Whether this is no upgrade to WebSocket.
        chunks: Receives the body, or raises ``ClientDisconnected``; None if there
            is no body.
        length: The announced length of the body, in bytes.
        started: Whether to take the application for started, whatever it says.
    """
    profile = app._profile
    if profile is None or profile.version != app._version.number:
        profile = engine.profile_of(app)
    if profile.begins_plainly:
        ctx = enter(app, request)
    else:
        if profile.starts_first and not started:
            return _answer_when_started(app, request, host, plain, chunks, length)
        overridden = profile.overridden
        if "wsgi_app" in overridden or "__call__" in overridden:
            return _answer_through_wsgi(app, request, chunks, length)
        if "request_context" in overridden:
            ctx = app.request_context(request.environ)
            ctx.bind()
        else:
            ctx = enter(app, request)
        if not profile.session_can_wait:
            return _answer_with_session(app, ctx, profile, host, plain, chunks, length)
    plan = engine.match(app, ctx, profile, host, plain)
    if chunks is not None or plan.stream_body:
        return _answer_with_body(app, ctx, plan, chunks, length)
    if plan.on_loop:
        return engine.handle(app, ctx, plan, False)
    return _run(app, ctx, plan)


async def _answer_when_started(
    app: Carboy,
    request: Request,
    host: str | None,
    plain: bool,
    chunks: t.AsyncIterator[bytes] | None,
    length: int | None,
) -> Wire:
    """Run the serving hooks, for which the server had no event, and then the request."""
    try:
        await app.lifecycle.ensure_started()
    except StartupError as e:
        ctx = enter(app, request)
        ctx.failure = e
        return await _run(app, ctx, engine.profile_of(app).unrouted)
    return await answer(app, request, host, plain, chunks, length, started=True)


def _run(app: Carboy, ctx: RequestContext, plan: Plan) -> t.Awaitable[Wire]:
    if plan.on_loop:
        return engine.handle(app, ctx, plan, False)
    context = ctx.unbind_copy()
    answer = run_in_context(context, step, engine.handle(app, ctx, plan, True, _made_in, context))
    return answer if plan.timeout is None else _answer_in_time(app, ctx, plan, plan.timeout, answer)


async def _answer_in_time(
    app: Carboy, ctx: RequestContext, plan: Plan, seconds: float, answer: asyncio.Future[Wire]
) -> Wire:
    """Wait for a plan that runs in a thread; answer in its place when the time is over.

    A thread cannot be stopped: it goes on to its end, with its own context and its
    teardown functions, and what it answers is dropped.
    """
    try:
        await asyncio.wait((answer,), timeout=seconds)
    finally:
        if not answer.done():
            answer.add_done_callback(_drop)
    if answer.done():
        return answer.result()
    request = copy.copy(ctx.request)
    # The body, the files and the background tasks are the thread's.
    request._input, request.form_is_parsed, request.background = None, False, None
    late = enter(app, request)
    late.failure = engine.Overdue(seconds)
    wire: Wire = await engine.handle(app, late, plan, False)
    return wire


def _drop(answer: asyncio.Future[Wire]) -> None:
    """Free what the answer of an overdue thread holds; its errors were logged where they happened."""
    if answer.cancelled() or answer.exception() is not None:
        return
    _, _, _, body, close, context = answer.result()
    if close is not None or hasattr(body, "aclose"):
        keep(answer.get_loop().create_task(close_body(body, close, context)))


async def _answer_with_session(
    app: Carboy,
    ctx: RequestContext,
    profile: Profile,
    host: str | None,
    plain: bool,
    chunks: t.AsyncIterator[bytes] | None,
    length: int | None,
) -> Wire:
    """Open the session of a user's own interface, which may block, before the URL is matched."""
    try:
        await run_in_thread(ctx.open)
    except Exception as e:
        ctx.failure = e
    plan = engine.match(app, ctx, profile, host, plain)
    return await _answer_with_body(app, ctx, plan, chunks, length)


async def _answer_with_body(
    app: Carboy,
    ctx: RequestContext,
    plan: Plan,
    chunks: t.AsyncIterator[bytes] | None,
    length: int | None,
) -> Wire:
    """Receive the body, or let the view receive it, and run the plan."""
    request = ctx.request
    if plan.stream_body:
        request.reads_body = True
        request.set_input(LoopBody(request, chunks, length))
    elif chunks is not None and request.routing_exception is None and ctx.failure is None:
        try:
            request.set_input(await receive(chunks, length, app.config["MAX_CONTENT_LENGTH"]))
        except ClientDisconnected as e:
            # The view is not called, but what was set up is torn down.
            request.routing_exception = e
            plan = dataclasses.replace(plan, only_calls_view=False)
    return await _run(app, ctx, plan)


async def _answer_through_wsgi(
    app: Carboy, request: Request, chunks: t.AsyncIterator[bytes] | None, length: int | None
) -> Wire:
    """Send the request through the WSGI entry, which middleware was put around."""
    if chunks is not None:
        try:
            request.set_input(await receive(chunks, length, app.config["MAX_CONTENT_LENGTH"]))
        except ClientDisconnected as e:
            return wire_from_wsgi(e, request.environ)
    environ = request.environ
    environ.pop("werkzeug.request", None)
    context = copy_context()
    return _made_in(await run_in_context(context, wire_from_wsgi, app, environ), request, context)


# -- The WebSocket -------------------------------------------------------------------


async def converse(app: Carboy, websocket: WebSocket, host: str | None, connection: Connection) -> None:
    """Run *websocket* until its handler has ended.

    Args:
        host: The value of the ``Host`` header.
        connection: Sends and receives.
    """
    websocket.connect(app, connection)
    failure: Exception | None = None
    if engine.profile_of(app).starts_first:
        try:
            await app.lifecycle.ensure_started()
        except StartupError as e:
            failure = e
    profile = engine.profile_of(app)
    ctx = enter(app, websocket)
    ctx.failure = failure
    if not profile.session_can_wait and failure is None:
        try:
            await run_in_thread(ctx.open)
        except Exception as e:
            ctx.failure = e
    plan = engine.match(app, ctx, profile, host, plain=False)
    on_loop = plan.on_loop
    lifecycle = app.lifecycle
    if lifecycle.draining:
        websocket.routing_exception = ServiceUnavailable("The server is stopping.", retry_after=1)
        on_loop = True
    elif not on_loop and not long_lived_threads().reserve():
        websocket.routing_exception = ServiceUnavailable(NO_THREAD_LEFT, retry_after=10)
        on_loop = True
    lifecycle.long_lived.add(websocket)
    try:
        if on_loop:
            response = await engine.converse(app, ctx, plan, False)
        else:
            context = ctx.unbind_copy()
            response = await long_lived_threads().run(context, step, engine.converse(app, ctx, plan, True))
    finally:
        lifecycle.long_lived.discard(websocket)
        websocket.release()
    if response is None:
        await websocket.shut()
    else:
        _, status, headers, body, close, _ = response
        await websocket.refuse(status, headers, b"".join(body))
        await run_close(close, None)


# -- The request's body --------------------------------------------------------------


async def receive(chunks: t.AsyncIterator[bytes], length: int | None, limit: int | None) -> t.Any:
    """Receive the whole body: in memory, or in a file if it is large.

    Bytes are counted as they arrive, whatever was announced. Of a body over
    *limit* no more is received than it takes to know.
    """
    if length is not None and limit is not None and length > limit:
        return TruncatedBody(b"")
    if length is not None and length <= MEMORY_LIMIT and hasattr(chunks, "whole"):
        return io.BytesIO(await chunks.whole())
    parts: list[bytes] = []
    size = waiting = 0
    file: t.IO[bytes] | None = None
    try:
        async for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            waiting += len(chunk)
            if limit is not None and size > limit:
                if file is not None:
                    file.close()
                return TruncatedBody(b"".join(parts) if file is None else b"")
            if waiting > MEMORY_LIMIT:
                if file is None:
                    file = await run_in_thread(tempfile.TemporaryFile)
                await run_in_thread(file.writelines, parts)
                parts.clear()
                waiting = 0
        if file is None:
            return io.BytesIO(b"".join(parts))
        await run_in_thread(file.writelines, parts)
        file.seek(0)
        return file
    except BaseException:
        if file is not None:
            file.close()
        raise


class TruncatedBody(io.RawIOBase):
    """A body over the limit: reading to its end is an error, not a shorter body."""

    def __init__(self, start: bytes) -> None:
        self._start = io.BytesIO(start)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._start.read(size)
        if (not data and size != 0) or size is None or size < 0:
            raise RequestEntityTooLarge()
        return data

    def readinto(self, buffer: t.Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class LoopBody(io.RawIOBase):
    """The body for a view with ``stream_body=True``: received as it is read.

    ``async for chunk in request.stream`` in an async view; blocking ``read(n)`` in
    a sync one, which runs in a worker thread. Nothing is received ahead, so a slow
    view slows the client.
    """

    def __init__(self, request: Request, chunks: t.AsyncIterator[bytes] | None, length: int | None) -> None:
        self._request = request
        self._chunks = chunks
        self._length = length
        self._loop = asyncio.get_running_loop()
        self._waiting = b""
        self._received = 0
        self._limit: int | None = None

    def limit_to(self, limit: int | None) -> LoopBody:
        """Return the body, which gives at most *limit* bytes.

        Raises:
            RequestEntityTooLarge: The announced length is over the limit.
        """
        if limit is not None and self._length is not None and self._length > limit:
            raise RequestEntityTooLarge()
        self._limit = limit
        return self

    async def ended(self) -> None:
        """Wait until nobody will receive any more of the body, where the client's leaving comes the same way."""
        ended = getattr(self._chunks, "ended", None)
        if ended is not None:
            await ended()

    @property
    def client_left(self) -> bool:
        """Whether the client left before the body had come to its end."""
        return getattr(self._chunks, "client_left", False)

    async def _next(self) -> bytes:
        """Return the next bytes, empty at the end."""
        if self._waiting:
            chunk, self._waiting = self._waiting, b""
            return chunk
        if self._chunks is None:
            return b""
        async for chunk in self._chunks:
            self._received += len(chunk)
            if self._limit is not None and self._received > self._limit:
                raise RequestEntityTooLarge()
            if chunk:
                return chunk
        return b""

    def __aiter__(self) -> LoopBody:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def readable(self) -> bool:
        return True

    def _next_blocking(self) -> bytes:
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise RuntimeError(
                "request.stream was read with a blocking call on the event loop, which has to receive the body"
                f" (endpoint {self._request.endpoint!r}). Use 'async for chunk in request.stream' in an async view."
            )
        return asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()

    def read(self, size: int | None = -1) -> bytes:
        if size == 0:
            return b""
        if size is None or size < 0:
            parts = []
            while chunk := self._next_blocking():
                parts.append(chunk)
            return b"".join(parts)
        parts = []
        while size and (chunk := self._next_blocking()):
            parts.append(chunk[:size])
            size, self._waiting = size - len(parts[-1]), chunk[size:]
        return b"".join(parts)

    def readinto(self, buffer: t.Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


# -- The response's body -------------------------------------------------------------


Send = t.Callable[[bytes], t.Awaitable[t.Any]]


async def stream(
    request: Request,
    body: t.Any,
    close: t.Callable[[], t.Any] | None,
    context: Context | None,
    send: Send,
    gone: type[Exception],
) -> bool:
    """Make the body piece by piece and send each, as fast as the client takes them.

    Args:
        close: To be called at the end, whatever happens.
        context: The copy of the context variables that sync code runs in.
        send: Sends one piece, and waits while the client is slow.
        gone: What *send* raises when the client has left.

    Returns:
        Whether the body came to its end; else the client left.
    """
    if context is None:
        # One for all pieces: what the generator sets before one it finds again before the next.
        context = copy_context()
    sending = _EventSending(send, gone, body) if isinstance(body, EventStream) else _Sending(send, gone)
    watch = departure.watch(request)
    watch.add_done_callback(sending.client_left)
    try:
        try:
            await _send_all(body, context, sending.send)
        finally:
            watch.remove_done_callback(sending.client_left)
            sending.stop()
    except asyncio.CancelledError:
        sending.take_back()
    except _Over:
        pass
    finally:
        await sending.settle()
        await close_body(body, close, context)
    return not sending.left


_TURN = 0.001
"""Seconds for which a body may be made and sent before others get their turn."""


async def _send_all(body: t.Any, context: Context | None, send: t.Callable[[bytes], t.Awaitable[None]]) -> None:
    if hasattr(body, "__aiter__"):
        now = asyncio.get_running_loop().time
        turn_ends = now() + _TURN
        async for piece in body:
            data = piece if type(piece) is bytes else to_bytes(piece)
            if data:
                await send(data)
            # A generator that never waits would let nobody else run.
            if now() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = now() + _TURN
    else:
        iterator = await in_thread(context, iter, body)
        while (piece := await in_thread(context, _next_or_none, iterator)) is not None:
            if data := to_bytes(piece):
                await send(data)


class _Over(Exception):
    """The body has ended before its generator did."""


class _Sending:
    """What may end a body early: the client that leaves.

    It cancels the task that makes the body; that is what ends then, not the task.
    """

    __slots__ = ("_cancelled", "_gone", "_is_over", "_send", "_task", "left")

    def __init__(self, send: Send, gone: type[Exception]) -> None:
        self._send = send
        self._gone = gone
        self._task = t.cast("asyncio.Task[t.Any]", asyncio.current_task())
        self._cancelled = 0
        self._is_over = False
        self.left = False

    def client_left(self, watch: asyncio.Task[None]) -> None:
        # Possibly called when the body has ended: the event loop had taken the call on before.
        if not watch.cancelled() and not self._is_over:
            self.left = True
            self._cancel()

    def _cancel(self) -> None:
        self._cancelled += 1
        self._task.cancel()

    async def send(self, piece: bytes) -> None:
        try:
            await self._send(piece)
        except self._gone:
            self.left = True
            raise _Over from None

    def stop(self) -> None:
        """Do nothing any more of its own accord."""
        self._is_over = True

    def take_back(self) -> None:
        """Undo the cancellation that has just arrived, or raise it again if somebody else wants it."""
        own, self._cancelled = self._cancelled, 0
        for _ in range(own):
            self._task.uncancel()
        if not own or self._task.cancelling():
            raise asyncio.CancelledError

    async def settle(self) -> None:
        """Let a cancellation arrive that came when the body had ended."""
        if self._cancelled:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.take_back()
            for _ in range(self._cancelled):
                self._task.uncancel()


class _EventSending(_Sending):
    """An event stream on its way: sends comments while it is silent, ends it when the server stops."""

    __slots__ = ("_app", "_beat", "_interval", "_is_ended", "_is_sending", "_loop", "_sent", "_timer")

    def __init__(self, send: Send, gone: type[Exception], events: EventStream) -> None:
        super().__init__(send, gone)
        self._app = events.app
        self._loop = asyncio.get_running_loop()
        self._interval = events.heartbeat
        self._sent = self._loop.time()
        self._is_sending = False
        self._beat: asyncio.Future[t.Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if self._interval is not None:
            self._timer = self._loop.call_later(self._interval, self._tick)
        lifecycle = self._app.lifecycle
        # While the server stops, a client is answered nothing but the start of a stream: then it tries elsewhere.
        self._is_ended = lifecycle.draining
        lifecycle.long_lived.add(self)

    async def send(self, piece: bytes) -> None:
        self._is_sending = True
        if self._beat is not None:
            await asyncio.wait((self._beat,))
        try:
            await self._send(piece)
        except self._gone:
            self.left = True
            raise _Over from None
        self._is_sending = False
        self._sent = self._loop.time()
        if self._is_ended:
            raise _Over

    def _tick(self) -> None:
        interval = t.cast(float, self._interval)
        due = self._sent + interval
        now = self._loop.time()
        if now >= due:
            due = now + interval
            if not self._is_sending and self._beat is None:
                self._sent = now
                # Not in the stream's own task: that waits for its next event.
                self._beat = asyncio.ensure_future(self._send(HEARTBEAT))
                self._beat.add_done_callback(self._has_beaten)
        self._timer = self._loop.call_at(due, self._tick)

    def _has_beaten(self, beat: asyncio.Future[t.Any]) -> None:
        self._beat = None
        if not beat.cancelled() and beat.exception() is not None and not self._is_over:
            self.left = True
            self._cancel()

    def end(self) -> None:
        """End the stream; called when the server stops."""
        if not self._is_ended and not self._is_over:
            self._is_ended = True
            if not self._is_sending:
                self._cancel()

    def stop(self) -> None:
        super().stop()
        self._app.lifecycle.long_lived.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()


def _next_or_none(iterator: t.Iterator[bytes]) -> bytes | None:
    for piece in iterator:
        return piece
    return None


async def in_thread(context: Context | None, func: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Run a sync part of making a body; not left behind when cancelled."""
    # Not "or": a context without variables is false.
    context = copy_context() if context is None else context
    future = asyncio.ensure_future(run_in_context(context, func, *args))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # The body's generator must not be closed while it runs.
        if not future.done():
            await asyncio.wait([future])
        raise


async def close_body(body: t.Any, close: t.Callable[[], t.Any] | None, context: Context | None) -> None:
    """Close a body that is not made to its end, or that was, and run *close*."""
    try:
        if hasattr(body, "aclose"):
            await body.aclose()
    finally:
        await run_close(close, context)


async def run_close(close: t.Callable[[], t.Any] | None, context: Context | None) -> None:
    """Run what was to be done when the body was sent or given up."""
    if close is not None:
        await in_thread(context, close)
