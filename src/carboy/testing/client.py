"""Make requests to an application without a server, over any of its protocols."""

from __future__ import annotations

import importlib.metadata
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from copy import copy
from functools import cache
from types import TracebackType
from urllib.parse import urlsplit

import werkzeug.test
from werkzeug.datastructures import Headers
from werkzeug.test import Client, TestResponse, run_wsgi_app
from werkzeug.wrappers import Request
from werkzeug.wsgi import get_current_url

from ..context import _cv_app, _cv_request
from ..signals import appcontext_pushed
from .connections import (
    TIMEOUT,
    ASGILifespan,
    AsyncEventStream,
    AsyncWebSocketConnection,
    EventStream,
    Lifespan,
    RSGILifespan,
    WebSocketConnection,
    WSGILifespan,
    during,
)
from .exchange import HeaderList, run, status_line
from .lint import lint_asgi, lint_rsgi, lint_wsgi
from .protocols import ASGIServer, RSGIServer, Server, WSGIServer, asgi_as_wsgi, rsgi_as_wsgi

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from ..app import Carboy
    from ..sessions import SessionMixin

Protocol = t.Literal["wsgi", "asgi", "rsgi"]

LIFESPAN_TIMEOUT = 15.0
"""Seconds that the start and the end of an application may take: more than background tasks have at its end."""


