"""WSGI (PEP 3333): one call in the server's thread, in which sync code may block."""

from __future__ import annotations

import typing as t
from contextvars import copy_context

from .. import engine
from ..concurrency import run_blocking, run_in_thread, step
from ..context import RequestContext
from ..http.request import limited_stream
from ..lifecycle import StartupError

if t.TYPE_CHECKING:
    from contextvars import Context

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from ..app import Carboy
    from ..http import Request, Response


def serve(
    app: Carboy, environ: WSGIEnvironment, start_response: StartResponse, started: bool = False
) -> t.Iterable[bytes]:
    """Serve one request; return the body.

    Args:
        started: Whether to take the application for started, whatever it says.
    """
    profile = engine.profile_of(app)
    if profile.starts_first and not started:
        return _serve_when_started(app, environ, start_response)
    if "request_context" in profile.overridden:
        ctx = app.request_context(environ)
    else:
        ctx = RequestContext(app, environ)
    plan, failure = engine.begin(app, ctx, profile, environ.get("HTTP_HOST"), "HTTP_UPGRADE" not in environ)
    if plan.stream_body:
        ctx.request.set_input(WSGIBody(ctx.request, environ))
    return step(engine.handle(app, ctx, plan, True, _write, start_response, failure))


def _serve_when_started(app: Carboy, environ: WSGIEnvironment, start_response: StartResponse) -> t.Iterable[bytes]:
    """Run the serving hooks, for which WSGI has no event, and then the request."""
    try:
        app.lifecycle.ensure_started_blocking()
    except StartupError as e:
        ctx = RequestContext(app, environ)
        ctx.bind()
        return step(engine.handle(app, ctx, engine.profile_of(app).unrouted, True, _write, start_response, e))
    return serve(app, environ, start_response, started=True)


def _write(response: Response, request: Request, start_response: StartResponse) -> t.Iterable[bytes]:
    background = request.background
    wire = response.wire(request)
    status, _, headers, body, close = wire if background is None else background.after_sending(wire)
    start_response(status, headers)
    if type(body) is list:
        return body if close is None else ClosingBody(iter(body), close)
    if hasattr(body, "__aiter__"):
        iterator = AsyncBody(body)
        return ClosingBody(iterator, iterator.closing(close))
    if background is not None:
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
    """An async iterable read by sync code: each item on the process's loop.

    All items are made in one copy of the context, so that what the generator set
    before one it finds again before the next.
    """

    def __init__(self, iterable: t.AsyncIterable[t.Any]) -> None:
        self._iterator = aiter(iterable)
        self._context: Context = copy_context()

    def __iter__(self) -> AsyncBody:
        return self

    def __next__(self) -> bytes:
        try:
            item = run_blocking(self._next(), self._context)
        except StopAsyncIteration:
            raise StopIteration from None
        return item.encode() if isinstance(item, str) else item

    async def _next(self) -> t.Any:
        return await anext(self._iterator)

    def closing(self, close: t.Callable[[], t.Any] | None) -> t.Callable[[], None]:
        """Return a function that closes the iterator, then calls *close*."""

        def close_both() -> None:
            aclose = getattr(self._iterator, "aclose", None)
            try:
                if aclose is not None:
                    run_blocking(_await(aclose()), self._context)
            finally:
                if close is not None:
                    close()

        return close_both


async def _await(awaitable: t.Awaitable[t.Any]) -> None:
    await awaitable


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
