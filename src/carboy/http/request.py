"""The request, whatever protocol it came over.

It is Werkzeug's request, with two differences underneath. Nothing is parsed or
built before it is asked for; and the WSGI ``environ``, which Werkzeug and
extensions read, is made from an ASGI or RSGI scope only when somebody reads it.
"""

from __future__ import annotations

import functools
import io
import re
import time
import typing as t

from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugFormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.utils import get_content_length
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wsgi import LimitedStream

from .. import json
from ..concurrency import is_on_loop, run_blocking
from ..context import active_app
from ..lazy import lazy
from .form import MAX_FORM_FIELDS, URLENCODED, FormDataParser, UploadedFile, parse_urlencoded, read_urlencoded

if t.TYPE_CHECKING:
    import asyncio

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.routing import Rule

    from ..background import Deferred
    from .multipart import Parts


def decode_path(value: str) -> str:
    """Return the text of a WSGI path, which is bytes disguised as Latin-1 (PEP 3333)."""
    return value if value.isascii() else value.encode("latin1").decode(errors="replace")


class BodyStream(LimitedStream):
    """A request's body as a stream that ends where the body does, and fails where it is cut off or too long.

    Args:
        limit: The announced length, or the most bytes that are allowed.
        is_max: Whether it is the most that is allowed.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self.readall()
        # Werkzeug's ends at the most that is allowed as if the body did; one byte more tells.
        size = min(size, self.limit - self._pos + self._limit_is_max)
        if size <= 0:
            if self._pos > self.limit:
                self.on_exhausted()
            return b""
        try:
            data = self._stream.read(size)
        except (OSError, ValueError) as e:
            self.on_disconnect(e)
            return b""
        self._pos += len(data)
        if not data:
            self.on_disconnect()
        elif self._pos > self.limit:
            self.on_exhausted()
        return data

    def readall(self) -> bytes:
        # SECURITY: by pieces, because some streams take the memory for what they are asked for before it is there.
        pieces = [self.read(MAX_PIECE)]
        while pieces[-1] and (self._limit_is_max or self._pos < self.limit):
            pieces.append(self.read(MAX_PIECE))
        return b"".join(pieces)

    def readinto(self, buffer: t.Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


MAX_PIECE = 1024 * 1024
"""Most bytes that are read of a body at once."""


def limited_stream(environ: WSGIEnvironment, limit: int | None) -> t.Any:
    """Return the body of *environ*, which gives at most *limit* bytes.

    Raises:
        RequestEntityTooLarge: The announced length is over the limit.
    """
    stream = environ["wsgi.input"]
    length = _announced_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"))
    if limit is not None and length is not None and length > limit:
        raise RequestEntityTooLarge()
    if "wsgi.input_terminated" in environ:
        return stream if limit is None else BodyStream(stream, limit, is_max=True)
    return io.BytesIO() if length is None else BodyStream(stream, length)


def _announced_length(length: str | None, encoding: str | None) -> int | None:
    # PERF: what nearly every body announces (0.2 µs for 0.7 µs).
    if encoding is None and length is not None and len(length) < 19 and length.isascii() and length.isdecimal():
        return int(length)
    return get_content_length(length, encoding)


@functools.cache
def _blueprint_path(name: str) -> tuple[str, ...]:
    parent = name.rpartition(".")[0]
    return (name, *_blueprint_path(parent)) if parent else (name,)


@functools.lru_cache(maxsize=64)
def _cookie_named(name: str) -> re.Pattern[str]:
    """Return a pattern that finds a cookie's value where no value is quoted, as Werkzeug's reads it."""
    if not _COOKIE_NAME.fullmatch(name):
        return _NEVER
    return re.compile(rf"(?:\A|;)[ \t]*{re.escape(name)}(?:[ \t]*=[ \t]*([^ \t;]*))?[ \t]*(?=;|\Z)")


_COOKIE_NAME = re.compile(r'[^ \t=";]+')
_NEVER = re.compile(r"(?!)")


class Reader(t.Protocol):
    """Reads what a protocol's server says of a request, when somebody asks.

    PERF: it has no state, only the *source* is the request's own. A function bound to
    each request would be three objects more, which live as long as the request does.
    """

    @staticmethod
    def make_environ(source: t.Any, request: Request, /) -> WSGIEnvironment:
        """Return the WSGI environ (PEP 3333) that says what *source* says."""

    @staticmethod
    def get_header(source: t.Any, name: str, /) -> str | None:
        """Return the value of the header with the lower-case *name*."""

    @staticmethod
    def get_query_string(source: t.Any, /) -> bytes:
        """Return the query string as it came."""

    @staticmethod
    def get_root_path(source: t.Any, /) -> str:
        """Return the decoded path under which the application is mounted."""


class _Limit:
    """A limit that a request may set for itself; by default the application's."""

    def __init__(self, setting: str, doc: str) -> None:
        self.setting = setting
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.private = f"_{name}"

    def __get__(self, request: Request | None, owner: type) -> t.Any:
        if request is None:
            return self
        own = request.__dict__.get(self.private)
        if own is not None:
            return own
        app = active_app()
        return getattr(WerkzeugRequest, self.name) if app is None else app.config.get(self.setting)

    def __set__(self, request: Request, value: int | None) -> None:
        request.__dict__[self.private] = value


