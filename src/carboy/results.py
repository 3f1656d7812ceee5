"""Make a response of what a view, hook or error handler returned."""

from __future__ import annotations

import inspect
import typing as t
from collections.abc import Iterator

from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from .concurrency import is_on_loop, run_blocking
from .context import _cv_request
from .http import Response
from .http.response import OK, type_header

if t.TYPE_CHECKING:
    from .app import Carboy
    from .http import Request
    from .http.response import Wire
    from .plan import Profile

_CALL = HTTPException.__call__


def to_wire(app: Carboy, profile: Profile, value: t.Any, request: Request) -> Wire:
    """Return what is sent of *value*, where nobody can see the response before.

    PERF: for text and JSON no response is made; what is sent is what a response
    would send.

    Raises:
        TypeError: See `to_response`.
    """
    kind = type(value)
    if kind is str and profile.sends_text is not None:
        header = profile.sends_text
        body = value.encode()
    elif (kind is dict or kind is list) and profile.sends_json:
        provider: t.Any = app.json
        header = type_header(provider.mimetype)
        body = provider.text_of(value).encode()
    else:
        return to_response(app, value).wire(request)
    headers = [header, ("Content-Length", str(len(body)))]
    return OK, 200, headers, [] if request.method == "HEAD" else [body], None, None


def to_response(app: Carboy, value: t.Any) -> Response:
    """Return *value* as a response of ``app.response_class``.

    A view may return a ``str`` or ``bytes``, a ``dict`` or ``list`` (sent as
    JSON), a sync or async iterator (streamed), a response, another WSGI
    application, or a tuple of one of these with a status, headers or both.

    Raises:
        TypeError: It is none of these.
    """
    cls = app.response_class
    kind = type(value)
    if kind is str or kind is bytes:
        return cls(value)
    if kind is dict or kind is list:
        response: Response = app.json.response(value)
        return response
    if kind is cls:
        return value  # type: ignore[no-any-return]
    status: t.Any = None
    headers: t.Any = None
    if isinstance(value, tuple):
        value, status, headers = _split(value)
    if value is None:
        raise TypeError(
            f"The view function{_for_endpoint()} did not return a valid response. The function either returned None or"
            f" ended without a return statement.{_location(app)}"
        )
    if not isinstance(value, cls):
        if isinstance(value, (str, bytes, bytearray, Iterator)) or hasattr(value, "__aiter__"):
            value = cls(value, status=status, headers=headers)
            status = headers = None
        elif isinstance(value, (dict, list)):
            value = app.json.response(value)
        else:
            value = _foreign(app, value)
    if status is not None:
        if isinstance(status, (str, bytes, bytearray)):
            value.status = status
        else:
            value.status_code = status
    if headers:
        value.headers.update(headers)
    return value  # type: ignore[no-any-return]


def _split(value: tuple[t.Any, ...]) -> tuple[t.Any, t.Any, t.Any]:
    if len(value) == 3:
        return value
    if len(value) == 2:
        body, second = value
        return (body, None, second) if isinstance(second, (Headers, dict, tuple, list)) else (body, second, None)
    raise TypeError(
        f"The view function{_for_endpoint()} did not return a valid response tuple. The tuple must have the form (body,"
        " status, headers), (body, status), or (body, headers)."
    )


def _foreign(app: Carboy, value: t.Any) -> Response:
    """Convert another response class, or call another WSGI application, or wait for what was not awaited."""
    wrong: Exception | None = None
    if inspect.iscoroutine(value) and not is_on_loop():
        # A decorator that knows no async functions has called one, and perhaps make_response() with what came back.
        return to_response(app, run_blocking(value))
    if not inspect.isawaitable(value) and (isinstance(value, WerkzeugResponse) or callable(value)):
        ctx = _cv_request.get(None)
        environ = None if ctx is None else ctx.request.environ
        if isinstance(value, HTTPException) and value.response is None and type(value).__call__ is _CALL:
            # What calling it as a WSGI application would send, but not as a stream.
            value = value.get_response(environ)
        try:
            return t.cast(Response, app.response_class.force_type(value, environ))
        except TypeError as e:
            wrong = e
    if inspect.iscoroutine(value):
        value.close()
    raise TypeError(
        f"{wrong or ''}\nThe view function{_for_endpoint()} did not return a valid response. The return type must be a"
        " string, dict, list, tuple with headers or status, Response instance, or WSGI callable, but it was a"
        f" {type(value).__name__}.{_location(app)}".lstrip()
    ) from wrong


def _for_endpoint() -> str:
    ctx = _cv_request.get(None)
    return "" if ctx is None else f" for {ctx.request.endpoint!r}"


def _location(app: Carboy) -> str:
    ctx = _cv_request.get(None)
    view = None if ctx is None else app.view_functions.get(ctx.request.endpoint or "")
    code = getattr(inspect.unwrap(view), "__code__", None) if view is not None else None
    return "" if code is None else f' It is defined in "{code.co_filename}", line {code.co_firstlineno}.'
