"""JSON as the current application writes and reads it.

Inside an application context these functions go through ``app.json``, the application's provider; outside they fall
back to the standard library with the same extra types.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any, AnyStr

from ..context import _cv_app, current_app_context
from .provider import _default

if TYPE_CHECKING:
    from ..http.response import Response

__all__ = ["dump", "dumps", "jsonify", "load", "loads"]


def dumps(obj: Any, **kwargs: Any) -> str:
    """Serialize *obj* to JSON text.

    Args:
        kwargs: Options of the provider's ``dumps``; those of `json.dumps` unless the provider was replaced.

    Raises:
        TypeError: *obj* holds a type that JSON, and the provider, do not know.
    """
    if (ctx := _cv_app.get(None)) is not None:
        text: str = ctx.app.json.dumps(obj, **kwargs)
        return text

    kwargs.setdefault("default", _default)
    return json.dumps(obj, **kwargs)


def dump(obj: Any, fp: IO[str], **kwargs: Any) -> None:
    """Serialize *obj* as JSON into the text file *fp*, which should write UTF-8. Otherwise like `dumps`."""
    if (ctx := _cv_app.get(None)) is not None:
        ctx.app.json.dump(obj, fp, **kwargs)
        return

    kwargs.setdefault("default", _default)
    json.dump(obj, fp, **kwargs)


def loads(s: str | bytes, **kwargs: Any) -> Any:
    """Return the value that the JSON text, or UTF-8 bytes, *s* stands for.

    Args:
        kwargs: Options of the provider's ``loads``; those of `json.loads` unless the provider was replaced.

    Raises:
        ValueError: *s* is not valid JSON.
    """
    if (ctx := _cv_app.get(None)) is not None:
        return ctx.app.json.loads(s, **kwargs)

    return json.loads(s, **kwargs)


def load(fp: IO[AnyStr], **kwargs: Any) -> Any:
    """Return the value read as JSON from *fp*, a file of text or of UTF-8 bytes. Otherwise like `loads`."""
    if (ctx := _cv_app.get(None)) is not None:
        return ctx.app.json.load(fp, **kwargs)

    return json.load(fp, **kwargs)


def jsonify(*args: Any, **kwargs: Any) -> Response:
    """Return a response with the arguments as its JSON body.

    ``jsonify(value)`` sends the value, ``jsonify(a, b)`` a list, ``jsonify(key=value)`` an object, ``jsonify()`` null.
    A dict or list that a view returns becomes JSON without this call.

    Raises:
        TypeError: both positional and keyword arguments were given, or a value is not serializable.
        RuntimeError: no application context is active.
    """
    response: Response = current_app_context().app.json.response(*args, **kwargs)
    return response
