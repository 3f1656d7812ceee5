"""What belongs to one request, and what belongs to one use of an application.

Two context variables are bound, as in Flask 3.1, because 3.1 lets an application
context be entered inside a request while ``request`` stays visible. In an
ordinary request both hold one and the same object: a :class:`RequestContext` is
an application context too (Flask 3.2's merged context), unless a context of the
same application was already active, whose ``g`` it then shares.

Contexts are made anew for each use, never pooled: extensions key their own state
on a context's identity. They have a ``__dict__``: extensions store on them.

Inside carboy the context is passed along; the proxies are for users.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import sys
import typing as t
from contextvars import ContextVar
from types import TracebackType

from werkzeug.exceptions import HTTPException

from .concurrency import close_iterable, give_up, run_in, step
from .lazy import lazy
from .signals import appcontext_popped, appcontext_pushed

if t.TYPE_CHECKING:
    from werkzeug.routing import MapAdapter

    from .app import Carboy
    from .http.request import Request
    from .http.websocket import WebSocket
    from .sessions import SessionMixin
    from .typing import AfterRequestCallable

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
Self = t.TypeVar("Self", bound="AppContext")

# COMPAT: Flask 3.1 tells "no exception given" from None with a sentinel.
_sentinel: t.Any = object()

_cv_app: ContextVar[AppContext | None] = ContextVar("carboy.app_ctx")
_cv_request: ContextVar[RequestContext | None] = ContextVar("carboy.request_ctx")

NO_APP_MESSAGE = """\
Working outside of application context.

What you used needs to know the current application, and none is active here: this is not a request, and no
context was entered. Put the code inside 'with app.app_context():' (tests, scripts, threads), or run it as a
command of the application ('carboy shell', '@app.cli.command').\
"""
NO_REQUEST_MESSAGE = """\
Working outside of request context.

What you used needs an active HTTP request, and none is being handled here. In a test, use the test client or
'with app.test_request_context(...):'; in a thread or task started by a view, wrap the function with
'copy_current_request_context', or pass it the values that it needs.\
"""
NO_WEBSOCKET_MESSAGE = """\
Working outside of a WebSocket's context.

