"""The response: Werkzeug's, made and written without detours in the common case."""

from __future__ import annotations

import functools
import http
import re
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest
from werkzeug.utils import get_content_type
from werkzeug.wrappers import Response as WerkzeugResponse

from .. import json
from ..context import _cv_app

if t.TYPE_CHECKING:
    from contextvars import Context

    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from .request import Request


@functools.lru_cache(maxsize=256)
def type_header(mimetype: str) -> tuple[str, str]:
    """Return the ``Content-Type`` header for a body of this kind.

    Raises:
        InvalidHeader: It has a character that must not be sent.
    """
    content_type = get_content_type(mimetype, "utf-8")
    if not _may_be_sent("Content-Type", content_type):
        raise InvalidHeader("Content-Type")
    return "Content-Type", content_type


OK = "200 OK"
_SAFE_NAMES = frozenset(("Content-Type", "Content-Length"))
_BODILESS = frozenset((204, 304))


Wire: t.TypeAlias = "tuple[str, int, list[tuple[str, str]], t.Any, t.Callable[[], t.Any] | None, Context | None]"
"""A response in the form that every protocol can write.

Status line and status code; headers; the body, which is whole if it is a list of
bytes, and else iterated, sync or async; what to call, if anything, when the body was
sent or given up; and the copy of the context variables that this, and the body, run in
where a server's loop has sent the request to a thread.
"""


def to_bytes(piece: t.Any) -> bytes:
    """Return a piece of a streamed body as it is sent.

    Raises:
        TypeError: It is neither text nor bytes.
    """
    if type(piece) is bytes:
        return piece
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(
        f"A streamed body is made of str or bytes, but its generator gave {type(piece).__name__!r}. For events put"
        " '@sse' under the route of a view that yields them, or return 'sse(generator)'; for JSON Lines use 'jsonl'."
    )