class Request(WerkzeugRequest):
    """An HTTP request: Werkzeug's, plus what routing found.

    The body accessors (``form``, ``files``, ``get_json()``, ``data``, ``stream``)
    are synchronous and work in every view: the body has arrived before the view
    is called, unless the route says ``stream_body=True``.
    """

    json_module: t.Any = json
    form_data_parser_class = FormDataParser

    url_rule: Rule | None = None
    """The rule that matched; None before routing and if nothing matched."""

    view_args: dict[str, t.Any] | None = None
    """The values the rule took from the URL; None if nothing matched."""

    routing_exception: HTTPException | None = None
    """What routing raised, to be raised again by dispatch."""

    shallow = False

    is_websocket = False
    """Whether this is a WebSocket."""

    # Set on requests that came over ASGI or RSGI: what was received, and how to read it.
    _reader: type[Reader] | None = None
    _source: t.Any = None
    _input: t.Any = None

    max_content_length = _Limit("MAX_CONTENT_LENGTH", "Most bytes that are read of the body; None for no limit.")
    max_form_memory_size = _Limit("MAX_FORM_MEMORY_SIZE", "Most bytes of one multipart field that is not a file.")
    max_form_parts = _Limit("MAX_FORM_PARTS", "Most parts of a multipart body.")

    environ_is_made = True
    """Whether ``environ`` is there; else it is made when it is first read."""

    has_cookies = False
    """Whether there is a ``Cookie`` header."""

    reads_body = False
    """Whether the view receives the body itself (``stream_body=True``)."""

    form_is_parsed = False
    """Whether the form, and with it the files, were read from the body."""

    closes_plainly = True
    """Whether ``close`` has nothing to do: there are neither files nor a body."""

    # Whether __init__ and make_form_data_parser are the ones below.
    _is_made_plainly = True
    _form_is_plain = True

    # Whether `cookies` is Werkzeug's.
    _parses_cookies_plainly = True

    has_response = True
    """Whether it is answered by one response, which background tasks wait for."""

    background: Deferred | None = None
    """The background tasks that wait for the response to be sent."""

    client_channel: t.Any = None
    """What tells whether the client is there: ASGI's ``receive``, RSGI's protocol object; None under WSGI."""

    departure: asyncio.Task[None] | None = None
    """Ends when the client has left; None until somebody asks. See ``departure.py``."""

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.closes_plainly = cls.close is Request.close
        cls._is_made_plainly = cls.__init__ is Request.__init__
        cls._form_is_plain = (
            cls.make_form_data_parser is Request.make_form_data_parser
            and cls.want_form_data_parsed is Request.want_form_data_parsed
        )
        cls._parses_cookies_plainly = (
            cls.cookies is Request.cookies and cls.dict_storage_class is Request.dict_storage_class
        )

    def __init__(self, environ: WSGIEnvironment, populate_request: bool = True, shallow: bool = False) -> None:
        # PERF: does not call up; everything but these three is lazy below (plain_text: 2.2 µs -> 0.4 µs).
        self.environ = environ
        self.method = environ.get("REQUEST_METHOD", "GET").upper()
        # PERF: what each request is asked for is found on the object in a fifth of the time.
        self.routing_exception = self.background = None
        self.environ_is_made = True
        self.has_cookies = "HTTP_COOKIE" in environ
        path = environ.get("PATH_INFO") or "/"
        if not path.isascii():
            try:
                path = path.encode("latin1").decode()
            except UnicodeDecodeError:
                path = decode_path(path)
                self.routing_exception = BadRequest("The path is not valid UTF-8.")
        if "\0" in path:
            self.routing_exception = _nul_in_path()
        self.path = path if path[0] == "/" and path[:2] != "//" else "/" + path.lstrip("/")
        if shallow:
            self.shallow = True
        elif populate_request:
            environ["werkzeug.request"] = self

    @classmethod
    def from_connection(
        cls,
        method: str,
        path: str,
        reader: type[Reader],
        source: t.Any,
    ) -> t.Self:
        """Return a request whose ``environ`` is made only if it is read.

        Args:
            path: Decoded; leading slashes are made one.
            reader: Reads everything else from *source*.
        """
        request = cls.__new__(cls)
        if cls._is_made_plainly:
            request._reader = reader
            request._source = source
            request.routing_exception = request.background = request.departure = None
            request.environ_is_made = False
            request.method = method
            request.path = "/" + path.lstrip("/") if "//" in path or path[:1] != "/" else path
            if "\0" in path:
                request.routing_exception = _nul_in_path()
        else:
            # An __init__ of the user's own expects an environ.
            request.__init__(reader.make_environ(source, request))  # type: ignore[misc]
        return request

    if not t.TYPE_CHECKING:

        @lazy
        def environ(self):
            self.environ_is_made = True
            environ = self._reader.make_environ(self._source, self)
            environ["werkzeug.request"] = self
            return environ

        @lazy
        def headers(self):
            return EnvironHeaders(self.environ)

        @lazy
        def query_string(self):
            if self._reader is None:
                return self.environ.get("QUERY_STRING", "").encode("latin1")
            return self._reader.get_query_string(self._source)

        @lazy
        def scheme(self):
            return self.environ.get("wsgi.url_scheme", "http")

        @lazy
        def root_path(self):
            if self.environ_is_made:
                return decode_path(self.environ.get("SCRIPT_NAME") or "").rstrip("/")
            return self._reader.get_root_path(self._source).rstrip("/")

        @lazy
        def remote_addr(self):
            return self.environ.get("REMOTE_ADDR")

        @lazy
        def server(self):
            name = self.environ.get("SERVER_NAME")
            if name is None:
                return None
            port = str(self.environ.get("SERVER_PORT", ""))
            return name, int(port) if port.isdecimal() else None

        @lazy
        def authorization(self):
            try:
                return super().authorization
            except ValueError:
                # Credentials that are not even text are none.
                return None

        @lazy
        def args(self):
            # COMPAT: Werkzeug passes such values on, where they end as a 500 in the first database they meet.
            query = self.query_string
            if b"%00" in query or b"\0" in query:
                raise BadRequest("The query string contains a NUL character.")
            try:
                pairs = parse_urlencoded(query.decode(), "strict")
            except UnicodeDecodeError:
                raise BadRequest("The query string is not valid UTF-8.") from None
            return self.parameter_storage_class(pairs)

        @lazy
        def form(self):
            self._load_form_data()
            return self.__dict__["form"]

        @lazy
        def files(self):
            self._load_form_data()
            files = self.__dict__.get("files")
            return self.parameter_storage_class() if files is None else files

        @lazy
        def content_length(self):
            return _announced_length(
                self._header("content-length", "CONTENT_LENGTH"),
                self._header("transfer-encoding", "HTTP_TRANSFER_ENCODING"),
            )

        @lazy
        def mimetype(self):
            return self._parsed_content_type[0].lower()

        # What Werkzeug's properties of the content type read.
        @lazy
        def _parsed_content_type(self):
            return parse_options_header(self._header("content-type", "CONTENT_TYPE"))

    def _header(self, name: str, key: str) -> str | None:
        """Return a header without making an environ for it.

        Args:
            name: In lower case.
            key: Its key in the environ.
        """
        if "headers" in self.__dict__:
            return self.headers.get(name)
        if self.environ_is_made:
            return self.environ.get(key)
        return self._reader.get_header(self._source, name)  # type: ignore[union-attr]

    @property
    def want_form_data_parsed(self) -> bool:
        """Whether the body may be a form: there is a ``Content-Type``."""
        return bool(self._header("content-type", "CONTENT_TYPE"))

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> t.IO[bytes]:
        """Return the file that an upload is written to; to be overridden."""
        return UploadedFile(total_content_length)

    def first_cookie(self, name: str) -> str | None:
        """Return what ``cookies.get(name)`` does, without reading the other cookies."""
        header = self._header("cookie", "HTTP_COOKIE") or ""
        if '"' in header or not header.isascii() or not self._parses_cookies_plainly:
            return self.cookies.get(name)
        found = _cookie_named(name).search(header)
        # A name alone stands for an empty value.
        return None if found is None else found[1] or ""

    def set_input(self, stream: t.Any) -> None:
        """Make *stream* the raw body of a request from ASGI or RSGI."""
        self._input = stream
        self.closes_plainly = False
        if self.environ_is_made:
            self.environ["wsgi.input"] = stream

    @lazy
    def stream(self) -> t.Any:
        """The body, to be read once; never past the limits.

        With ``stream_body=True`` on the route also an async iterator of chunks.

        Raises:
            RequestEntityTooLarge: The announced length is over the limit.
        """
        if self.shallow:
            raise RuntimeError("This request was made with 'shallow=True': its body must not be read.")
        source = self._input
        limit = self.max_content_length
        if source is not None and hasattr(source, "limit_to"):
            return source.limit_to(limit)
        if type(source) is io.BytesIO and not self.environ_is_made:
            # PERF: the whole body of a request from ASGI or RSGI, for which no environ need be made (-25 µs).
            if limit is not None and len(source.getvalue()) > limit:
                raise RequestEntityTooLarge()
            return source
        return limited_stream(self.environ, limit)

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that the client received, if it opens an event stream again; else None.

        From the ``Last-Event-ID`` header (HTML, "Server-sent events").
        """
        value = self.headers.get("Last-Event-ID")
        # Sent in UTF-8, unlike other headers.
        return None if value is None else value.encode("latin1", "replace").decode(errors="replace")

    def disconnected(self, timeout: float | None = 0) -> t.Any:
        """Return whether the client has left; to be awaited in async code.

        The first call begins to watch, the view need not be quick with the next.
        With ``stream_body=True`` it is known only once the body has been read.
        WSGI servers do not tell: there the answer is False.

        Args:
            timeout: Seconds to wait for the client to leave; None for ever.

        Returns:
            A bool; on an event loop, an awaitable of it.

        Raises:
            RuntimeError: *timeout* is None under WSGI.
        """
        from .departure import departed, known_timeout

        if is_on_loop():
            return departed(self, timeout)
        if self.client_channel is not None:
            return run_blocking(departed(self, timeout))
        time.sleep(known_timeout(timeout))
        return False

    def parts(self) -> Parts:
        """Return the parts of a multipart upload, each to be read when it has arrived.

        ``async for`` in async code, ``for`` in sync code. Meant for a route with
        ``stream_body=True``: the upload then needs neither memory nor a temporary
        file. One that is not read is skipped when the next is asked for.

        Raises:
            UnsupportedMediaType: The body is not ``multipart/form-data``.
            BadRequest: It has no valid boundary.
            RuntimeError: ``form`` or ``files`` have read the body.

        Example::

            @app.post("/photos", stream_body=True)
            async def upload():
                async for part in request.parts():
                    if part.filename:
                        await part.save(folder / secure_filename(part.filename), limit=50_000_000)
                return "Thanks!"
        """
        from .multipart import Parts

        parts: Parts | None = self.__dict__.get("_parts")
        if parts is None:
            parts = self.__dict__["_parts"] = Parts(self)
        return parts

    @property
    def endpoint(self) -> str | None:
        """The endpoint that matched the URL; None if nothing did."""
        rule = self.url_rule
        return None if rule is None else rule.endpoint

    @property
    def blueprint(self) -> str | None:
        """The dotted name of the endpoint's blueprint, if it has one."""
        endpoint = self.endpoint
        return endpoint.rpartition(".")[0] or None if endpoint is not None else None

    @property
    def blueprints(self) -> list[str]:
        """The names of the endpoint's blueprint and its parents, innermost first."""
        name = self.blueprint
        return [] if name is None else list(_blueprint_path(name))

    def make_form_data_parser(self) -> WerkzeugFormDataParser:
        """Return the parser for the form; sets the limit on its fields."""
        parser = super().make_form_data_parser()
        app = active_app()
        fields = None if app is None else app.config.get("MAX_FORM_FIELDS")
        if fields is not None and isinstance(parser, FormDataParser):
            parser.max_form_fields = fields
        return parser

    def _load_form_data(self) -> None:
        if "form" in self.__dict__:
            return
        self.form_is_parsed = True
        if self._form_is_plain and self.mimetype == URLENCODED and self.form_data_parser_class is FormDataParser:
            # PERF: what the parser would do, without one (-6 µs).
            self._load_urlencoded()
        else:
            super()._load_form_data()
            if self.files:
                self.closes_plainly = False
        app = active_app()
        if app is not None and app.debug and self.mimetype != "multipart/form-data" and not self.files:
            from ..debug import attach_enctype_error_multidict

            attach_enctype_error_multidict(self)

    def _load_urlencoded(self) -> None:
        app = active_app()
        most = None if app is None else app.config.get("MAX_FORM_FIELDS")
        stream = self._get_stream_for_parsing()
        try:
            fields = read_urlencoded(stream.read(), MAX_FORM_FIELDS if most is None else most)
        except ValueError:
            fields = []
        self.stream = stream
        self.__dict__["form"] = self.parameter_storage_class(fields)

    def on_json_loading_failed(self, e: ValueError | None) -> t.Any:
        """Answer 400 to a body that is not JSON; the reason is told in debug mode."""
        try:
            return super().on_json_loading_failed(e)
        except BadRequest as error:
            app = active_app()
            if app is not None and app.debug:
                raise
            raise BadRequest() from error

    def close(self) -> None:
        """Close the uploaded files and the spooled body."""
        if self.form_is_parsed:
            super().close()
        close = getattr(self._input, "close", None)
        if close is not None:
            close()


def _nul_in_path() -> BadRequest:
    # COMPAT: Flask matches such paths, and the NUL ends as a 500 in the first file system or database it meets.
    return BadRequest("The path contains a NUL character.")