'websocket' stands for the WebSocket whose handler is running, and none is here: this is an HTTP request, or no request
at all. Handlers are registered with '@app.websocket("/path")'; what runs elsewhere (another thread, a task that
outlives the handler) needs the object itself, 'websocket._get_current_object()', handed over by the handler.\
"""


def current_app_context() -> AppContext:
    """Return the active application context.

    Raises:
        RuntimeError: No application context is active.
    """
    ctx = _cv_app.get(None)
    if ctx is None:
        raise RuntimeError(NO_APP_MESSAGE)
    return ctx


def current_request_context() -> RequestContext:
    """Return the active request context.

    Raises:
        RuntimeError: No request context is active.
    """
    ctx = _cv_request.get(None)
    if ctx is None:
        raise RuntimeError(NO_REQUEST_MESSAGE)
    return ctx


def has_app_context() -> bool:
    """Return whether an application context is active."""
    return _cv_app.get(None) is not None


def current_websocket() -> WebSocket:
    """Return the WebSocket that is being handled.

    Raises:
        RuntimeError: None is.
    """
    ctx = _cv_request.get(None)
    if ctx is None or not ctx.request.is_websocket:
        raise RuntimeError(NO_WEBSOCKET_MESSAGE)
    return ctx.request  # type: ignore[return-value]


def has_websocket_context() -> bool:
    """Return whether a WebSocket is being handled."""
    ctx = _cv_request.get(None)
    return ctx is not None and ctx.request.is_websocket


def has_request_context() -> bool:
    """Return whether a request context is active."""
    return _cv_request.get(None) is not None


class _AppCtxGlobals:
    """The namespace behind ``g``: attributes for the time of one context."""

    def __getattr__(self, name: str) -> t.Any:
        # Only reached for a missing name; declared so that type checkers let any name pass.
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: t.Any) -> None:
        self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self.__dict__:
            raise AttributeError(name)
        del self.__dict__[name]

    def get(self, name: str, default: t.Any = None) -> t.Any:
        """Return the attribute *name*, or *default*."""
        return self.__dict__.get(name, default)

    def pop(self, name: str, default: t.Any = _sentinel) -> t.Any:
        """Remove the attribute *name* and return it, or *default*.

        Raises:
            KeyError: There is no such attribute, and no default was given.
        """
        return self.__dict__.pop(name) if default is _sentinel else self.__dict__.pop(name, default)

    def setdefault(self, name: str, default: t.Any = None) -> t.Any:
        """Return the attribute *name*, setting it to *default* if missing."""
        return self.__dict__.setdefault(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.__dict__)

    def __repr__(self) -> str:
        ctx = _cv_app.get(None)
        return object.__repr__(self) if ctx is None else f"<flask.g of '{ctx.app.name}'>"


def _reset(variable: ContextVar[t.Any], token: contextvars.Token[t.Any] | None) -> None:
    if token is None:
        return
    try:
        variable.reset(token)
    except (ValueError, RuntimeError):
        # Pushed in one thread or task and popped in another, each with a copy of the variables.
        old = token.old_value
        variable.set(None if old is contextvars.Token.MISSING else old)


class AppContext:
    """An application in use: carries ``app`` and ``g``.

    Entered with ``with app.app_context():``, or ``async with`` on an event loop,
    where async teardown functions are awaited.
    """

    _request: Request | None = None

    def __init__(self, app: Carboy) -> None:
        self.app = app
        self._cv_tokens: list[t.Any] = []

    @lazy
    def g(self) -> t.Any:
        """The namespace behind the ``g`` proxy; see ``app.app_ctx_globals_class``."""
        return self.app.app_ctx_globals_class()

    @lazy
    def url_adapter(self) -> MapAdapter | None:
        """Builds URLs; None outside a request without ``SERVER_NAME``."""
        return self.app.create_url_adapter(None)

    @property
    def has_request(self) -> bool:
        """Whether this context was made for a request (Flask 3.2)."""
        return self._request is not None

    def push(self) -> None:
        """Make this the active context."""
        self._cv_tokens.append(_cv_app.set(self))
        if appcontext_pushed.receivers:
            try:
                appcontext_pushed.send(self.app, _async_wrapper=self.app.ensure_sync)
            except BaseException:
                _reset(_cv_app, self._cv_tokens.pop())
                raise

    def pop(self, exc: BaseException | None = _sentinel) -> None:
        """Leave this context; the last pop runs the teardown functions.

        Args:
            exc: The exception that ended the work, for the teardown functions;
                by default the one being handled.
        """
        step(self._pop(sys.exc_info()[1] if exc is _sentinel else exc, inline=True))

    async def _pop(self, exc: BaseException | None, inline: bool) -> None:
        try:
            if len(self._cv_tokens) == 1:
                await self.app._teardown_appcontext(self, exc, inline)
        finally:
            current = _cv_app.get(None)
            _reset(_cv_app, self._cv_tokens.pop())
        if current is not self:
            raise AssertionError(f"Popped wrong app context. ({current!r} instead of {self!r})")
        if appcontext_popped.receivers:
            appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)

    def __enter__(self: Self) -> Self:
        self.push()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.pop(exc_value)

    async def __aenter__(self: Self) -> Self:
        self.push()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._pop(exc_value, inline=False)


class RequestContext(AppContext):
    """One request in an application: ``request``, ``session``, ``g``, ``app``.

    Made by ``app.request_context`` and ``app.test_request_context``.
    """

    flashes: list[tuple[str, str]] | None = None

    def __init__(
        self,
        app: Carboy,
        environ: dict[str, t.Any] | None = None,
        request: Request | None = None,
        session: SessionMixin | None = None,
    ) -> None:
        self.app = app
        if request is None:
            if environ is None:
                raise TypeError("RequestContext needs 'environ' or 'request'.")
            request = app.request_class(environ)
        request.json_module = app.json
        self.request = request
        if session is not None:
            self.opened_session = session
        self._cv_tokens = []

    @classmethod
    def from_environ(cls, app: Carboy, environ: dict[str, t.Any], /) -> t.Self:
        """Return a new context for a WSGI environ (Flask 3.2)."""
        return cls(app, environ)

    @property
    def has_request(self) -> bool:
        """True: this context was made for a request (Flask 3.2)."""
        return True

    # PERF: plain attributes behind properties. Looking into __dict__ would make CPython build one for each request.
    opened_session: SessionMixin | None = None
    after_functions: list[AfterRequestCallable[t.Any]] | None = None

    @property
    def _after_request_functions(self) -> list[AfterRequestCallable[t.Any]]:
        if self.after_functions is None:
            self.after_functions = []
        return self.after_functions

    @lazy
    def url_adapter(self) -> MapAdapter | None:
        """Matches and builds URLs for this request; None if its Host is bad."""
        try:
            return self.app.create_url_adapter(self.request)
        except HTTPException as e:
            self.request.routing_exception = e
            return None

    @property
    def _session(self) -> SessionMixin:
        # The stock cookie session is opened here, at first touch; others at push.
        session = self.opened_session
        if session is None:
            interface = self.app.session_interface
            session = interface.open_session(self.app, self.request)
            if session is None:
                session = interface.make_null_session(self.app)
            self.opened_session = session
        return session

    @_session.setter
    def _session(self, session: SessionMixin) -> None:
        self.opened_session = session

    @property
    def session(self) -> SessionMixin:
        """The session; reading it here marks it as accessed (Flask 3.1.3)."""
        session = self._session
        session.accessed = True
        return session

    def copy(self) -> RequestContext:
        """Return a new context for the same request and session.

        To be entered in another greenlet or thread; the request object itself is
        shared, so it must not be used from two at once.
        """
        return type(self)(self.app, self.request.environ, self.request, self.opened_session)

    def match_request(self) -> None:
        """Find the rule for the request; a miss is kept as ``routing_exception``."""
        adapter = self.url_adapter
        if adapter is not None:
            request = self.request
            try:
                request.url_rule, request.view_args = adapter.match(return_rule=True)  # type: ignore[assignment]
            except HTTPException as e:
                request.routing_exception = e

    def bind(self) -> None:
        """Make this the active context; neither opens the session nor matches."""
        app = self.app
        current = _cv_app.get(None)
        if current is None or current.app is not app:
            app_token = _cv_app.set(self)
            self._cv_tokens.append((_cv_request.set(self), app_token))
            if appcontext_pushed.receivers:
                try:
                    appcontext_pushed.send(app, _async_wrapper=app.ensure_sync)
                except BaseException:
                    # Nobody would leave a context that was not entered.
                    self._leave_app(t.cast(t.Any, self._leave_request()))
                    raise
        else:
            self._cv_tokens.append((_cv_request.set(self), None))

    def unbind_copy(self) -> contextvars.Context:
        """Return a copy of the variables with this context active; leave it here.

        For the thread or task that goes on with the request in that copy.
        """
        request_token, app_token = self._cv_tokens.pop()
        _cv_request.reset(request_token)
        if app_token is not None:
            _cv_app.reset(app_token)
        context = contextvars.copy_context()
        # PERF: to use there the tokens of this context would raise, three times, with a message made at some expense.
        context.run(self._bind_again, app_token is not None)
        return context

    def _bind_again(self, with_app: bool) -> None:
        self._cv_tokens.append((_cv_request.set(self), _cv_app.set(self) if with_app else None))

    def push(self) -> None:
        """Make this the active context, open the session, match the URL."""
        self.bind()
        self.open()
        request = self.request
        # COMPAT: Flask 3.1 matches at every push; a second match would undo what url processors did.
        if request.url_rule is None and request.routing_exception is None:
            self.match_request()

    def open(self) -> None:
        """Open the session now, unless it can wait for its first use."""
        if not getattr(self.app.session_interface, "opens_at_first_use", False):
            self._session  # noqa: B018 - computed by being read

    async def _pop(self, exc: BaseException | None, inline: bool) -> None:
        app = self.app
        failed = True
        try:
            try:
                if len(self._cv_tokens) == 1:
                    await app._teardown_request(self, exc, inline)
            finally:
                app_token = self._leave_request()
                if app_token is not None:
                    try:
                        # A body that is still to be made keeps it (see stream_with_context).
                        if not self._cv_tokens:
                            await app._teardown_appcontext(self, exc, inline)
                    finally:
                        self._leave_app(app_token)
            failed = False
        finally:
            background = self.request.background
            if background is not None and not self._cv_tokens:
                background.context_left(self, failed)

    def leave(self) -> None:
        """Leave this context, for which no teardown function is registered."""
        if len(self._cv_tokens) == 1 and _cv_request.get(None) is self and not appcontext_popped.receivers:
            # PERF: the two methods below in one, for the ordinary case.
            request_token, app_token = self._cv_tokens.pop()
            try:
                _cv_request.reset(request_token)
                if app_token is not None:
                    _cv_app.reset(app_token)
            except (ValueError, RuntimeError):
                _reset(_cv_request, request_token)
                _reset(_cv_app, app_token)
            request = self.request
            if request.form_is_parsed or request._input is not None or not request.closes_plainly:
                request.close()
            if request.environ_is_made:
                request.environ["werkzeug.request"] = None
            return
        app_token = self._leave_request()
        if app_token is not None:
            self._leave_app(app_token)

    def _leave_request(self) -> contextvars.Token[t.Any] | None:
        request = self.request
        request_token: contextvars.Token[t.Any]
        app_token: contextvars.Token[t.Any] | None
        request_token, app_token = self._cv_tokens.pop()
        current = _cv_request.get(None)
        try:
            _cv_request.reset(request_token)
        except (ValueError, RuntimeError):
            _reset(_cv_request, request_token)
        if not self._cv_tokens:
            if not request.is_websocket:
                request.close()
            if request.environ_is_made:
                # The environ holds the request that holds it: broken here, so that no garbage collector is needed.
                request.environ["werkzeug.request"] = None
        if current is not self:
            if app_token is not None:
                _reset(_cv_app, app_token)
            raise AssertionError(f"Popped wrong request context. ({current!r} instead of {self!r})")
        return app_token

    def _leave_app(self, app_token: contextvars.Token[t.Any]) -> None:
        _reset(_cv_app, app_token)
        if appcontext_popped.receivers:
            appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.url!r} [{self.request.method}] of {self.app.name}>"


def after_this_request(f: F) -> F:
    """Call *f* with the response of the current request; it returns one too.

    Usable as a decorator. Functions run in the order they were given, before the
    ``after_request`` functions.

    Raises:
        RuntimeError: No request context is active.
    """
    ctx = _cv_request.get(None)
    if ctx is None:
        raise RuntimeError(
            "'after_this_request' can only be used when a request context is active, such as in a view function."
        )
    ctx._after_request_functions.append(f)
    return f


def copy_current_request_context(f: F) -> F:
    """Return *f* so that it runs in a copy of the current request context.

    For work handed to a greenlet, thread or task. An async *f* gives an async
    function.

    Raises:
        RuntimeError: No request context is active.
    """
    ctx = _cv_request.get(None)
    if ctx is None:
        raise RuntimeError(
            "'copy_current_request_context' can only be used when a request context is active, such as in a view"
            " function."
        )
    copy = ctx.copy()
    wrapper: t.Callable[..., t.Any]
    if inspect.iscoroutinefunction(f):

        async def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
            async with copy:
                return await f(*args, **kwargs)
    else:

        def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
            with copy:
                return f(*args, **kwargs)

    return t.cast(F, functools.update_wrapper(wrapper, f))


def stream_with_context(generator_or_function: t.Any) -> t.Any:
    """Keep the request context until a streamed body was made or given up.

    The body is made with the context active, and the teardown functions run after
    it instead of before.

    Args:
        generator_or_function: A sync or async iterator, or a function that
            returns one (as a decorator).

    Raises:
        RuntimeError: No request context is active.
    """
    if isinstance(generator_or_function, t.AsyncIterable):
        return AsyncStreamWithContext(generator_or_function)
    try:
        iterator = iter(generator_or_function)
    except TypeError:

        def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return stream_with_context(generator_or_function(*args, **kwargs))

        return functools.update_wrapper(wrapper, generator_or_function)
    return StreamWithContext(iterator)


class _Kept:
    """The active context, kept for a body that is made later.

    It is kept by an entry among its tokens: whoever leaves the context meanwhile
    is not the last.
    """

    _state: t.Literal["waiting", "running", "ended"] = "ended"

    def __init__(self, iterable: t.Any) -> None:
        ctx = _cv_request.get(None)
        if ctx is None:
            raise RuntimeError(
                "'stream_with_context' can only be used when a request context is active, such as in a view function."
            )
        self._iterable = iterable
        self._ctx = ctx
        app_ctx = current_app_context()
        self._app_ctx = None if app_ctx is ctx else app_ctx
        for kept in self._contexts():
            kept._cv_tokens.insert(0, _KEPT)
        self._state = "waiting"

    def _contexts(self) -> list[AppContext]:
        return [self._ctx] if self._app_ctx is None else [self._app_ctx, self._ctx]

    def _enter(self) -> None:
        for ctx in self._contexts():
            ctx._cv_tokens.remove(_KEPT)
        self._state = "running"
        app_token = None
        if self._app_ctx is not None:
            self._app_ctx.push()
        else:
            # Not bind(): the variables may have been copied while it was active.
            app_token = _cv_app.set(self._ctx)
            if appcontext_pushed.receivers:
                appcontext_pushed.send(self._ctx.app, _async_wrapper=self._ctx.app.ensure_sync)
        self._ctx._cv_tokens.append((_cv_request.set(self._ctx), app_token))
        self._own_tokens = [ctx._cv_tokens[-1] for ctx in self._contexts()]

    async def _leave(self, exc: BaseException | None, inline: bool) -> None:
        if self._state == "waiting":
            self._enter()
        if self._state == "running":
            self._state = "ended"
            for ctx, own in zip(self._contexts(), self._own_tokens, strict=True):
                # Somebody else (a test client) may have entered it since, and will leave it with a token of theirs.
                ctx._cv_tokens.remove(own)
                ctx._cv_tokens.append(own)
            try:
                await self._ctx._pop(exc, inline)
            finally:
                if self._app_ctx is not None:
                    await self._app_ctx._pop(exc, inline)


_KEPT: t.Any = (None, None)
"""Stands among a context's tokens for the one who will enter it again."""


