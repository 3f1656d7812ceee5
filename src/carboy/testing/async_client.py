"""Make requests to an application without a server, from async tests."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from types import TracebackType

from werkzeug.datastructures import Headers
from werkzeug.test import ClientRedirectError, TestResponse
from werkzeug.wrappers import Request

from ..signals import appcontext_pushed
from .client import LIFESPAN_TIMEOUT, FlaskClient, Protocol
from .connections import TIMEOUT, AsyncEventStream, AsyncWebSocketConnection
from .exchange import AwaitedBody, status_line
from .protocols import in_own_thread

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..sessions import SessionMixin

REDIRECTS = frozenset((301, 302, 303, 305, 307, 308))


class AsyncResponse(TestResponse):
    """A response whose body may still be on its way.

    After a request with ``buffered=False``: iterate it with ``async for`` to have the parts of the body as they come,
    or :meth:`read` the whole, which ``data``, ``text`` and ``json`` need. Leaving ``async with`` closes the connection.
    """

    history: tuple[TestResponse, ...] = ()
    _unread: AwaitedBody

    async def read(self) -> bytes:
        """Wait for the rest of the body and return it."""
        if isinstance(self.response, _Unread):
            self.response = [part async for part in self._unread]
        return self.get_data()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self.response, _Unread):
            for part in self.iter_encoded():
                yield part
            return
        try:
            async for part in self._unread:
                yield part
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection, if the body was not read to its end, and wait until the application has noticed."""
        await self._unread.aclose()
        self.close()

    async def __aenter__(self) -> t.Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


class _Unread:
    """A body that only ``await`` can read."""

    def __iter__(self) -> t.NoReturn:
        raise RuntimeError(
            "The body of this response was not read. Use 'await response.read()' or 'async for part in response', or"
            " make the request without 'buffered=False'."
        )


