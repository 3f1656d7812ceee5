"""WSGI (PEP 3333): one call in the server's thread, in which sync code may block."""

from __future__ import annotations

import typing as t
from contextvars import copy_context

from .. import engine
from ..concurrency import IteratorTask, close_iterable, run_in_thread, step
from ..context import enter
from ..http.request import limited_stream
from ..http.response import EndsConnection, to_bytes
from ..lifecycle import StartupError
from ..sse import HEARTBEAT, EventStream

if t.TYPE_CHECKING:
    from contextvars import Context

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ..app import Carboy
    from ..http import Request
    from ..http.response import Wire
    from ..lifecycle import Lifecycle


def serve(
    app: Carboy, environ: WSGIEnvironment, start_response: StartResponse, started: bool = False
) -> t.Iterable[bytes]:
    """Serve one request; return the body.

    Args:
        started: Whether to take the application for started, whatever it says.
    """
    profile = app._profile
    if profile is None or profile.version != app._version.number:
        profile = engine.profile_of(app)
    if profile.starts_first and not started:
        return _serve_when_started(app, environ, start_response)
    if "request_context" in profile.overridden:
        ctx = app.request_context(environ)
        ctx.bind()
    else:
        ctx = enter(app, app.request_class(environ))
    if not profile.session_can_wait:
        try:
            ctx.open()
        except Exception as e:
            ctx.failure = e
    plan = engine.match(app, ctx, profile, environ.get("HTTP_HOST"), "HTTP_UPGRADE" not in environ)
    if plan.stream_body:
        ctx.request.set_input(WSGIBody(ctx.request, environ))
    try:
        return step(engine.handle(app, ctx, plan, True, _write, start_response))
    except EndsConnection:
        raise StopIteration from None


def _serve_when_started(app: Carboy, environ: WSGIEnvironment, start_response: StartResponse) -> t.Iterable[bytes]:
    """Run the serving hooks, for which WSGI has no event, and then the request."""
    try:
        app.lifecycle.ensure_started_blocking()
    except StartupError as e:
        ctx = enter(app, app.request_class(environ))
        ctx.failure = e
        return step(engine.handle(app, ctx, engine.profile_of(app).unrouted, True, _write, start_response))
    return serve(app, environ, start_response, started=True)


def _write(wire: Wire, request: Request, start_response: StartResponse) -> t.Iterable[bytes]:
    status, _, headers, body, close, _ = wire
    start_response(status, headers)
    if type(body) is list:
        return body if close is None else ClosingBody(iter(body), close)
    if hasattr(body, "__aiter__"):
        iterator = AsyncBody(body)
        return ClosingBody(iterator, iterator.closing(close))
    if request.background is not None:
        return ClosingBody(iter(body), t.cast("t.Callable[[], t.Any]", close))
    # As it is: a server may recognise its own file wrapper.
    return body  # type: ignore[no-any-return]


class ClosingBody:
    """A body with something to do when it was sent or given up."""

    def __init__(self, iterator: t.Iterator[bytes], close: t.Callable[[], t.Any]) -> None:
        self._iterator = iterator
        self.close = close

    def __iter__(self) -> t.Iterator[bytes]:
        return self._iterator


class AsyncBody:
    """An async iterable as a WSGI body, made on an event loop.

    In one task, as on a server with a loop of its own: what the body enters before
    one item it may leave after another.
    """

    def __init__(self, iterable: t.AsyncIterable[t.Any]) -> None:
        self._iterable = iterable
        self._context: Context = copy_context()
        self._task: IteratorTask | None = None
        self._heartbeat: float | None = None
        self._lifecycle: Lifecycle | None = None
        if isinstance(iterable, EventStream):
            self._heartbeat = iterable.heartbeat
            self._lifecycle = iterable.app.lifecycle

    def __iter__(self) -> AsyncBody:
        return self

    def __next__(self) -> bytes:
        if self._task is None:
            self._task = IteratorTask(self._iterable, self._context)
            if self._lifecycle is not None:
                self._lifecycle.long_lived.add(self)
        elif self._lifecycle is not None and self._lifecycle.draining:
            raise StopIteration
        try:
            return to_bytes(self._task.next(self._heartbeat, HEARTBEAT))
        except StopAsyncIteration:
            raise StopIteration from None

    def end(self) -> None:
        """End the body; called when the server stops, in any thread."""
        if self._task is not None:
            self._task.end()

    def closing(self, close: t.Callable[[], t.Any] | None) -> t.Callable[[], None]:
        """Return a function that closes the iterable, then calls *close*."""

        def close_both() -> None:
            if self._lifecycle is not None:
                self._lifecycle.long_lived.discard(self)
            try:
                if self._task is not None:
                    self._task.close()
                else:
                    # Nobody has read it.
                    close_iterable(self._iterable)
            finally:
                if close is not None:
                    close()

        return close_both


class WSGIBody:
    """The body for a view with ``stream_body=True``: read as it arrives.

    ``read`` blocks; ``async for`` reads in a worker thread.
    """

    chunk_size = 64 * 1024

    def __init__(self, request: Request, environ: WSGIEnvironment) -> None:
        self._request = request
        self._source = environ["wsgi.input"]
        self._stream: t.Any = None

    def limit_to(self, limit: int | None) -> WSGIBody:
        """Return the body, which gives at most *limit* bytes.

        Raises:
            RequestEntityTooLarge: The announced length is over the limit.
        """
        if self._stream is None:
            self._stream = limited_stream({**self._request.environ, "wsgi.input": self._source}, limit)
        return self

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.limit_to(self._request.max_content_length)._stream, name)

    def __iter__(self) -> t.Iterator[bytes]:
        return iter(self.limit_to(self._request.max_content_length)._stream)

    async def __aiter__(self) -> t.AsyncIterator[bytes]:
        while chunk := await run_in_thread(self.read, self.chunk_size):
            yield chunk

    def close(self) -> None:
        """Leave the server's stream open: it is the server's."""