class InvalidHeader(BadRequest, ValueError):
    """A header cannot be sent because of a character in it (RFC 9110 section 5.5).

    A client error where client data was put into a header, and a ``ValueError``
    as from Werkzeug, for code that checks.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The response header {name[:100]!r} would contain a line break or another character that must not be sent."
            " Header values that come from a request must be checked or quoted."
        )


class ResponseHeaders(Headers):
    """Werkzeug's headers, for which a control character is a client's error.

    See :class:`InvalidHeader`.
    """


def _refusing(method: str) -> t.Callable[..., t.Any]:
    original = getattr(Headers, method)

    @functools.wraps(original)
    def wrapper(self: ResponseHeaders, *args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return original(self, *args, **kwargs)
        except ValueError as e:
            if isinstance(e, InvalidHeader):
                raise
            raise InvalidHeader(str(args[0]) if args else "") from e

    return wrapper


for _method in ("add", "set", "setlist", "__setitem__", "setdefault", "extend", "update"):
    setattr(ResponseHeaders, _method, _refusing(_method))


_new_headers = ResponseHeaders.__new__


class Response(WerkzeugResponse):
    """An HTTP response: Werkzeug's, with ``text/html`` as default type.

    The body may also be an async iterable of ``str`` or ``bytes``.
    """

    default_mimetype: str | None = "text/html"
    json_module = json
    autocorrect_location_header = False

    direct_passthrough = False

    # What Werkzeug sets on each response, for those that are made without it.
    _closers: list[t.Callable[[], t.Any]] | None = None
    _status = OK
    _status_code = 200
    _body = b""

    # PERF: the headers of a common response, until somebody looks at them.
    _plain_headers: list[tuple[str, str]] | None = None

    # Whether a subclass left alone what the short way through __init__ and wire() replaces.
    _builds_plainly = True
    _writes_plainly = True

    is_plain = True
    """Whether text as it is, with its type, is what a response of this class sends."""

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)

        def inherits(*names: str) -> bool:
            return all(getattr(cls, name) is getattr(Response, name) for name in names)

        cls._builds_plainly = (
            inherits("set_data", "status", "status_code", "_clean_status", "data", "default_status")
            and cls.automatically_set_content_length
            and cls.default_mimetype is not None
        )
        cls._writes_plainly = not cls.autocorrect_location_header and inherits(
            "__call__",
            "get_wsgi_response",
            "get_wsgi_headers",
            "get_app_iter",
            "iter_encoded",
            "close",
            "status",
            "status_code",
            "is_sequence",
        )
        cls.is_plain = cls._builds_plainly and cls._writes_plainly and inherits("__init__", "headers", "wire")

    def __init__(
        self,
        response: t.Any = None,
        status: int | str | http.HTTPStatus | None = None,
        headers: t.Any = None,
        mimetype: str | None = None,
        content_type: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        # PERF: the common response, made without Werkzeug's checks of what cannot be wrong here.
        if headers is status is content_type is None and self._builds_plainly and not direct_passthrough:
            body = response.encode() if type(response) is str else response
            if isinstance(body, bytes):
                self._body = body
                self.response = [body]
                self._plain_headers = [
                    type_header(mimetype or self.default_mimetype),
                    ("Content-Length", str(len(body))),
                ]
                return
        self.direct_passthrough = direct_passthrough
        if not isinstance(headers, Headers):
            headers = ResponseHeaders(headers)
        super().__init__(response, status, headers, mimetype, content_type, direct_passthrough)

    @property
    def headers(self) -> Headers:
        """The headers."""
        if self._plain_headers is not None:
            headers = self.__dict__["headers"] = _new_headers(ResponseHeaders)
            headers._list = self._plain_headers
            self._plain_headers = None
        # Where Werkzeug's own response has it, which may become one of this class (force_type).
        return t.cast(Headers, self.__dict__["headers"])

    @headers.setter
    def headers(self, headers: t.Any) -> None:
        self._plain_headers = None
        # Applications assign plain dictionaries, too.
        self.__dict__["headers"] = headers if isinstance(headers, Headers) else ResponseHeaders(headers)

    @property
    def _on_close(self) -> list[t.Callable[[], t.Any]]:
        if self._closers is None:
            self._closers = []
        return self._closers

    @_on_close.setter
    def _on_close(self, functions: list[t.Callable[[], t.Any]]) -> None:
        self._closers = functions

    @property
    def max_cookie_size(self) -> int:  # type: ignore[override]
        """The ``MAX_COOKIE_SIZE`` setting; Werkzeug's default without an app."""
        ctx = _cv_app.get(None)
        return WerkzeugResponse.max_cookie_size if ctx is None else t.cast(int, ctx.app.config["MAX_COOKIE_SIZE"])

    def set_cookie(self, key: str, value: str = "", *args: t.Any, **kwargs: t.Any) -> None:
        """Set a cookie; see :meth:`werkzeug.wrappers.Response.set_cookie`.

        Raises:
            InvalidHeader: An attribute has a line break or NUL character.
            ValueError: An attribute is not one.
        """
        # The value is not among them: Werkzeug quotes it.
        for part in (key, *args, *kwargs.values()):
            if isinstance(part, str) and not part.isprintable():
                raise InvalidHeader("Set-Cookie")
        super().set_cookie(key, value, *args, **kwargs)

    def wire(self, request: Request) -> Wire:  # noqa: C901 - PERF: no calls
        """Return the response in the form that protocols write.

        Args:
            request: What it answers; an answer to ``HEAD`` has no body.

        Raises:
            InvalidHeader: A header has a character that must not be sent.
            ValueError: The status is not that of a final response.
        """
        if not self._writes_plainly:
            return wire_from_wsgi(self, request.environ)
        plain = self._plain_headers
        if plain is not None and self._status is OK and self._closers is None:
            # PERF: as it was made, it needs no look at its headers.
            body = self.response
            if type(body) is list and len(body) == 1 and body[0] is self._body:
                return OK, 200, plain.copy(), [] if request.method == "HEAD" else body, None, None
        code = self._status_code
        if not self._status.isprintable():
            raise InvalidHeader("status")
        if not 200 <= code <= 999:
            # Servers answer such a status in ways from nothing at all to dying of it.
            raise ValueError(f"{self._status!r} is not the status of a final response (RFC 9110 section 15).")
        headers = self.headers._list.copy()
        has_length = False
        for name, value in headers:
            if name in _SAFE_NAMES:
                if not value.isprintable() or not value.isascii():
                    raise InvalidHeader(name)
                has_length = has_length or name == "Content-Length"
            elif not _may_be_sent(name, value):
                raise InvalidHeader(name)
            elif name.lower() in _SPECIAL:
                return self._wire_with_special_headers(request.method)
        body = self.response
        if type(body) is not list or code in _BODILESS:
            return self._wire_with_special_headers(request.method)
        for item in body:
            if type(item) is not bytes:
                body = [item.encode() if isinstance(item, str) else bytes(item) for item in body]
                break
        if not has_length and self.automatically_set_content_length:
            headers.append(("Content-Length", str(sum(map(len, body)))))
        if request.method == "HEAD":
            body = []
        return self._status, code, headers, body, self.close if self._closers else None, None

    def _wire_with_special_headers(self, method: str) -> Wire:
        # Streams, redirects, answers without a body: by Werkzeug's own rules.
        headers = list(self.get_wsgi_headers({}))
        _check(headers)
        body: t.Any = self.response
        close: t.Callable[[], t.Any] | None = self.close
        if method == "HEAD" or self._status_code in _BODILESS:
            body = []
        elif self.is_sequence:
            body = list(self.iter_encoded())
        elif not self.direct_passthrough and not hasattr(body, "__aiter__"):
            body = self.get_app_iter({"REQUEST_METHOD": method})
            close = body.close
        if not self._closers and (self.is_sequence or hasattr(body, "aclose")):
            # PERF: protocols close an async body where they iterate it. Calling close() too takes a thread.
            close = None
        return self._status, self._status_code, headers, body, close, None

    def close(self) -> None:
        """Close the body and run the functions given to ``call_on_close``."""
        super().close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> t.Iterable[bytes]:
        return super().__call__(environ, start_response)


