"""What belongs to one request, and what belongs to one use of an application.

An application context and a request context are active, as in Flask 3.1, because 3.1
lets an application context be entered inside a request while ``request`` stays
visible. In an ordinary request both are one and the same object: a
:class:`RequestContext` is an application context too (Flask 3.2's merged context),
unless a context of the same application was already active, whose ``g`` it then
shares. One context variable holds both.

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
from types import CoroutineType, TracebackType

from werkzeug.exceptions import HTTPException

from .concurrency import call, close_iterable, give_up, run_blocking, run_in, step
from .lazy import lazy
from .signals import appcontext_popped, appcontext_pushed

if t.TYPE_CHECKING:
    from werkzeug.routing import MapAdapter

    from .app import Carboy
    from .http.request import Request
    from .http.websocket import WebSocket
    from .sessions import SessionMixin
    from .typing import AfterRequestCallable, TeardownCallable

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
C = t.TypeVar("C")
T = t.TypeVar("T")
Self = t.TypeVar("Self", bound="AppContext")

# COMPAT: Flask 3.1 tells "no exception given" from None with a sentinel.
_sentinel: t.Any = object()

# PERF: one variable, since setting it is what costs most in entering a context. It holds a context that is active
# alone or in both roles; or, as a pair, the contexts of application and request.
_active: ContextVar[t.Any] = ContextVar("carboy.context")


def _parts(active: t.Any) -> tuple[AppContext | None, RequestContext | None]:
    if type(active) is tuple:
        return active
    return active, active if isinstance(active, RequestContext) else None


class _Part(t.Generic[C]):
    """One of the two active contexts, like the context variable that it is in Flask 3.1.

    Args:
        role: 0 for the context of the application, 1 for that of the request.
    """

    def __init__(self, role: int) -> None:
        self._role = role

    @t.overload
    def get(self) -> C: ...
    @t.overload
    def get(self, default: T) -> C | T: ...
    def get(self, default: t.Any = _sentinel) -> t.Any:
        """Return the active context, or *default*.

        Raises:
            LookupError: None is active, and no default was given.
        """
        active = _active.get(None)
        # PERF: in a request both are one.
        ctx = active if type(active) is RequestContext else _parts(active)[self._role]
        if ctx is None and default is _sentinel:
            raise LookupError(self)
        return default if ctx is None else ctx

    def set(self, ctx: C | None) -> contextvars.Token[t.Any]:
        """Make *ctx* the active one; return what `reset` takes."""
        parts: list[t.Any] = [*_parts(_active.get(None))]
        parts[self._role] = ctx
        app_ctx, request_ctx = parts
        alone = app_ctx is request_ctx or (request_ctx is None and not isinstance(app_ctx, RequestContext))
        return _active.set(app_ctx if alone else (app_ctx, request_ctx))

    def reset(self, token: contextvars.Token[t.Any]) -> None:
        """Make those active that were before `set`."""
        _active.reset(token)


_cv_app: _Part[AppContext] = _Part(0)
_cv_request: _Part[RequestContext] = _Part(1)

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
    active = _active.get(None)
    ctx: AppContext | None = active[0] if type(active) is tuple else active
    if ctx is None:
        raise RuntimeError(NO_APP_MESSAGE)
    return ctx


def innermost_context() -> AppContext:
    """Return the context that was entered last, of an application or of a request.

    What lives as long as the work at hand (a database session) is kept there.

    Raises:
        RuntimeError: No context is active.
    """
    active = _active.get(None)
    if type(active) is tuple:
        app_ctx, request_ctx = active
        if app_ctx is None or (request_ctx is not None and request_ctx._shares_app_context):
            active = request_ctx
        else:
            active = app_ctx
    if active is None:
        raise RuntimeError(NO_APP_MESSAGE)
    ctx: AppContext = active
    return ctx


def active_app() -> Carboy | None:
    """Return the application whose context is active, if one is."""
    active = _active.get(None)
    ctx: AppContext | None = active[0] if type(active) is tuple else active
    return None if ctx is None else ctx.app


def current_request_context() -> RequestContext:
    """Return the active request context.

    Raises:
        RuntimeError: No request context is active.
    """
    active = _active.get(None)
    if type(active) is RequestContext:
        return active
    ctx = _parts(active)[1]
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


Push = tuple["RequestContext | None", "AppContext | None", bool, t.Any, t.Any]
"""One push of a context.