class StreamWithContext(_Kept):
    """An iterator whose items are made with the request context active."""

    def __init__(self, iterator: t.Iterator[t.Any]) -> None:
        super().__init__(iterator)
        # Its own variables: whoever takes the items shall not find the context active in between.
        self._variables = contextvars.copy_context()

    def __iter__(self) -> StreamWithContext:
        return self

    def __next__(self) -> t.Any:
        return run_in(self._variables, self._next)

    def _next(self) -> t.Any:
        if self._state == "ended":
            raise StopIteration
        if self._state == "waiting":
            self._enter()
        try:
            return next(self._iterable)
        except StopIteration:
            self._close()
            raise
        except BaseException as e:
            try:
                close_iterable(self._iterable)
            finally:
                step(self._leave(e, inline=True))
            raise

    def close(self) -> None:
        """Close the iterator and leave the context, if that was not done yet."""
        if self._state != "ended":
            run_in(self._variables, self._close)

    def _close(self) -> None:
        if self._state == "waiting":
            self._enter()
        try:
            close_iterable(self._iterable)
        except BaseException as e:
            step(self._leave(e, inline=True))
            raise
        step(self._leave(None, inline=True))

    def __del__(self) -> None:
        self.close()


class AsyncStreamWithContext(_Kept):
    """An async iterator whose items are made with the request context active."""

    def __init__(self, iterable: t.AsyncIterable[t.Any]) -> None:
        super().__init__(aiter(iterable))

    def __aiter__(self) -> AsyncStreamWithContext:
        return self

    async def __anext__(self) -> t.Any:
        if self._state == "ended":
            raise StopAsyncIteration
        if self._state == "waiting":
            self._enter()
        try:
            return await anext(self._iterable)
        except StopAsyncIteration:
            await self.aclose()
            raise
        except BaseException as e:
            try:
                await self._close_iterable()
            finally:
                await self._leave(e, inline=False)
            raise

    async def _close_iterable(self) -> None:
        aclose = getattr(self._iterable, "aclose", None)
        if aclose is not None:
            await aclose()

    async def aclose(self) -> None:
        """Close the iterator and leave the context, if that was not done yet."""
        if self._state == "ended":
            return
        if self._state == "waiting":
            self._enter()
        error: BaseException | None = None
        try:
            await self._close_iterable()
        except BaseException as e:
            error = e
            raise
        finally:
            await self._leave(error, inline=False)

    def close(self) -> None:
        """Leave the context of a body that nobody reads on, in sync code."""
        if self._state != "ended":
            contextvars.copy_context().run(step, self._leave(None, inline=True))

    def __del__(self) -> None:
        if self._state != "ended":
            give_up(self, self.close)