class EnvironBuilder(werkzeug.test.EnvironBuilder):
    """A WSGI environ with the application's own defaults.

    Args:
        app: Its ``SERVER_NAME``, ``APPLICATION_ROOT`` and ``PREFERRED_URL_SCHEME`` say where *path* is served.
        path: The path, or a whole URL, with or without a query string.
        base_url: Where the application is served; replaces what its configuration says.
        subdomain: Put before ``SERVER_NAME``.
        url_scheme: Replaces ``PREFERRED_URL_SCHEME``.
        *args: Passed to :class:`werkzeug.test.EnvironBuilder`.
        **kwargs: Passed to :class:`werkzeug.test.EnvironBuilder`. What is given as ``json`` is serialized by
            ``app.json``.

    Raises:
        TypeError: *base_url* is given together with *subdomain* or *url_scheme*.
    """

    def __init__(
        self,
        app: Carboy,
        path: str = "/",
        base_url: str | None = None,
        subdomain: str | None = None,
        url_scheme: str | None = None,
        *args: t.Any,
        **kwargs: t.Any,
    ) -> None:
        if base_url is None:
            url = urlsplit(path)
            host = app.config.get("SERVER_NAME") or "localhost"
            if subdomain:
                host = f"{subdomain}.{host}"
            scheme = url.scheme or url_scheme or app.config["PREFERRED_URL_SCHEME"]
            base_url = f"{scheme}://{url.netloc or host}/{app.config['APPLICATION_ROOT'].lstrip('/')}"
            path = f"{url.path}?{url.query}" if url.query else url.path
        elif subdomain or url_scheme:
            raise TypeError("'base_url' holds the scheme and the host: leave out 'subdomain' and 'url_scheme'.")
        self.app = app
        super().__init__(path, base_url, *args, **kwargs)

    def json_dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Serialize *obj* as the application would."""
        return self.app.json.dumps(obj, **kwargs)


@cache
def _werkzeug_version() -> str:
    return importlib.metadata.version("werkzeug")


class FlaskClient(Client):
    """A client that calls the application directly and keeps cookies.

    Usually made by :meth:`carboy.Carboy.test_client`. Inside ``with client:`` the contexts of the latest request stay
    active after it, so that ``request``, ``session`` and ``g`` can be looked at.

    Args:
        *args: Passed to :class:`werkzeug.test.Client`: the application and the class of the responses.
        protocol: What the application is driven over: ``"wsgi"``, ``"asgi"`` or ``"rsgi"``. Only what such a server
            would pass reaches the application: of the environ, the HTTP headers, the body, the addresses and the URL.
        lint: Hold the application to the specification of its protocol; see :mod:`carboy.testing.lint`.
        **kwargs: Passed to :class:`werkzeug.test.Client`.

    Attributes:
        environ_base: Keys of the environ that every request starts from.
    """

    application: Carboy

    def __init__(self, *args: t.Any, protocol: Protocol = "wsgi", lint: bool = False, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        if protocol not in ("wsgi", "asgi", "rsgi"):
            raise ValueError(f"The protocol is 'wsgi', 'asgi' or 'rsgi', not {protocol!r}.")
        self.protocol = protocol
        self.lint = lint
        self.preserve_context = False
        self._new_contexts: list[AbstractContextManager[t.Any]] = []
        self._context_stack = ExitStack()
        self.environ_base: dict[str, t.Any] = {
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_USER_AGENT": f"Werkzeug/{_werkzeug_version()}",
        }

    @contextmanager
    def session_transaction(self, *args: t.Any, **kwargs: t.Any) -> Iterator[SessionMixin]:
        """Open the client's session; what the block leaves in it is saved.

        Args:
            *args: Passed to ``app.test_request_context``, in which the session is opened and saved.
            **kwargs: Likewise.

        Raises:
            TypeError: The client keeps no cookies.
            RuntimeError: The session interface opened no session: mostly, there is no ``SECRET_KEY``.
        """
        if self._cookies is None:
            raise TypeError("Cookies are disabled. Create a client with 'use_cookies=True'.")
        app = self.application
        interface = app.session_interface
        ctx = app.test_request_context(*args, **kwargs)
        request = ctx.request
        self._add_cookies_to_wsgi(request.environ)
        with ctx:
            session = interface.open_session(app, request)
        if session is None:
            raise RuntimeError("Session backend did not open a session.")
        yield session
        if interface.is_null_session(session):
            return
        response = app.response_class()
        with ctx:
            interface.save_session(app, session, response)
        host = request.host.partition(":")[0]
        self._update_cookies_from_response(host, request.path, response.headers.getlist("Set-Cookie"))

    def open(
        self, *args: t.Any, buffered: bool = False, follow_redirects: bool = False, **kwargs: t.Any
    ) -> TestResponse:
        """Make a request and return the response.

        Args:
            *args: What :class:`EnvironBuilder` takes after the application; or, as the only one, a builder, an
                environ or a request.
            buffered: Read the whole body and close it before returning.
            follow_redirects: Go on to where redirects point; ``response.history`` holds those passed.
            **kwargs: As *args*.
        """
        request = self._as_request(args, kwargs)
        # What an earlier request in the same block, or the redirect that led here, has kept.
        self._context_stack.close()
        response = super().open(request, buffered=buffered, follow_redirects=follow_redirects)
        response.json_module = self.application.json  # type: ignore[assignment]
        # A large upload lies in a temporary file; Werkzeug closes it only where redirects are followed.
        response.call_on_close(request.input_stream.close)
        for context in self._new_contexts:
            self._context_stack.enter_context(context)
        self._new_contexts.clear()
        return response

    def _as_request(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> Request:
        given = args[0] if args else None
        if isinstance(given, werkzeug.test.EnvironBuilder):
            builder = copy(given)
            builder.environ_base = self._copy_environ(builder.environ_base or {})
            return builder.get_request()
        if isinstance(given, dict):
            base = self._copy_environ({})
            return EnvironBuilder.from_environ(given, app=self.application, environ_base=base).get_request()
        if isinstance(given, Request):
            request = copy(given)
            request.environ = self._copy_environ(request.environ)
            return request
        return self._request_from_builder_args(args, kwargs)

    def _request_from_builder_args(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> Request:
        kwargs["environ_base"] = self._copy_environ(kwargs.get("environ_base", {}))
        builder = EnvironBuilder(self.application, *args, **kwargs)
        try:
            return builder.get_request()
        finally:
            builder.close()

    def _copy_environ(self, other: Mapping[str, t.Any]) -> WSGIEnvironment:
        environ = {**self.environ_base, **other}
        if self.preserve_context:
            environ["werkzeug.debug.preserve_context"] = self._new_contexts.append
        return environ

    def websocket(
        self,
        *args: t.Any,
        subprotocols: Iterable[str] = (),
        timeout: float = TIMEOUT,
        http_response: bool = True,
        **kwargs: t.Any,
    ) -> WebSocketConnection:
        """Return a WebSocket, which ``with`` opens and closes.

        No ``Origin`` header is sent, as by a client that is not a browser, unless it is among *headers*. Over WSGI,
        every application refuses.

        Example::

            with client.websocket("/echo") as ws:
                ws.send("hello")
                assert ws.receive() == "hello"

        Args:
            *args: As for :meth:`open`; the scheme may also be ``ws`` or ``wss``.
            subprotocols: Those that the client offers, the one it prefers first.
            timeout: Seconds that each wait may take, at most.
            http_response: Whether the server can refuse with any HTTP response (ASGI's extension
                ``websocket.http.response``), as most can, or only with 403.
            **kwargs: As *args*.

        Raises:
            WebSocketRefused: On entering, when the application answers with an HTTP response.
        """
        return WebSocketConnection(self._websocket(args, kwargs, subprotocols, timeout, http_response))

    def events(self, *args: t.Any, last_event_id: str = "", timeout: float = TIMEOUT, **kwargs: t.Any) -> EventStream:
        """Return a stream of server-sent events, which ``with`` opens and leaves.

        Example::

            with client.events("/news") as events:
                assert next(events).data == "first"

        Args:
            *args: As for :meth:`open`.
            last_event_id: What a client sends that reconnects.
            timeout: Seconds that each wait may take, at most.
            **kwargs: As *args*.

        Raises:
            EventStreamRefused: On entering, when the response is not 200 with an event stream.
        """
        return EventStream(self._events(args, kwargs, last_event_id, timeout))

    @contextmanager
    def lifespan(self, timeout: float = LIFESPAN_TIMEOUT) -> Iterator[None]:
        """Start the application as a server does, run the block, shut the application down.

        Args:
            timeout: Seconds that the start may take, and the end.

        Raises:
            StartupError: A serving hook failed at the start; over ASGI, which passes on no more, with the message only.
            ShutdownError: Serving hooks failed at the end.
        """
        manager = self._lifespan(timeout)
        run(manager.__aenter__())
        try:
            yield
        except BaseException as e:
            run(manager.__aexit__(type(e), e, e.__traceback__))
            raise
        run(manager.__aexit__(None, None, None))

    def _websocket(
        self,
        args: tuple[t.Any, ...],
        kwargs: dict[str, t.Any],
        subprotocols: Iterable[str],
        timeout: float,
        http_response: bool,
    ) -> AsyncWebSocketConnection:
        offered = [subprotocols] if isinstance(subprotocols, str) else list(subprotocols)
        if args and isinstance(args[0], str):
            args = (_as_http(args[0]), *args[1:])
        for name in ("path", "base_url", "url_scheme"):
            if isinstance(kwargs.get(name), str):
                kwargs[name] = _as_http(kwargs[name])
        request = self._as_long_request(args, kwargs)
        environ = request.environ
        environ["HTTP_CONNECTION"] = "Upgrade"
        environ["HTTP_UPGRADE"] = "websocket"
        environ["HTTP_SEC_WEBSOCKET_VERSION"] = "13"
        # PERF: any will do: the example of RFC 6455 1.3.
        environ["HTTP_SEC_WEBSOCKET_KEY"] = "dGhlIHNhbXBsZSBub25jZQ=="
        if offered:
            environ["HTTP_SEC_WEBSOCKET_PROTOCOL"] = ", ".join(offered)
        return AsyncWebSocketConnection(
            self._server(), request, self._respond, self.application.json, offered, timeout, http_response
        )

    def _events(
        self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any], last_event_id: str, timeout: float
    ) -> AsyncEventStream:
        request = self._as_long_request(args, kwargs)
        request.environ.setdefault("HTTP_ACCEPT", "text/event-stream")
        request.environ.setdefault("HTTP_CACHE_CONTROL", "no-store")
        if last_event_id:
            request.environ["HTTP_LAST_EVENT_ID"] = last_event_id.encode().decode("latin-1")
        return AsyncEventStream(self._server(), request, self._respond, last_event_id, timeout)

    def _as_long_request(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> Request:
        request = self._as_request(args, kwargs)
        # Its context is not one to look at after it, in a block of the client's.
        request.environ.pop("werkzeug.debug.preserve_context", None)
        self._add_cookies_to_wsgi(request.environ)
        return request

    def _lifespan(self, timeout: float) -> AbstractAsyncContextManager[None]:
        app = self.application
        lifespan: Lifespan
        if self.protocol == "asgi":
            lifespan = ASGILifespan(lint_asgi(app) if self.lint else app)
        else:
            lifespan = RSGILifespan(app) if self.protocol == "rsgi" else WSGILifespan(app)
        return during(lifespan, timeout)

    def _server(self) -> Server:
        app = self.application
        if self.protocol == "asgi":
            return ASGIServer(lint_asgi(app) if self.lint else app)
        if self.protocol == "rsgi":
            return RSGIServer(lint_rsgi(app.__rsgi__) if self.lint else app.__rsgi__)
        return WSGIServer(lint_wsgi(app) if self.lint else app)

    def _respond(self, status: int, headers: HeaderList, body: bytes, request: Request) -> TestResponse:
        """Keep the cookies of a response and make an object of it."""
        response = self.response_wrapper([body], status_line(status), Headers(headers), request=request)
        response.json_module = self.application.json  # type: ignore[assignment]
        self._keep_cookies(request.environ, response.headers)
        return response

    def _keep_cookies(self, environ: WSGIEnvironment, headers: Headers) -> None:
        url = urlsplit(get_current_url(environ))
        self._update_cookies_from_response(url.hostname or "localhost", url.path, headers.getlist("Set-Cookie"))

    def run_wsgi_app(self, environ: WSGIEnvironment, buffered: bool = False) -> tuple[Iterable[bytes], str, Headers]:
        """Make one request, cookies included, over the client's protocol."""
        self._add_cookies_to_wsgi(environ)
        if self.preserve_context and self.protocol != "wsgi":
            # No server of these passes the environ's key on.
            with appcontext_pushed.connected_to(self._keep_context, self.application):
                result = run_wsgi_app(self._bridge(), environ, buffered=buffered)
        else:
            result = run_wsgi_app(self._bridge(), environ, buffered=buffered)
        lifecycle = vars(self.application).get("lifecycle")
        if lifecycle is not None and lifecycle.tasks.deferred and "Content-Length" in result[2]:
            # Background tasks wait until the body was sent and closed, which servers do at once where it is whole.
            body = result[0]
            result = [b"".join(body)], *result[1:]
            if hasattr(body, "close"):
                body.close()
        self._keep_cookies(environ, result[2])
        return result

    def _keep_context(self, app: Carboy) -> None:
        context = _cv_request.get(None)
        # That of a background task has a request that was answered already.
        if context is not None and context is _cv_app.get(None) and context.request.has_response:
            self._new_contexts.append(context)

    def _bridge(self) -> WSGIApplication:
        app = self.application
        if self.protocol == "asgi":
            return asgi_as_wsgi(lint_asgi(app) if self.lint else app)
        if self.protocol == "rsgi":
            return rsgi_as_wsgi(lint_rsgi(app.__rsgi__) if self.lint else app.__rsgi__)
        return lint_wsgi(app) if self.lint else app

    def __enter__(self) -> t.Self:
        if self.preserve_context:
            raise RuntimeError("Cannot nest client invocations")
        self.preserve_context = True
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.preserve_context = False
        self._context_stack.close()


def _as_http(url: str) -> str:
    """Return the URL, or its scheme, with which the handshake of a WebSocket begins (RFC 6455 4.1)."""
    scheme, separator, rest = url.partition("://")
    return {"ws": "http", "wss": "https"}.get(scheme, scheme) + separator + rest