The contexts of request and application that were active before; whether that of the
application was replaced; who pushed, if a kept body did; and the push before it, or
None. Not the tokens of the variables: those cannot be given back where a context is
left in another thread or task, each of which has a copy of the variables.
"""

_FIRST: Push = (None, None, True, None, None)
"""PERF: the push of nearly every request, with nothing active before: one for all."""


class AppContext:
    """An application in use: carries ``app`` and ``g``.

    Entered with ``with app.app_context():``, or ``async with`` on an event loop,
    where async teardown functions are awaited.
    """

    _request: Request | None = None

    def __init__(self, app: Carboy) -> None:
        self.app = app

    # The last push that was not popped.
    _pushed: Push | None = None

    teardown_functions: list[TeardownCallable] | None = None

    def call_at_teardown(self, func: TeardownCallable) -> None:
        """Call *func* with the exception, or None, when this context is torn down.

        After the application's own teardown functions, the last given first; for
        what is opened while the context is used. It may be async.
        """
        if self.teardown_functions is None:
            self.teardown_functions = []
        self.teardown_functions.append(func)

    async def run_teardown_functions(self, exc: BaseException | None, inline: bool) -> None:
        """Run what `call_at_teardown` was given, all of it, then raise the first error."""
        errors = []
        while self.teardown_functions:
            function = self.teardown_functions.pop()
            try:
                if inline:
                    # PERF: what `call` does, without its coroutine.
                    result = function(exc)
                    if type(result) is CoroutineType:
                        run_blocking(result)
                else:
                    await call(inline, function, exc)
            except Exception as e:
                errors.append(e)
        if errors:
            raise errors[0]

    # How many bodies that are made later will enter this context again.
    _kept = 0

    @property
    def _is_pushed_last(self) -> bool:
        """Whether nothing is left of this context after the next pop."""
        return self._pushed is not None and self._pushed[4] is None and not self._kept

    def _pop_push(self) -> Push:
        pushed = self._pushed
        if pushed is None:
            raise RuntimeError(f"{self!r} was popped more often than it was pushed.")
        self._pushed = pushed[4]
        return pushed

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
        before = _cv_app.get(None)
        self._pushed = (None, before, True, None, self._pushed)
        _cv_app.set(self)
        if appcontext_pushed.receivers:
            try:
                appcontext_pushed.send(self.app, _async_wrapper=self.app.ensure_sync)
            except BaseException:
                self._pop_push()
                _cv_app.set(before)
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
            if self._is_pushed_last:
                await self.app._teardown_appcontext(self, exc, inline)
        finally:
            current = _cv_app.get(None)
            _cv_app.set(self._pop_push()[1])
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

    failure: Exception | None = None
    """What user code raised before there was a plan, to be raised where errors are handled."""

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

    @property
    def _shares_app_context(self) -> bool:
        """Whether this was entered where a context of the same application was active, which stayed so."""
        return self._pushed is not None and not self._pushed[2]

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
        app_before = _cv_app.get(None)
        request_before = _cv_request.get(None)
        _cv_request.set(self)
        if app_before is not None and app_before.app is app:
            self._pushed = (request_before, app_before, False, None, self._pushed)
            return
        _cv_app.set(self)
        if app_before is None and request_before is None and self._pushed is None:
            self._pushed = _FIRST
        else:
            self._pushed = (request_before, app_before, True, None, self._pushed)
        if appcontext_pushed.receivers:
            try:
                appcontext_pushed.send(app, _async_wrapper=app.ensure_sync)
            except BaseException:
                # Nobody would leave a context that was not entered.
                self._leave_app(self._leave_request())
                raise

    def unbind_copy(self) -> contextvars.Context:
        """Return a copy of the variables with this context active; leave it here.

        For the thread or task that goes on with the request in that copy.
        """
        context = contextvars.copy_context()
        if self._pushed is not None:
            request_before, app_before, replaced_app, _, _ = self._pushed
            _cv_request.set(request_before)
            if replaced_app:
                _cv_app.set(app_before)
        return context

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
                if self._is_pushed_last:
                    await app._teardown_request(self, exc, inline)
            finally:
                pushed = self._leave_request()
                try:
                    # A body that is still to be made keeps it (see stream_with_context).
                    if self._is_left:
                        if pushed[2]:
                            await app._teardown_appcontext(self, exc, inline)
                        else:
                            await self.run_teardown_functions(exc, inline)
                finally:
                    if pushed[2]:
                        self._leave_app(pushed)
            failed = False
        finally:
            background = self.request.background
            if background is not None and self._is_left:
                background.context_left(self, failed)

    @property
    def _is_left(self) -> bool:
        """Whether nobody has entered this context, or will enter it again."""
        return self._pushed is None and not self._kept

    def leave(self) -> None:
        """Leave this context, for which no teardown function is registered."""
        request = self.request
        if self._pushed is _FIRST and not self._kept and _active.get(None) is self and not appcontext_popped.receivers:
            # PERF: the two methods below in one, for the ordinary case.
            self._pushed = None
            _active.set(None)
            if not request.closes_plainly:
                request.close()
            if request.environ_is_made:
                request.environ["werkzeug.request"] = None
            return
        pushed = self._leave_request()
        if pushed[2]:
            self._leave_app(pushed)

    async def leave_tearing_down(self, exc: BaseException | None, inline: bool) -> None:
        """Leave this context, whose own teardown functions are the only ones."""
        if self._pushed is not _FIRST or self._kept or _active.get(None) is not self or appcontext_popped.receivers:
            await self._pop(exc, inline)
            return
        # PERF: the same in the ordinary case. They run without the request, in the context of the application.
        self.leave()
        _active.set((self, None))
        try:
            await self.run_teardown_functions(exc, inline)
        finally:
            _active.set(None)

    def _leave_request(self) -> Push:
        request = self.request
        current = _cv_request.get(None)
        pushed = self._pop_push()
        _cv_request.set(pushed[0])
        if self._is_left:
            if not request.is_websocket:
                request.close()
            if request.environ_is_made:
                # The environ holds the request that holds it: broken here, so that no garbage collector is needed.
                request.environ["werkzeug.request"] = None
        if current is not self:
            if pushed[2]:
                _cv_app.set(pushed[1])
            raise AssertionError(f"Popped wrong request context. ({current!r} instead of {self!r})")
        return pushed

    def _leave_app(self, pushed: Push) -> None:
        _cv_app.set(pushed[1])
        if appcontext_popped.receivers:
            appcontext_popped.send(self.app, _async_wrapper=self.app.ensure_sync)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.request.url!r} [{self.request.method}] of {self.app.name}>"


def enter(app: Carboy, request: Request) -> RequestContext:
    """Return the context of *request*, made and active.

    PERF: what ``RequestContext(app, request=request)`` and its ``bind`` do, without
    their calls.
    """
    ctx = _new_context(RequestContext)
    ctx.app = app
    ctx.request = request
    ctx.opened_session = ctx.after_functions = ctx.failure = None
    ctx._kept = 0
    request.json_module = app.json
    if _active.get(None) is None and not appcontext_pushed.receivers:
        _active.set(ctx)
        ctx._pushed = _FIRST
    else:
        ctx.bind()
    return ctx


_new_context = RequestContext.__new__


def _default_template_ctx_processor() -> dict[str, t.Any]:
    """Return ``g`` and ``request`` themselves, which templates reach faster than through the proxies.

    The session stays a proxy, among the environment's globals: the context must
    notice when a template uses it.
    """
    values: dict[str, t.Any] = {}
    if (app_ctx := _cv_app.get(None)) is not None:
        values["g"] = app_ctx.g
    if (request_ctx := _cv_request.get(None)) is not None:
        values["request"] = request_ctx.request
    return values


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

    Whoever leaves the context meanwhile is not the last.
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
            kept._kept += 1
        self._state = "waiting"

    def _contexts(self) -> list[AppContext]:
        return [self._ctx] if self._app_ctx is None else [self._app_ctx, self._ctx]

    def _enter(self) -> None:
        ctx = self._ctx
        for kept in self._contexts():
            kept._kept -= 1
        self._state = "running"
        app_ctx = self._app_ctx
        if app_ctx is not None:
            app_ctx.push()
            request_before, app_before, replaced_app, _, earlier = t.cast(Push, app_ctx._pushed)
            app_ctx._pushed = (request_before, app_before, replaced_app, self, earlier)
        else:
            # Not bind(): the variables may have been copied while it was active.
            app_before = _cv_app.get(None)
            _cv_app.set(ctx)
            if appcontext_pushed.receivers:
                appcontext_pushed.send(ctx.app, _async_wrapper=ctx.app.ensure_sync)
        ctx._pushed = (_cv_request.get(None), app_before, app_ctx is None, self, ctx._pushed)
        _cv_request.set(ctx)

    async def _leave(self, exc: BaseException | None, inline: bool) -> None:
        if self._state == "waiting":
            self._enter()
        if self._state == "running":
            self._state = "ended"
            for ctx in self._contexts():
                # Somebody else (a test client) may have entered it since, and will leave it with a push of theirs.
                ctx._pushed = _with_last(ctx._pushed, self)
            try:
                await self._ctx._pop(exc, inline)
            finally:
                if self._app_ctx is not None:
                    await self._app_ctx._pop(exc, inline)


def _with_last(pushed: Push | None, owner: _Kept) -> Push | None:
    """Return the pushes of a context with that of *owner* as the last."""
    pushes = []
    while pushed is not None:
        pushes.append(pushed)
        pushed = pushed[4]
    pushes.sort(key=lambda push: push[3] is owner, reverse=True)
    for push in reversed(pushes):
        pushed = (*push[:4], pushed)
    return pushed


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