_SPECIAL = frozenset(("location", "content-location", "content-length"))


def _check(headers: list[tuple[str, str]]) -> None:
    for name, value in headers:
        if not _may_be_sent(name, value):
            raise InvalidHeader(name)


def _may_be_sent(name: str, value: str) -> bool:
    if value.isprintable() and value.isascii() and name.isprintable() and name.isascii():
        return True
    return _BAD_IN_VALUE.search(value) is None and _BAD_IN_NAME.search(name) is None


_BAD_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]")
_BAD_IN_NAME = re.compile(r"[^!-~]|:")


class EndsConnection(BaseException):
    """A response has raised ``StopIteration`` when it was called as a WSGI application.

    So gunicorn is told that a view has taken over the connection, and has ended with
    it (flask-sock). No coroutine can raise it as it is.
    """


def wire_from_wsgi(response: t.Any, environ: WSGIEnvironment) -> Wire:
    """Call *response* as a WSGI application and return what it would send.

    For responses of other classes, and for classes that changed how they are
    written.

    Raises:
        EndsConnection: It has raised ``StopIteration``.
    """
    started: list[t.Any] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: t.Any = None
    ) -> t.Callable[[bytes], t.Any]:
        started[:] = [status, headers]
        return written.append

    try:
        iterable = response(environ, start_response)
    except StopIteration as e:
        raise EndsConnection from e
    close = getattr(iterable, "close", None)
    if not started or written:
        # Allowed by PEP 3333: start_response at the first item; write().
        iterator = iter(iterable)
        if not started:
            written.extend(_first(iterator))
        iterable = _chain(written, iterator)
    status, headers = started
    try:
        _check(headers)
    except InvalidHeader:
        if close is not None:
            close()
        raise
    code = int(status.partition(" ")[0])
    if not 200 <= code <= 999:
        raise ValueError(f"{status!r} is not the status of a final response (RFC 9110 section 15).")
    return status, code, headers, iterable, close, None


def _first(iterator: t.Iterator[bytes]) -> list[bytes]:
    for item in iterator:
        return [item]
    return []


def _chain(written: list[bytes], iterator: t.Iterator[bytes]) -> t.Iterator[bytes]:
    yield from written
    yield from iterator
