"""The WebSocket: the request that opened it, and the messages that follow (RFC 6455).

One object for async and sync code: a method that sends or receives is awaited on
the event loop that serves the connection, and blocks in every other thread.
"""

from __future__ import annotations

import asyncio
import sys
import typing as t
import weakref
from asyncio import current_task
from contextvars import Context, copy_context
from threading import get_ident

from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest

from ..concurrency import adopt, keep, run_blocking, run_in_thread
from ..context import _cv_request
from ..lazy import lazy
from .request import Request

if t.TYPE_CHECKING:
    from ..app import Carboy

T = t.TypeVar("T")

# Close codes, RFC 6455 section 7.4.1.
NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
_MAY_BE_SENT = frozenset({1000, 1001, 1003, *range(1007, 1015)})

SWEEP_INTERVAL = 0.5
"""Seconds between two looks at the open connections of a loop."""

CLOSE_TIMEOUT = 5.0
"""Seconds that sending a close frame may take where the client no longer reads."""


class WebSocketDisconnect(ConnectionError):
    """The connection is closed: by the client, by a limit, or because the server stops.

    Raised by ``receive`` and ``send``. A handler need not catch it: it then ends
    without an error.

    Attributes:
        code: The close code (RFC 6455 section 7.4). 1005 if none came, 1006 if
            the connection was lost.
        reason: What the other side said, often nothing.
    """

    def __init__(self, code: int = NO_STATUS, reason: str = "") -> None:
        super().__init__(f"The WebSocket is closed ({code}{f': {reason}' if reason else ''}).")
        self.code = code
        self.reason = reason


class Connection(t.Protocol):
    """What a protocol does for a WebSocket. Used on the connection's loop only.

    PERF: ``receive`` and ``send`` return what the server awaits, with no coroutine
    of ours around it.
    """

    carries_headers: bool
    """Whether headers can be sent when the handshake is accepted."""

    gone: type[Exception]
    """What ``receive`` and ``send`` raise when the connection was lost."""

    receive: t.Callable[[], t.Awaitable[t.Any]]
    """Waits for the next event. Set when `accept` is done."""

    def accept(self, subprotocol: str | None, headers: list[tuple[str, str]]) -> t.Coroutine[t.Any, t.Any, None]:
        """Accept the handshake."""

    @staticmethod
    def decode(event: t.Any) -> str | bytes:
        """Return an event's message; raise `WebSocketDisconnect` if it is the last event."""

    def send(self, data: str | bytes) -> t.Awaitable[None]:
        """Send a message; done when there is room for the next."""

    def close(self, code: int, reason: str) -> t.Coroutine[t.Any, t.Any, None]:
        """Send a close frame."""

    def refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> t.Coroutine[t.Any, t.Any, None]:
        """Answer the handshake with an HTTP response."""