class _Requests(FlaskClient):
    """Builds requests and keeps cookies; to open one is left to the async client."""

    def open(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        return self._as_request(args, {name: value for name, value in kwargs.items() if name != "buffered"})


class AsyncClient:
    """A client that calls the application directly, on the event loop that the test runs on, and keeps cookies.

    Usually made by :meth:`carboy.Carboy.async_test_client`. It has the methods of :class:`FlaskClient`, to be awaited.
    What the application and the test use on their loop (locks, queues, connection pools) they can share. Inside
    ``async with client:`` the contexts of the latest request stay active after it.

    Args:
        application: The application.
        response_wrapper: The class of the responses.
        use_cookies: Keep cookies from answer to request.
        protocol: What the application is driven over: ``"asgi"``, ``"rsgi"`` or, in threads, ``"wsgi"``.
        lint: Hold the application to the specification of its protocol; see :mod:`carboy.testing.lint`.
        **kwargs: Passed to :class:`werkzeug.test.Client`.
    """

    def __init__(
        self,
        application: Carboy,
        response_wrapper: type[t.Any] | None = None,
        use_cookies: bool = True,
        *,
        protocol: Protocol = "asgi",
        lint: bool = False,
        **kwargs: t.Any,
    ) -> None:
        self._client = _Requests(application, response_wrapper, use_cookies, protocol=protocol, lint=lint, **kwargs)
        wrapper = self._client.response_wrapper
        self._response_class: type[AsyncResponse] = type("AsyncResponse", (AsyncResponse, wrapper), {})
        self.application = application
        self.protocol = protocol
        self.set_cookie = self._client.set_cookie
        self.get_cookie = self._client.get_cookie
        self.delete_cookie = self._client.delete_cookie

    @property
    def environ_base(self) -> dict[str, t.Any]:
        """Keys of the environ that every request starts from."""
        return self._client.environ_base

    @environ_base.setter
    def environ_base(self, environ: dict[str, t.Any]) -> None:
        self._client.environ_base = environ

    async def open(
        self, *args: t.Any, buffered: bool = True, follow_redirects: bool = False, **kwargs: t.Any
    ) -> AsyncResponse:
        """Make a request and return the response.

        Args:
            *args: What :class:`EnvironBuilder` takes after the application; or, as the only one, a builder, an
                environ or a request.
            buffered: Read the whole body before returning.
            follow_redirects: Go on to where redirects point; ``response.history`` holds those passed.
            **kwargs: As *args*.
        """
        client = self._client
        request = client._as_request(args, kwargs)
        # What an earlier request in the same block has kept.
        client._context_stack.close()
        response = await self._exchange(request)
        history: list[TestResponse] = []
        seen: set[tuple[str | None, int]] = set()
        while follow_redirects and response.status_code in REDIRECTS:
            await response.read()
            place = response.location, response.status_code
            if place in seen:
                raise ClientRedirectError(f"The redirect to {response.location} goes in a circle.")
            seen.add(place)
            history.append(response)
            client._new_contexts.clear()
            response = await self._exchange(t.cast(Request, client.resolve_redirect(response)))
        response.history = tuple(history)
        if buffered:
            await response.read()
        for context in client._new_contexts:
            client._context_stack.enter_context(context)
        client._new_contexts.clear()
        return response

    async def _exchange(self, request: Request) -> AsyncResponse:
        client = self._client
        environ = request.environ
        client._add_cookies_to_wsgi(environ)
        with ExitStack() as stack:
            if client.preserve_context and self.protocol != "wsgi":
                stack.enter_context(appcontext_pushed.connected_to(client._keep_context, self.application))
            body = AwaitedBody(partial(client._server().http, environ.copy()), environ)
            try:
                status, headers = await body.head()
            except BaseException:
                body.abandon()
                raise
        response = self._response_class(_Unread(), status_line(status), Headers(headers), request=request)
        response._unread = body
        response.json_module = self.application.json  # type: ignore[assignment]
        # A large upload lies in a temporary file.
        response.call_on_close(request.input_stream.close)
        client._keep_cookies(environ, response.headers)
        return response

    async def get(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``GET``."""
        return await self.open(*args, **kwargs, method="GET")

    async def head(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``HEAD``."""
        return await self.open(*args, **kwargs, method="HEAD")

    async def post(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``POST``."""
        return await self.open(*args, **kwargs, method="POST")

    async def put(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``PUT``."""
        return await self.open(*args, **kwargs, method="PUT")

    async def patch(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``PATCH``."""
        return await self.open(*args, **kwargs, method="PATCH")

    async def delete(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``DELETE``."""
        return await self.open(*args, **kwargs, method="DELETE")

    async def options(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``OPTIONS``."""
        return await self.open(*args, **kwargs, method="OPTIONS")

    async def trace(self, *args: t.Any, **kwargs: t.Any) -> AsyncResponse:
        """Call :meth:`open` with the method ``TRACE``."""
        return await self.open(*args, **kwargs, method="TRACE")

    def websocket(
        self,
        *args: t.Any,
        subprotocols: Iterable[str] = (),
        timeout: float = TIMEOUT,
        http_response: bool = True,
        **kwargs: t.Any,
    ) -> AsyncWebSocketConnection:
        """Return a WebSocket, which ``async with`` opens and closes; see :meth:`FlaskClient.websocket`."""
        return self._client._websocket(args, kwargs, subprotocols, timeout, http_response)

    def events(
        self, *args: t.Any, last_event_id: str = "", timeout: float = TIMEOUT, **kwargs: t.Any
    ) -> AsyncEventStream:
        """Return an event stream, which ``async with`` opens and leaves; see :meth:`FlaskClient.events`."""
        return self._client._events(args, kwargs, last_event_id, timeout)

    def lifespan(self, timeout: float = LIFESPAN_TIMEOUT) -> AbstractAsyncContextManager[None]:
        """Start the application as a server does, run the block, shut it down; see :meth:`FlaskClient.lifespan`."""
        return self._client._lifespan(timeout)

    @asynccontextmanager
    async def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> AsyncIterator[SessionMixin]:
        """Open the client's session; what the block leaves in it is saved.

        The session interface is called in a thread, where it may block.

        Args:
            *args: Passed to ``app.test_request_context``, in which the session is opened and saved.
            **kwargs: Likewise.
        """
        manager = self._client.session_transaction(*args, **kwargs)
        session = await in_own_thread(manager.__enter__)
        try:
            yield session
        except BaseException as e:
            await in_own_thread(manager.__exit__, type(e), e, e.__traceback__)
            raise
        await in_own_thread(manager.__exit__, None, None, None)

    async def __aenter__(self) -> t.Self:
        self._client.__enter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._client.__exit__(exc_type, exc, tb)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.application!r}>"
