"""Server-sent events: a response that goes on, for ``EventSource`` in browsers (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import functools
import re
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.exceptions import ServiceUnavailable

from . import json
from .concurrency import NO_THREAD_LEFT, IteratorThread, long_lived_threads
from .context import current_app_context, has_request_context, stream_with_context
from .streaming import check_items, decorates, view_of

if t.TYPE_CHECKING:
    from .app import Carboy
    from .http import Response

HEARTBEAT = b":\n\n"
"""A comment, which clients ignore."""

_LINE_END = re.compile("\r\n|\r|\n")


class ServerSentEvent:
    """One event of an event stream.

    Args:
        data: What the client gets: a ``str`` as it is, anything else as JSON
            through ``app.json``. With None there is no event, only the other fields.
        event: The event's type, which the client listens for; by default "message".
        id: What the client sends as ``Last-Event-ID`` when it opens the stream
            again; "" makes it forget the last one.
        retry: Milliseconds that the client waits before it opens the stream again.
        comment: Text that clients ignore.

    Raises:
        ValueError: *id* contains a line break or NUL, or *event* a line break, or
            *retry* is negative.
        TypeError: A field is of another type.
    """

    __slots__ = ("comment", "data", "event", "id", "retry")

    def __init__(
        self,
        data: t.Any = None,
        *,
        event: str | None = None,
        id: str | int | None = None,
        retry: int | None = None,
        comment: str | None = None,
    ) -> None:
        if isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("The 'data' of an event is text: decode the bytes first.")
        if type(id) is int:
            id = str(id)
        for name, value in (("event", event), ("id", id), ("comment", comment)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"The '{name}' of an event is a str, not {type(value).__name__!r}.")
        if event is not None and ("\n" in event or "\r" in event):
            raise ValueError(f"The 'event' of an event must not contain a line break: {event!r}.")
        if isinstance(id, str) and ("\n" in id or "\r" in id or "\0" in id):
            raise ValueError(f"The 'id' of an event must not contain a line break or NUL: {id!r}.")
        check_retry(retry)
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry
        self.comment = comment

    def encode(self, dumps: t.Callable[[t.Any], str] = json.dumps) -> bytes:
        """Return the event as it is sent.

        Args:
            dumps: Makes JSON of ``data``; by default as the current application does.
        """
        lines = []
        if self.comment is not None:
            lines += [f": {line}" for line in _LINE_END.split(self.comment)]
        if self.event:
            lines.append(f"event: {self.event}")
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        if self.data is not None:
            text = self.data if isinstance(self.data, str) else dumps(self.data)
            lines += [f"data: {line}" for line in _LINE_END.split(text)]
        return ("\n".join(lines) + "\n\n").encode() if lines else HEARTBEAT

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServerSentEvent):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in ("data", "event", "id", "retry", "comment"))
        return f"ServerSentEvent({', '.join(f'{name}={value!r}' for name, value in fields if value is not None)})"


def check_retry(retry: t.Any) -> None:
    """Refuse what is no number of milliseconds.

    Raises:
        TypeError: *retry* is no int.
        ValueError: It is negative.
    """
    if retry is None:
        return
    if not isinstance(retry, int) or isinstance(retry, bool):
        raise TypeError(f"'retry' is a whole number of milliseconds, not {retry!r}.")
    if retry < 0:
        raise ValueError(f"'retry' is a number of milliseconds from 0 on, not {retry!r}.")


class EventStream:
    """The body of an event stream: the events of *source*, encoded. Read once.

    Protocols send :data:`HEARTBEAT` when it has been silent for ``heartbeat``
    seconds, and end it when the server stops.
    """

    __slots__ = ("_first", "_source", "app", "heartbeat")

    def __init__(self, app: Carboy, source: t.Any, heartbeat: float | None, retry: int | None) -> None:
        self.app = app
        self.heartbeat = heartbeat
        self._source = source
        # Some servers send the headers with the first piece of the body, and only then the client is connected.
        self._first: bytes | None = HEARTBEAT if retry is None else ServerSentEvent(retry=retry).encode()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        first = self._first
        if first is not None:
            self._first = None
            return first
        item = await anext(self._source)
        if type(item) is str and item.isprintable():
            # PERF: one line of text, which has no line break.
            return f"data: {item}\n\n".encode()
        if item is None:
            return HEARTBEAT
        event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
        return event.encode(self.app.json.dumps)

    async def aclose(self) -> None:
        """Close the source."""
        aclose = getattr(self._source, "aclose", None)
        if aclose is not None:
            await aclose()

    def close(self) -> None:
        """Close the source of a stream that nobody has read."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()


def sse(
    source: t.Any = None, *, heartbeat: float | None = 15.0, retry: int | None = None, headers: t.Any = None
) -> t.Any:
    """Answer with server-sent events, each sent when it is there.

    On a view that yields the events, ``@sse`` under the route; elsewhere
    ``return sse(events)``. The request's context stays active until the end. A
    sync source has a thread of its own, of which there are
    ``CARBOY_LONG_LIVED_THREADS`` (200); an async one needs none.

    Args:
        source: A sync or async iterable. Each item is a :class:`ServerSentEvent`;
            or its data, a ``str`` or anything that ``app.json`` knows; or None, for
            a comment. Or the view; or nothing, for a decorator with options.
        heartbeat: Seconds of silence after which a comment is sent, so that neither
            side nor a proxy takes the connection for dead; None for never.
        retry: Milliseconds that the client waits before it opens the stream again.
        headers: Further headers of the response.

    Returns:
        The response; or the view that gives it.

    Raises:
        ServiceUnavailable: The source is sync, and all threads are taken.
        TypeError: *source* is no iterable of events.
        ValueError: *heartbeat* or *retry* is out of range.
        RuntimeError: No application context is active.

    Example::

        @app.get("/temperature")
        @sse
        async def temperature():
            while True:
                yield ServerSentEvent({"celsius": await measure()}, event="reading")
                await asyncio.sleep(1)
    """
    if heartbeat is not None and heartbeat <= 0:
        raise ValueError(f"'heartbeat' is a number of seconds above 0, or None for no heartbeat; not {heartbeat!r}.")
    check_retry(retry)
    options = functools.partial(sse, heartbeat=heartbeat, retry=retry, headers=headers)
    if source is None:
        return options
    if decorates(source):
        return view_of(source, options)
    check_items(source, "sse")
    return _respond(current_app_context().app, source, heartbeat, retry, headers)


def _respond(app: Carboy, source: t.Any, heartbeat: float | None, retry: int | None, headers: t.Any) -> Response:
    if hasattr(source, "__aiter__"):
        source = aiter(stream_with_context(source) if has_request_context() else source)
    else:
        threads = long_lived_threads()
        if not threads.reserve():
            raise ServiceUnavailable(NO_THREAD_LEFT, retry_after=10)
        try:
            source = IteratorThread(stream_with_context(source) if has_request_context() else source, threads)
        except BaseException:
            threads.release()
            raise
    fields = Headers(headers)
    # A stream is no use to anyone later, and a proxy that keeps it for later would hold it back.
    fields.setdefault("Cache-Control", "no-store")
    # Asks nginx, and those that imitate it, to pass each piece on at once.
    fields.setdefault("X-Accel-Buffering", "no")
    body = EventStream(app, source, heartbeat, retry)
    return app.response_class(body, headers=fields, content_type="text/event-stream")
