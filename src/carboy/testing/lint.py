"""Hold an application to the specification of the protocol it is called with.

Each lint wraps an application and changes nothing; it watches what the application does and raises
:class:`ConformanceError` at the first rule broken. An application that swallows the error gets it again when its call
ends. The rules are those of PEP 3333 (through :mod:`wsgiref.validate`), of the ASGI HTTP, WebSocket and lifespan
specifications (version 3.0, HTTP and WebSocket 2.5), of the RSGI specification (1.6) and, for all three, of RFC 9110
and RFC 6455.
"""

from __future__ import annotations

import os
import re
import typing as t
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Event = MutableMapping[str, t.Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
ASGIApplication = Callable[[Event, Receive, Send], Awaitable[None]]
RSGIApplication = Callable[[t.Any, t.Any], Awaitable[None]]

# RFC 9110 5.6.2 (token) and 5.5 (field value).
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-zA-Z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class ConformanceError(AssertionError):
    """The application broke a rule of the protocol that it was called with."""


class _Watch:
    """Remembers the first rule broken, so that it cannot be swallowed."""

    violation: ConformanceError | None = None

    def fail(self, message: str) -> t.NoReturn:
        error = ConformanceError(message)
        if self.violation is None:
            self.violation = error
        raise error

    def require(self, rule: bool, message: str) -> None:
        if not rule:
            self.fail(message)


class _Content:
    """One response's status, headers and content, measured against RFC 9110."""

    def __init__(self, watch: _Watch, method: str, status: int, headers: list[tuple[str, str]]) -> None:
        self.watch = watch
        self.size = 0
        self.empty = method == "HEAD" or status in (204, 304)
        self.why = f"{method} {status}"
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        watch.require(200 <= status <= 999, f"{status} is not the status of a final response (RFC 9110 15)")
        watch.require(len(lengths) < 2, f"content-length is given {len(lengths)} times")
        watch.require(all(re.fullmatch("[0-9]+", length) for length in lengths), f"content-length is {lengths}")
        watch.require(status != 204 or not lengths, "a 204 response has a content-length (RFC 9110 8.6)")
        self.length = int(lengths[0]) if lengths and not self.empty else None

    def add(self, size: int) -> None:
        self.size += size
        if self.empty and size:
            self.watch.fail(f"content is sent in a response to {self.why}, which must have none (RFC 9110 6.4.1)")
        if self.length is not None and self.size > self.length:
            self.watch.fail(f"content-length is {self.length} and at least {self.size} bytes are sent")

    def end(self) -> None:
        if self.length is not None and self.size != self.length:
            self.watch.fail(f"content-length is {self.length} and {self.size} bytes are sent")


def _check_headers(watch: _Watch, headers: list[tuple[str, str]]) -> None:
    for name, value in headers:
        watch.require(_TOKEN.fullmatch(name) is not None, f"{name!r} is not a header name (RFC 9110 5.1)")
        watch.require(_CONTROL.search(value) is None, f"the header {name} has a control character: {value!r}")
        watch.require(name.lower() != "transfer-encoding", "transfer-encoding is the server's to set")


# WSGI


def lint_wsgi(app: WSGIApplication) -> WSGIApplication:
    """Wrap a WSGI application so that breaking PEP 3333 raises.

    Raises:
        AssertionError: By the wrapped application, when :mod:`wsgiref.validate` finds a fault.
        ConformanceError: By the wrapped application, when the content breaks RFC 9110 (length, HEAD, 204, 304).
    """
    from wsgiref.validate import validator

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        content: _Content | None = None
        sent: list[tuple[str, str]] = []

        def less_strict(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            def start(status: str, headers: list[tuple[str, str]], *exc_info: t.Any) -> Callable[[bytes], object]:
                nonlocal sent
                sent = headers
                # wsgiref objects to a tab in a value, and to a Content-Type with 204 and 304; RFC 9110 allows both.
                headers = type(headers)((name, value.replace("\t", " ")) for name, value in headers)
                if status[:3] in ("204", "304"):
                    headers = [header for header in headers if header[0].lower() != "content-type"]
                return start_response(status, headers, *exc_info)

            environ["wsgi.input"] = _WSGIInput(environ["wsgi.input"])
            return app(environ, start)

        def start(status: str, _: list[tuple[str, str]], *exc_info: t.Any) -> Callable[[bytes], object]:
            nonlocal content
            started = content = _Content(_Watch(), environ["REQUEST_METHOD"], int(status[:3]), sent)
            write = start_response(status, sent, *exc_info)

            def counted_write(data: bytes) -> None:
                started.add(len(data))
                write(data)

            return counted_write

        return _WSGIBody(validator(less_strict)(environ, start), lambda: content)

    return checked


class _WSGIInput:
    """Lets ``read()`` be called without a size, as PEP 3333 does and wsgiref does not."""

    def __init__(self, stream: t.Any) -> None:
        self.stream = stream

    def read(self, *size: int) -> bytes:
        if size and (type(size[0]) is not int or size[0] < 0):
            # Granian raises OverflowError.
            raise ConformanceError(f"wsgi.input.read({size[0]!r}) has no meaning in PEP 3333: leave out the size")
        return t.cast(bytes, self.stream.read(*size or (-1,)))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.stream)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.stream, name)


