"""Views that give the items of a stream: what ``sse`` and ``jsonl`` share, and JSON Lines."""

from __future__ import annotations

import functools
import inspect
import typing as t

from .concurrency import is_async
from .context import current_app_context, has_request_context, stream_with_context
from .http import Response

if t.TYPE_CHECKING:
    from .app import Carboy

View = t.Callable[..., t.Any]


def decorates(source: t.Any) -> t.TypeGuard[View]:
    """Return whether *source* is a view rather than what it gives."""
    return callable(source) and not hasattr(source, "__iter__") and not hasattr(source, "__aiter__")


def view_of(func: View, respond: t.Callable[[t.Any], Response]) -> View:
    """Return a view that answers with what *func*, a generator function or one that returns items, gives.

    Args:
        respond: Makes the response. One that *func* returned itself is left as it is.
    """

    def answer(items: t.Any) -> t.Any:
        return items if isinstance(items, Response) else respond(items)

    view: View
    if inspect.isasyncgenfunction(func):

        async def view(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return answer(func(*args, **kwargs))
    elif is_async(func):

        async def view(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return answer(await func(*args, **kwargs))
    else:

        def view(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return answer(func(*args, **kwargs))

    return functools.update_wrapper(view, func)


def check_items(items: t.Any, name: str) -> None:
    """Refuse what is no stream of items.

    Raises:
        TypeError: *items* cannot be iterated, or is one text or mapping.
    """
    if isinstance(items, (str, bytes, dict)) or not (hasattr(items, "__iter__") or hasattr(items, "__aiter__")):
        raise TypeError(
            f"'{name}' takes a generator, an async generator or another iterable of items, but it was given"
            f" {type(items).__name__!r}."
        )


def jsonl(source: t.Any = None, *, mimetype: str = "application/jsonl", headers: t.Any = None) -> t.Any:
    """Answer with JSON Lines: each item as JSON on a line of its own, sent when it is there.

    On a view that yields the items, ``@jsonl`` under the route; elsewhere
    ``return jsonl(items)``. The request's context stays active until the end.

    Args:
        source: A sync or async iterable; each item goes through ``app.json``. Or
            the view; or nothing, for a decorator with options.
        mimetype: ``application/jsonl`` is what jsonlines.org names. Neither it nor
            ``application/x-ndjson`` is registered, and RFC 6648 advises against
            new names with ``x-``.
        headers: Further headers of the response.

    Returns:
        The response; or the view that gives it.

    Raises:
        TypeError: *source* is no iterable of items.
        RuntimeError: No application context is active.

    Example::

        @app.get("/batches.jsonl")
        @jsonl
        def batches():
            for row in db.execute("SELECT id, name FROM batch"):
                yield dict(row)
    """
    if source is None:
        return functools.partial(jsonl, mimetype=mimetype, headers=headers)
    if decorates(source):
        return view_of(source, functools.partial(jsonl, mimetype=mimetype, headers=headers))
    check_items(source, "jsonl")
    app = current_app_context().app
    lines = _async_lines(app, source) if hasattr(source, "__aiter__") else _lines(app, source)
    if has_request_context():
        lines = stream_with_context(lines)
    return app.response_class(lines, headers=headers, mimetype=mimetype)


def _line(app: Carboy, item: t.Any) -> str:
    text = app.json.dumps(item)
    # Of a provider that writes for people. Within a string a line break is always escaped (RFC 8259 section 7).
    return text.replace("\r", "").replace("\n", "") + "\n"


def _lines(app: Carboy, items: t.Iterable[t.Any]) -> t.Iterator[str]:
    try:
        for item in items:
            yield _line(app, item)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


async def _async_lines(app: Carboy, items: t.AsyncIterable[t.Any]) -> t.AsyncIterator[str]:
    try:
        async for item in items:
            yield _line(app, item)
    finally:
        aclose = getattr(items, "aclose", None)
        if aclose is not None:
            await aclose()