class WebSocket(Request):
    """A WebSocket connection, as the ``websocket`` proxy gives it.

    It is a request too, the one that opened the connection: ``headers``, ``args``,
    ``cookies``, ``path``, ``url_rule`` and the rest are there, and the ``request``
    proxy stands for it.

    Example::

        @app.websocket("/echo")
        async def echo():
            async for message in websocket:
                await websocket.send(message)
    """

    is_websocket = True
    has_response = False

    accepted = False
    """Whether the handshake was accepted."""

    close_code: int | None = None
    """The code that the connection was closed with; None while it is open."""

    idle_timeout: float | None
    """Seconds without a message, in either direction, after which the connection is closed; None for no limit."""

    app: Carboy
    _connection: Connection
    _loop: asyncio.AbstractEventLoop
    _thread: int
    # The task of an async handler, cancelled when the client has left and the handler does not receive.
    _task: asyncio.Task[t.Any] | None = None
    _left = False
    _farewell: asyncio.Task[None] | None = None

    _accepting: asyncio.Future[None] | None = None
    # The task that waits in receive(), if one does.
    _receiver: asyncio.Task[t.Any] | None = None
    # A message asked for by the sweep, because the handler did not ask.
    _ahead: asyncio.Task[t.Any] | None = None
    _reason = ""
    _is_quiet = False
    _quiet_since = 0.0
    _was_elsewhere = False

    def connect(self, app: Carboy, connection: Connection) -> None:
        """Bind to the protocol's *connection*; called on its loop, in the task that serves it."""
        self.app = app
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.max_message_size = app.config["WEBSOCKET_MAX_MESSAGE_SIZE"]
        self.idle_timeout = app.config["WEBSOCKET_IDLE_TIMEOUT"]

    if not t.TYPE_CHECKING:

        @lazy
        def scheme(self):
            return "wss" if self.environ["wsgi.url_scheme"] == "https" else "ws"

    @property
    def max_message_size(self) -> int | None:
        """Most bytes of a message received; a larger one closes the connection with 1009. None for no limit."""
        return self._limit

    @max_message_size.setter
    def max_message_size(self, limit: int | None) -> None:
        self._limit = limit
        # PERF: a character has at most four bytes, so that text below this need not be measured.
        self._surely_fits = sys.maxsize if limit is None else limit // 4

    @property
    def requested_subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order of preference."""
        return [name.strip() for name in self.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]

    # -- For handlers ------------------------------------------------------------------

    def accept(self, headers: t.Any = None, subprotocol: str | None = None) -> t.Any:
        """Accept the handshake. The first ``receive`` or ``send`` does so by itself.

        Args:
            headers: More response headers: a mapping, or pairs.
            subprotocol: One of :attr:`requested_subprotocols`.

        Raises:
            RuntimeError: It was accepted or refused before, or the server's
                protocol cannot pass headers or a subprotocol on (RSGI).
            ValueError: The client did not offer the subprotocol.
        """
        return self._run(self._accept(headers, subprotocol))

    def receive(self) -> t.Any:
        """Return the next message, a ``str`` or ``bytes``.

        Raises:
            WebSocketDisconnect: The connection is closed.
        """
        return self._run(self._open_and_receive())

    def receive_json(self) -> t.Any:
        """Return the next message, parsed by the application's JSON provider.

        Raises:
            BadRequest: It is not JSON.
            WebSocketDisconnect: The connection is closed.
        """
        return self._run(self._receive_json())

    def send(self, data: str | bytes) -> t.Any:
        """Send a message; done when there is room for the next.

        A client that reads slowly slows the handler.

        Raises:
            TypeError: *data* is neither text nor bytes.
            WebSocketDisconnect: The connection is closed.
        """
        return self._run(self._open_and_send(data))

    def send_json(self, value: t.Any) -> t.Any:
        """Send *value* as text made by the application's JSON provider."""
        return self.send(self.app.json.dumps(value))

    def close(self, code: int = NORMAL, reason: str = "") -> t.Any:
        """Close the connection; before it was accepted, refuse it with 403.

        Args:
            code: 1000, 1001, 1003, 1007 to 1014, or your own from 3000 to 4999
                (RFC 6455 section 7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code must not be sent, or the reason is too long.
        """
        if not (code in _MAY_BE_SENT or 3000 <= code <= 4999):
            raise ValueError(f"{code} is not a close code that an application may send (RFC 6455 section 7.4).")
        if len(reason.encode()) > 123:
            raise ValueError("The reason of a close frame has at most 123 bytes (RFC 6455 section 5.5).")
        return self._run(self.shut(code, reason))

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()  # type: ignore[no-any-return]
        except WebSocketDisconnect:
            raise StopAsyncIteration from None

    def __iter__(self) -> t.Iterator[str | bytes]:
        while True:
            try:
                yield self.receive()
            except WebSocketDisconnect:
                return

    # -- On the loop -------------------------------------------------------------------

    def _run(self, coroutine: t.Coroutine[t.Any, t.Any, t.Any]) -> t.Any:
        if get_ident() == self._thread:
            return coroutine
        return run_blocking(coroutine, loop=self._loop)

    async def _accept(self, headers: t.Any = None, subprotocol: str | None = None) -> None:
        if self.accepted or self._accepting is not None:
            raise RuntimeError(f"The WebSocket of endpoint {self.endpoint!r} was accepted before.")
        self._require_open()
        if subprotocol is not None and subprotocol not in self.requested_subprotocols:
            raise ValueError(
                f"The client did not offer the subprotocol {subprotocol!r}, but {self.requested_subprotocols}."
            )
        self._accepting = self._loop.create_future()
        try:
            extra = Headers(headers)
            await self._save_session(extra)
            await self._connection.accept(subprotocol, list(extra))
            self.accepted = True
            self.receive = self._make_receive()  # type: ignore[method-assign]
            self.send = self._make_send()  # type: ignore[assignment,method-assign]
            _sweep_of(self._loop).add(self)
        finally:
            self._accepting.set_result(None)
            self._accepting = None

    async def _save_session(self, headers: Headers) -> None:
        """Add to *headers* the cookies of the session, for which this is the last occasion."""
        ctx = _cv_request.get(None)
        session = None if ctx is None else ctx.opened_session
        interface = self.app.session_interface
        if session is None or interface.is_null_session(session):
            return
        is_stock = getattr(interface, "opens_at_first_use", False)
        if is_stock and not self._connection.carries_headers:
            return
        response = self.app.response_class()
        await run_in_thread(interface.save_session, self.app, session, response)
        if is_stock:
            session.modified = False
        if self._connection.carries_headers:
            headers.extend([("Set-Cookie", cookie) for cookie in response.headers.getlist("Set-Cookie")])

    async def _ensure_open(self) -> None:
        self._require_open()
        if self._accepting is not None:
            # By another task of the handler.
            await self._accepting
        elif not self.accepted:
            await self._accept()

    def _require_open(self) -> None:
        if self.close_code is not None:
            raise WebSocketDisconnect(self.close_code, self._reason)

    async def _open_and_receive(self) -> str | bytes:
        await self._ensure_open()
        return await self.receive()  # type: ignore[no-any-return]

    async def _open_and_send(self, data: str | bytes) -> None:
        await self._ensure_open()
        await self.send(data)

    # PERF: while the connection is open, functions that have at hand what each message needs take the place of the two
    # methods (1.2 µs -> 1.0 µs for a message received and sent).

    def _make_receive(self) -> t.Callable[[], t.Any]:
        loop, thread, connection = self._loop, self._thread, self._connection
        receive_event, decode, gone = connection.receive, connection.decode, connection.gone

        async def receive_message() -> str | bytes:
            if self._receiver is not None:
                raise RuntimeError(
                    f"receive() was called while another task waits in receive() (endpoint {self.endpoint!r}). Receive"
                    " in one task and hand the messages on, for instance through an asyncio.Queue."
                )
            if self.close_code is not None:
                self._require_open()
            self._receiver = current_task(loop)
            try:
                message = decode(await (receive_event() if self._ahead is None else self._take_ahead()))
            except WebSocketDisconnect as e:
                self._note_closed(e.code, e.reason)
                raise
            except asyncio.CancelledError:
                if self._receiver is None:
                    # Cancelled by `_wake`: the receiver is to know that the connection is closed, not to end.
                    t.cast("asyncio.Task[t.Any]", current_task()).uncancel()
                    self._require_open()
                raise
            except gone:
                self._note_closed(ABNORMAL, "")
                raise WebSocketDisconnect(ABNORMAL) from None
            finally:
                self._receiver = None
            self._is_quiet = False
            if len(message) > self._surely_fits:
                await self._refuse_if_too_big(message)
            return message

        def receive() -> t.Any:
            if get_ident() == thread:
                return receive_message()
            return run_blocking(receive_message(), loop=loop)

        return receive

    def _make_send(self) -> t.Callable[[str | bytes], t.Any]:
        loop, thread, connection = self._loop, self._thread, self._connection
        send_data, gone = connection.send, connection.gone

        async def send_message(data: t.Any) -> None:
            if self.close_code is not None:
                self._require_open()
            if type(data) is not str and type(data) is not bytes:
                data = self._to_message(data)
            try:
                await send_data(data)
            except gone:
                self._note_closed(ABNORMAL, "")
                raise WebSocketDisconnect(ABNORMAL) from None
            self._is_quiet = False

        def send(data: str | bytes) -> t.Any:
            if get_ident() == thread:
                return send_message(data)
            return run_blocking(send_message(data), loop=loop)

        return send

    async def _refuse_if_too_big(self, message: str | bytes) -> None:
        size = len(message.encode()) if isinstance(message, str) else len(message)
        if self._limit is not None and size > self._limit:
            await self.shut(TOO_BIG, f"A message has more than {self._limit} bytes.")
            self._require_open()

    async def _take_ahead(self) -> t.Any:
        event = await asyncio.shield(t.cast("asyncio.Task[t.Any]", self._ahead))
        self._ahead = None
        return event

    async def _receive_json(self) -> t.Any:
        message = await self.receive()
        try:
            return self.app.json.loads(message)
        except ValueError as e:
            raise BadRequest("The message is not JSON.") from e

    def _to_message(self, data: t.Any) -> str | bytes:
        if isinstance(data, str):
            return str(data)
        if isinstance(data, (bytes, bytearray, memoryview)):
            return bytes(data)
        raise TypeError(
            f"send() takes str or bytes, not {type(data).__name__} (endpoint {self.endpoint!r}); send_json() takes"
            " other values."
        )

    # -- For the engine ----------------------------------------------------------------

    def is_foreign(self, allowed: t.Collection[str] | None) -> bool:
        """Return whether a browser's page of another origin opens this connection (RFC 6455 section 10.2).

        Args:
            allowed: Origins that may, such as ``https://example.com``; ``*`` for
                any; None for those with the host and port of the connection.
        """
        reader = self._reader
        # PERF: the environ, which `headers` is a view of, would be kept as long as the connection (2 KB).
        origin = self.headers.get("Origin") if reader is None else reader.get_header(self._source, "origin")
        if origin is None:
            return False
        if allowed is not None:
            return "*" not in allowed and origin.lower() not in {name.lower().rstrip("/") for name in allowed}
        scheme, _, host = origin.lower().partition("://")
        return _with_port(host, scheme) != _with_port(self.host.lower(), self.scheme)

    async def run_handler(self, handler: t.Coroutine[t.Any, t.Any, T]) -> T:
        """Run an async handler, in a task of its own.

        That is what is cancelled when the client has left. And the callers of the
        handler need not be resumed for each message.
        """
        context = copy_context()
        self._task = self._loop.create_task(handler, context=context)
        try:
            return t.cast(T, await self._task)
        finally:
            self._task = None
            adopt(context)

    def has_left(self, exc: BaseException) -> bool:
        """Return whether *exc* only says that the client has left, or that this side has closed."""
        if isinstance(exc, asyncio.CancelledError):
            return self._left and not t.cast("asyncio.Task[t.Any]", current_task()).cancelling()
        if self.close_code is None:
            # Of another connection, to which the handler has sent something.
            return False
        if isinstance(exc, BaseExceptionGroup):
            # Of a task group in which one task receives and others send.
            return exc.split(WebSocketDisconnect)[1] is None
        return isinstance(exc, WebSocketDisconnect)

    # -- The end -----------------------------------------------------------------------

    def _note_closed(self, code: int, reason: str) -> None:
        if "send" in self.__dict__:
            # They refer to this object. Over RSGI the connection ends when nothing refers to it any more.
            del self.receive, self.send
        if self.close_code is None:
            self.close_code, self._reason = code, reason

    async def shut(self, code: int = NORMAL, reason: str = "") -> None:
        """Close the connection, unless that was done; on its loop."""
        if self.close_code is None:
            self._note_closed(code, reason)
            await self._send_close(code, reason)
        elif self._farewell is not None:
            # A server closes without a code where the application returns before it has sent one.
            await asyncio.wait([self._farewell])

    async def _send_close(self, code: int, reason: str) -> None:
        if not self.accepted:
            await self._connection.refuse(403, [], b"")
            return
        # Granian sends no close frame while a message is waited for.
        self._wake()
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connection.close(code, reason)
        except (self._connection.gone, TimeoutError):
            # The client has left, or reads nothing any more.
            pass

    async def refuse(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer the handshake with an HTTP response; called by the protocol."""
        if self.close_code is None and not self.accepted:
            self._note_closed(ABNORMAL, "")
            await self._connection.refuse(status, headers, body)

    def end(self, code: int = GOING_AWAY, reason: str = "") -> None:
        """Close the connection and wake the handler if it waits in ``receive``.

        Called on the connection's loop: when the server stops, or at a limit.
        """
        if self.close_code is not None:
            return
        self._note_closed(code, reason)
        self._farewell = self._loop.create_task(self._send_close(code, reason), context=Context())
        keep(self._farewell)

    def _wake(self) -> None:
        """End all waiting for messages; who waits in ``receive`` learns that the connection is closed."""
        receiver, self._receiver = self._receiver, None
        if self._ahead is not None:
            self._ahead.cancel()
        if receiver is not None and receiver is not current_task():
            receiver.cancel()

    def _leave(self) -> None:
        """Cancel an async handler that is busy with something else while the client has left."""
        if self._task is not None and not self._left:
            self._left = True
            self._task.cancel()

    def release(self) -> None:
        """Forget the connection; called by the protocol when the handler has ended."""
        _sweep_of(self._loop).open.discard(self)
        if self._ahead is not None:
            self._ahead.cancel()

    def look(self, now: float) -> None:
        """See whether the client is there, and whether anything was said of late; called by the sweep."""
        timeout = self.idle_timeout
        if timeout is not None:
            if not self._is_quiet:
                self._is_quiet = True
                self._quiet_since = now
            elif now - self._quiet_since >= timeout:
                self.end(GOING_AWAY, f"Nothing was said for {timeout} seconds.")
        elsewhere = self._receiver is None
        if elsewhere and self._was_elsewhere:
            if self.close_code is not None:
                self._leave()
            elif self._ahead is None:
                # Only who receives learns that the client has left. One message is held for the handler, no more, so
                # that a busy handler still slows the client.
                self._ahead = self._loop.create_task(_wait_for(self._connection.receive()))
                self._ahead.add_done_callback(self._came_ahead)
        if elsewhere is not self._was_elsewhere:
            # PERF: an attribute more makes CPython give each idle connection a dictionary of its own (1 KB).
            self._was_elsewhere = elsewhere

    def _came_ahead(self, ahead: asyncio.Task[t.Any]) -> None:
        if ahead.cancelled() or self._receiver is not None:
            return
        try:
            self._connection.decode(ahead.result())
        except WebSocketDisconnect as e:
            self._note_closed(e.code, e.reason)
        except self._connection.gone:
            self._note_closed(ABNORMAL, "")
        else:
            return
        self._leave()


async def _wait_for(awaitable: t.Awaitable[t.Any]) -> t.Any:
    return await awaitable


_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443"}


def _with_port(host: str, scheme: str) -> str:
    return host if host.rpartition(":")[2].isdecimal() else f"{host}:{_PORTS.get(scheme, '')}"


class _Sweep:
    """The open WebSockets of one loop, looked at in turn: no timer and no task for each."""

    def __init__(self) -> None:
        self.open: set[WebSocket] = set()
        self._is_due = False

    def add(self, websocket: WebSocket) -> None:
        self.open.add(websocket)
        if not self._is_due:
            self._schedule(websocket._loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = True
        # In an empty context: that of the request which happens to be the first would be kept.
        loop.call_later(SWEEP_INTERVAL, self._look_at_all, loop, context=Context())

    def _look_at_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for websocket in tuple(self.open):
            websocket.look(now)
        self._is_due = False
        if self.open:
            self._schedule(loop)


_sweeps: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Sweep] = weakref.WeakKeyDictionary()


def _sweep_of(loop: asyncio.AbstractEventLoop) -> _Sweep:
    sweep = _sweeps.get(loop)
    if sweep is None:
        sweep = _sweeps[loop] = _Sweep()
    return sweep