class _WSGIBody:
    def __init__(self, body: Iterable[bytes], content: Callable[[], _Content | None]) -> None:
        self.iterator = iter(body)
        self.content = content
        self.close: Callable[[], None] = body.close  # type: ignore[attr-defined]
        # A test that drops a response unread is no fault of the application's, but wsgiref would report it.
        weakref.finalize(self, setattr, body, "closed", True).atexit = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data = next(self.iterator, None)
        content = self.content()
        if data is None:
            if content is not None:
                content.end()
            raise StopIteration
        if content is not None:
            content.add(len(data))
        return data


# ASGI


def lint_asgi(app: ASGIApplication) -> ASGIApplication:
    """Wrap an ASGI application so that breaking the specification raises.

    Checks HTTP, WebSocket and lifespan connections; others pass unwatched.

    Raises:
        ConformanceError: By the wrapped application.
    """

    async def checked(scope: Event, receive: Receive, send: Send) -> None:
        watch = {"http": _ASGIHttp, "websocket": _ASGIWebSocket, "lifespan": _ASGILifespan}.get(scope["type"])
        if watch is None:
            await app(scope, receive, send)
        else:
            await watch(scope, receive, send).run(app)

    return checked


class _ASGIConnection(_Watch):
    # Whether it matters in which order two events arrive of which neither was awaited first.
    ordered = True

    def __init__(self, scope: Event, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.wrapped_receive = receive
        self.wrapped_send = send
        self.receiving = self.sending = self.returned = False

    async def run(self, app: ASGIApplication) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            self.check_end()
        finally:
            self.returned = True
            if self.violation is not None:
                raise self.violation

    async def receive(self) -> Event:
        self.require(not self.returned, "receive() is called after the application has returned")
        self.require(not self.receiving, "receive() is called while another receive() waits")
        self.before_receive()
        self.receiving = True
        try:
            event = await self.wrapped_receive()
        finally:
            self.receiving = False
        self.received(event["type"])
        return event

    async def send(self, event: Event) -> None:
        self.require(not self.returned, "send() is called after the application has returned")
        is_free = not (self.sending and self.ordered)
        self.require(is_free, "send() is called while another send() waits: their order is undefined")
        self.require(isinstance(event, dict), f"an event is a dict, not {type(event).__name__}")
        self.require(isinstance(event.get("type"), str), f"an event without a type: {event!r}")
        self.before_send(event)
        self.sending = True
        try:
            await self.wrapped_send(event)
        except OSError:
            self.client_left()
            raise
        finally:
            self.sending = False

    def before_receive(self) -> None: ...
    def received(self, kind: str) -> None: ...
    def before_send(self, event: Event) -> None: ...
    def client_left(self) -> None: ...
    def check_end(self) -> None: ...


class _ASGIHttp(_ASGIConnection):
    content: _Content | None = None
    complete = disconnected = refused = False

    def before_receive(self) -> None:
        self.require(not self.disconnected, "receive() is called after it has given http.disconnect")

    def received(self, kind: str) -> None:
        self.disconnected = kind == "http.disconnect"

    def client_left(self) -> None:
        self.refused = True

    def before_send(self, event: Event) -> None:
        kind = event["type"]
        self.require(not self.complete, f"{kind} is sent after the response has ended")
        self.require(not self.refused, f"{kind} is sent after send() has said that the client left")
        if kind == "http.response.start":
            self.start(event)
        elif kind == "http.response.body":
            self.body(event)
        elif kind == "http.response.pathsend":
            self.path(event)
        else:
            self.fail(f"{kind!r} is no event that a server of HTTP must know")

    def start(self, event: Event) -> None:
        status = event.get("status")
        self.require(self.content is None, "http.response.start is sent twice")
        self.require(type(status) is int, f"the status is {status!r}, not an int")
        self.content = _Content(self, self.scope.get("method", "GET"), t.cast(int, status), _asgi_headers(self, event))

    def body(self, event: Event) -> None:
        data, more = event.get("body", b""), event.get("more_body", False)
        self.require(type(data) is bytes, f"the body is {type(data).__name__}, not bytes")
        self.require(type(more) is bool, f"more_body is {more!r}, not a bool")
        self.started("http.response.body").add(len(data))
        if not more:
            self.end()

    def path(self, event: Event) -> None:
        path = event.get("path")
        offered = "http.response.pathsend" in (self.scope.get("extensions") or {})
        self.require(offered, "http.response.pathsend is sent to a server that does not offer it")
        self.require(isinstance(path, str) and os.path.isabs(path), f"{path!r} is not an absolute path")
        content = self.started("http.response.pathsend")
        content.add(0 if content.empty else os.path.getsize(t.cast(str, path)))
        self.end()

    def started(self, kind: str) -> _Content:
        if self.content is None:
            self.fail(f"{kind} is sent before http.response.start")
        return self.content

    def end(self) -> None:
        t.cast(_Content, self.content).end()
        self.complete = True

    def check_end(self) -> None:
        if not (self.complete or self.disconnected or self.refused):
            self.fail("the application returned before its response had ended")


def _asgi_headers(watch: _Watch, event: Event) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    for header in event.get("headers") or ():
        name, value = header
        watch.require(type(name) is bytes and type(value) is bytes, f"the header {header!r} is not a pair of bytes")
        watch.require(name == name.lower(), f"the header name {name!r} is not in lower case")
        headers.append((name.decode("latin-1"), value.decode("latin-1")))
    _check_headers(watch, headers)
    return headers


class _ASGIWebSocket(_ASGIConnection):
    ordered = False
    connected = accepted = closed = disconnected = refused = False
    refusal: _Content | None = None

    def before_receive(self) -> None:
        self.require(not self.disconnected, "receive() is called after it has given websocket.disconnect")

    def received(self, kind: str) -> None:
        self.connected = True
        self.disconnected = kind == "websocket.disconnect"

    def client_left(self) -> None:
        self.refused = True

    def before_send(self, event: Event) -> None:
        kind = event["type"]
        self.require(self.connected, f"{kind} is sent before websocket.connect was received")
        self.require(not self.closed, f"{kind} is sent after the WebSocket was closed or refused")
        self.require(not self.refused, f"{kind} is sent after send() has said that the client left")
        if self.accepted:
            after = {"websocket.send": self.message, "websocket.close": self.close}
            after.get(kind, self.misplaced)(event)
        else:
            before = {"websocket.accept": self.accept, "websocket.close": self.close}
            if "websocket.http.response" in (self.scope.get("extensions") or {}):
                before["websocket.http.response.start"] = self.refuse
                before["websocket.http.response.body"] = self.refuse_with
            before.get(kind, self.misplaced)(event)

    def misplaced(self, event: Event) -> None:
        state = "accepted" if self.accepted else "not accepted yet"
        self.fail(f"{event['type']!r} is no event for a WebSocket that is {state}")

    def accept(self, event: Event) -> None:
        self.require(self.refusal is None, "websocket.accept is sent after the response that refuses has begun")
        _check_subprotocol(self, event.get("subprotocol"), self.scope.get("subprotocols") or ())
        for name, _ in _asgi_headers(self, event):
            self.require(name != "sec-websocket-protocol", "sec-websocket-protocol is a header: use 'subprotocol'")
        self.accepted = True

    def message(self, event: Event) -> None:
        text, data = event.get("text"), event.get("bytes")
        self.require((text is None) != (data is None), "websocket.send has not exactly one of 'text' and 'bytes'")
        self.require(text is None or type(text) is str, f"the text is {type(text).__name__}, not str")
        self.require(data is None or type(data) is bytes, f"the bytes are {type(data).__name__}")

    def close(self, event: Event) -> None:
        self.require(self.refusal is None, "websocket.close is sent after the response that refuses has begun")
        _check_close(self, event.get("code", 1000), event.get("reason"))
        self.closed = True

    def refuse(self, event: Event) -> None:
        self.require(self.refusal is None, "websocket.http.response.start is sent twice")
        status = event.get("status")
        self.require(type(status) is int, f"the status is {status!r}, not an int")
        self.refusal = _Content(self, "GET", t.cast(int, status), _asgi_headers(self, event))

    def refuse_with(self, event: Event) -> None:
        if self.refusal is None:
            self.fail("websocket.http.response.body is sent before websocket.http.response.start")
        data = event.get("body", b"")
        self.require(type(data) is bytes, f"the body is {type(data).__name__}, not bytes")
        self.refusal.add(len(data))
        if not event.get("more_body", False):
            self.refusal.end()
            self.closed = True

    def check_end(self) -> None:
        if not (self.accepted or self.closed or self.disconnected or self.refused):
            self.fail("the application returned before it had accepted, closed or refused the WebSocket")


def _check_subprotocol(watch: _Watch, subprotocol: object, offered: Iterable[str]) -> None:
    if subprotocol is not None:
        is_offered = subprotocol in list(offered)
        watch.require(is_offered, f"the subprotocol {subprotocol!r} is not among those offered (RFC 6455 4.2.2)")


def _check_close(watch: _Watch, code: object, reason: object) -> None:
    if type(code) is not int:
        watch.fail(f"the close code is {code!r}, not an int")
    may_be_sent = 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    watch.require(may_be_sent, f"{code} is no close code that may be sent (RFC 6455 7.4)")
    if reason is not None:
        if type(reason) is not str:
            watch.fail(f"the reason is {type(reason).__name__}, not str")
        size = len(reason.encode())
        watch.require(size <= 123, f"the reason has {size} bytes; a close frame has room for 123 (RFC 6455 5.5)")


class _ASGILifespan(_ASGIConnection):
    # What may be sent after which event was received.
    answers: t.ClassVar = {
        "lifespan.startup": ("lifespan.startup.complete", "lifespan.startup.failed"),
        "lifespan.shutdown": ("lifespan.shutdown.complete", "lifespan.shutdown.failed"),
    }
    asked: str | None = None

    def received(self, kind: str) -> None:
        self.asked = kind

    def before_send(self, event: Event) -> None:
        kind = event["type"]
        self.require(kind in self.answers.get(self.asked or "", ()), f"{kind!r} does not answer {self.asked!r}")
        self.require(isinstance(event.get("message", ""), str), "the message is not a str")
        self.asked = None


# RSGI


def lint_rsgi(app: RSGIApplication) -> RSGIApplication:
    """Wrap an RSGI application so that breaking the specification raises.

    Checks HTTP and WebSocket connections; others pass unwatched.

    Args:
        app: A callable ``(scope, protocol)``, as ``__rsgi__`` of an application object is.

    Raises:
        ConformanceError: By the wrapped application.
    """

    async def checked(scope: t.Any, protocol: t.Any) -> None:
        if scope.proto == "http":
            await _RSGIHttp(scope, protocol).run(app)
        elif scope.proto == "ws":
            await _RSGIWebSocket(scope, protocol).run(app)
        else:
            await app(scope, protocol)

    return checked


class _RSGIHttp(_Watch):
    """An RSGI HTTP protocol object that passes to *protocol* what is allowed."""

    def __init__(self, scope: t.Any, protocol: t.Any) -> None:
        self.scope = scope
        self.protocol = protocol
        self.body_taken = self.returned = False
        self.content: _Content | None = None
        self.streaming = False

    async def run(self, app: RSGIApplication) -> None:
        try:
            await app(self.scope, self)
            self.require(self.content is not None, "the application returned without a response")
            if self.streaming:
                t.cast(_Content, self.content).end()
        finally:
            self.returned = True
            if self.violation is not None:
                raise self.violation

    def __call__(self) -> Awaitable[bytes]:
        self.take_body()
        return t.cast(Awaitable[bytes], self.protocol())

    def __aiter__(self) -> t.Any:
        self.take_body()
        return aiter(self.protocol)

    def take_body(self) -> None:
        self.require(not self.returned, "the body is read after the application has returned")
        self.require(not self.body_taken, "the body is read twice")
        self.body_taken = True

    async def client_disconnect(self) -> None:
        await self.protocol.client_disconnect()
        self.client_left()

    def client_left(self) -> None:
        # What a stream leaves out from here on is not missed.
        self.streaming = False

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.respond("response_empty", status, headers, 0)
        self.protocol.response_empty(status, headers)

    def response_str(self, status: int, headers: list[tuple[str, str]], body: str) -> None:
        self.require(type(body) is str, f"the body of response_str is {type(body).__name__}, not str")
        self.respond("response_str", status, headers, len(body.encode()))
        self.protocol.response_str(status, headers, body)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.require(type(body) is bytes, f"the body of response_bytes is {type(body).__name__}, not bytes")
        self.respond("response_bytes", status, headers, len(body))
        self.protocol.response_bytes(status, headers, body)

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self.respond("response_file", status, headers, self.file_size(file))
        self.protocol.response_file(status, headers, file)

    def response_file_range(self, status: int, headers: list[tuple[str, str]], file: str, start: int, end: int) -> None:
        size = self.file_size(file)
        self.require(type(start) is int and type(end) is int, f"the range {start!r}, {end!r} is not of ints")
        self.require(0 <= start <= end <= size, f"the range {start}, {end} is not inside the file of {size} bytes")
        self.respond("response_file_range", status, headers, end - start)
        self.protocol.response_file_range(status, headers, file, start, end)

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> _RSGITransport:
        self.respond("response_stream", status, headers, None)
        self.streaming = True
        return _RSGITransport(self, self.protocol.response_stream(status, headers))

    def file_size(self, file: object) -> int:
        if type(file) is not str or not os.path.isabs(file):
            self.fail(f"{file!r} is not an absolute path as a str")
        self.require(os.path.isfile(file), f"there is no file {file!r}")
        return os.path.getsize(file)

    def respond(self, call: str, status: object, headers: object, size: int | None) -> None:
        self.require(not self.returned, f"{call} is called after the application has returned")
        self.require(self.content is None, f"{call} is a second response")
        if type(status) is not int:
            self.fail(f"the status is {status!r}, not an int")
        if type(headers) is not list:
            self.fail(f"the headers are a {type(headers).__name__}, not a list")
        for header in headers:
            pair = type(header) is tuple and len(header) == 2 and all(type(part) is str for part in header)
            self.require(pair, f"the header {header!r} is not a pair of str")
        _check_headers(self, headers)
        self.content = _Content(self, self.scope.method, status, headers)
        if size is not None:
            self.content.add(size)
            self.content.end()


class _RSGITransport:
    def __init__(self, http: _RSGIHttp, transport: t.Any) -> None:
        self.http = http
        self.transport = transport
        self.sending = self.closed = False

    async def send_bytes(self, data: bytes) -> None:
        self.http.require(type(data) is bytes, f"send_bytes is given {type(data).__name__}, not bytes")
        await self.send(self.transport.send_bytes, data, len(data))

    async def send_str(self, data: str) -> None:
        self.http.require(type(data) is str, f"send_str is given {type(data).__name__}, not str")
        await self.send(self.transport.send_str, data, len(data.encode()))

    async def send(self, function: Callable[[t.Any], Awaitable[None]], data: object, size: int) -> None:
        http = self.http
        http.require(not http.returned, "the stream is used after the application has returned")
        http.require(not self.sending, "the stream is sent to while another send waits: their order is undefined")
        http.require(not self.closed, "the stream is sent to after a send has said that the client left")
        t.cast(_Content, http.content).add(size)
        self.sending = True
        try:
            await function(data)
        except RuntimeError:
            # RSGIProtocolClosed, which has no importable home without a server.
            self.closed = True
            http.client_left()
            raise
        finally:
            self.sending = False


class _RSGIWebSocket(_Watch):
    """An RSGI WebSocket protocol object that passes to *protocol* what is allowed."""

    def __init__(self, scope: t.Any, protocol: t.Any) -> None:
        self.scope = scope
        self.protocol = protocol
        self.accepted = self.closed = self.returned = False

    async def run(self, app: RSGIApplication) -> None:
        try:
            await app(self.scope, self)
            self.require(self.accepted or self.closed, "the application returned without accept() or close()")
        finally:
            self.returned = True
            if self.violation is not None:
                raise self.violation

    async def accept(self) -> _RSGISocket:
        self.require(not self.returned, "accept() is called after the application has returned")
        # Granian 2.8 ends the process.
        self.require(not self.accepted, "accept() is called twice")
        self.require(not self.closed, "accept() is called after close()")
        self.accepted = True
        return _RSGISocket(self, await self.protocol.accept())

    def close(self, status: int | None = None) -> None:
        self.require(not self.returned, "close() is called after the application has returned")
        if status is not None:
            if type(status) is not int:
                self.fail(f"the status is {status!r}, not an int")
            if self.accepted:
                _check_close(self, status, None)
            else:
                # Granian 2.8 ends the process where it is no status at all.
                self.require(300 <= status <= 599, f"{status} is no HTTP status that refuses a WebSocket")
        self.closed = True
        self.protocol.close(status)


class _RSGISocket:
    def __init__(self, websocket: _RSGIWebSocket, transport: t.Any) -> None:
        self.websocket = websocket
        self.transport = transport
        self.receiving = self.ended = self.lost = False

    def require_running(self, call: str) -> None:
        self.websocket.require(not self.websocket.returned, f"{call} is called after the application has returned")

    async def receive(self) -> t.Any:
        require = self.websocket.require
        self.require_running("receive()")
        require(not self.receiving, "receive() is called while another receive() waits")
        require(not self.ended, "receive() is called after it has said that the WebSocket is closed")
        self.receiving = True
        try:
            message = await self.transport.receive()
        except RuntimeError:
            self.ended = self.lost = True
            raise
        finally:
            self.receiving = False
        self.ended = message.kind == 0
        return message

    async def send_bytes(self, data: bytes) -> None:
        self.websocket.require(type(data) is bytes, f"send_bytes is given {type(data).__name__}, not bytes")
        await self.send(self.transport.send_bytes, data)

    async def send_str(self, data: str) -> None:
        self.websocket.require(type(data) is str, f"send_str is given {type(data).__name__}, not str")
        await self.send(self.transport.send_str, data)

    async def send(self, function: Callable[[t.Any], Awaitable[None]], data: object) -> None:
        self.require_running("send")
        self.websocket.require(not self.websocket.closed, "a message is sent after close()")
        self.websocket.require(not self.lost, "a message is sent after the server has said that the client left")
        try:
            await function(data)
        except RuntimeError:
            self.lost = True
            raise
