"""Run requests: context in, match, plan, errors, teardown, context out. The hot path.

There is one body of dispatch code, and it is a coroutine. ``inline`` says where
it runs: in a thread in which sync code may block (a WSGI server's, or a worker
thread of an ASGI server), where it is stepped once and waits for async functions
by blocking; or on a server's event loop, where async functions are awaited and
sync ones go to a worker thread.
"""

from __future__ import annotations

import math
import typing as t
from types import CoroutineType

from werkzeug.exceptions import (
    BadRequest,
    Forbidden,
    HTTPException,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
)
from werkzeug.routing.exceptions import WebsocketMismatch

from .concurrency import call, run_blocking, run_in_thread
from .context import RequestContext
from .errors import call_override, log_exception, respond_to
from .http.response import InvalidHeader
from .plan import Plan, Profile, Steps, compile_plan, compile_profile, opens_websocket
from .results import to_response, to_wire
from .routing import check_host
from .signals import (
    appcontext_tearing_down,
    got_request_exception,
    got_websocket_exception,
    request_finished,
    request_started,
    request_tearing_down,
    websocket_finished,
    websocket_started,
    websocket_tearing_down,
)

if t.TYPE_CHECKING:
    from .app import Carboy
    from .context import AppContext
    from .http import Request, Response
    from .http.response import Wire
    from .http.websocket import WebSocket

T = t.TypeVar("T")


# -- Finding the plan ------------------------------------------------------------


def profile_of(app: Carboy) -> Profile:
    """Return the application's profile, compiled anew if it changed."""
    profile = app._profile
    if profile is None or profile.version != app._version.number:
        profile = app._profile = compile_profile(app)
    return profile


def plan_of(app: Carboy, request: Request) -> Plan:
    """Return the plan for a matched request."""
    profile = app._profile
    if profile is None or profile.version != app._version.number:
        profile = profile_of(app)
    rule = request.url_rule
    if rule is None:
        return profile.unrouted_websocket if request.is_websocket else profile.unrouted
    return profile.plans.get(id(rule)) or compile_plan(app, profile, rule)


def match(app: Carboy, ctx: RequestContext, profile: Profile, host: str | None, plain: bool = True) -> Plan:
    """Match the URL of a request whose context is active; return the plan.

    What the matching raises for the client to see is kept as the request's
    ``routing_exception``; what user code raised (session interface, converter) as
    the context's ``failure``.

    Args:
        host: The value of the ``Host`` header.
        plain: Whether this neither is nor asks for a WebSocket, which other rules
            match.
    """
    request = ctx.request
    if request.routing_exception is not None or ctx.failure is not None:
        return profile.unrouted
    try:
        router = profile.router
        if router is not None and (plain or request.is_websocket):
            trusted = app.config["TRUSTED_HOSTS"]
            if trusted is not None:
                request.trusted_hosts = trusted
                check_host(host or "", tuple(trusted))
            elif host and host not in _accepted_hosts:
                check_host(host, None)
                if len(_accepted_hosts) < _ACCEPTED_HOSTS_LIMIT:
                    _accepted_hosts.add(host)
            found = router.find(request.path, request.method, not plain)
            if found is not None:
                rule, request.view_args = found
                request.url_rule = rule
                return profile.plans.get(id(rule)) or compile_plan(app, profile, rule)
        ctx.match_request()
        _tell_websockets_apart(request)
    except HTTPException as e:
        request.routing_exception = e
    except ValueError as e:
        # A converter of Werkzeug's refused in its own way: an integer of more digits than Python converts.
        request.routing_exception = NotFound()
        request.routing_exception.__cause__ = e
    except Exception as e:
        ctx.failure = e
        return profile.unrouted
    return plan_of(app, request)


# PERF: the hosts that were found valid, which are few where requests are honest.
_accepted_hosts: set[str] = set()
_ACCEPTED_HOSTS_LIMIT = 1000


def _tell_websockets_apart(request: Request) -> None:
    """Refuse, and say why, an HTTP request for a WebSocket's URL, and the reverse."""
    if isinstance(request.routing_exception, WebsocketMismatch):
        request.routing_exception = BadRequest(
            "This URL answers HTTP requests; it is not a WebSocket."
            if request.is_websocket
            else "This URL is a WebSocket: open it with a WebSocket client, as ws://… or wss://…."
        )
    elif request.url_rule is not None and opens_websocket(request.url_rule) and not request.is_websocket:
        # The server has passed the handshake on as any other request: it speaks WSGI, or lacks a library.
        request.url_rule = request.view_args = None
        request.routing_exception = BadRequest(
            "This URL is a WebSocket, which the server cannot open: WSGI has none. Serve the application over ASGI or"
            " RSGI: 'carboy serve', 'carboy run --interface asgi', uvicorn (with a WebSocket library), hypercorn,"
            " granian."
        )


# -- The request -------------------------------------------------------------------


async def handle(  # noqa: C901 - PERF: the ordinary case without further coroutines
    app: Carboy,
    ctx: RequestContext,
    plan: Plan,
    inline: bool,
    write: t.Callable[[Wire, Request, t.Any], t.Any] | None = None,
    argument: t.Any = None,
) -> t.Any:
    """Run a request whose context was entered; leave the context.

    Args:
        write: Called with what is to be sent, the request and *argument*, while the
            context is still active.

    Returns:
        What is to be sent; or what *write* returned, if it was given.
    """
    error: BaseException | None = None
    request = ctx.request
    response: Response | None = None
    try:
        try:
            if (
                plan.only_calls_view
                and app._got_first_request
                and request.method != "OPTIONS"
                and not request_started.receivers
            ):
                # PERF: what dispatch comes down to, here without its coroutine.
                try:
                    view: t.Any = plan.view
                    args: t.Any = request.view_args
                    if plan.view_is_async is not inline:
                        result = view(**args) if args else view()
                        if not inline:
                            result = await result
                    elif inline:
                        # What ensure_sync does, which is not overridden here.
                        result = run_blocking(view(**args))
                    else:
                        result = view(**args) if plan.view_may_run_on_loop else await run_in_thread(view, **args)
                        if type(result) is CoroutineType:
                            result = await result
                except Exception as e:
                    result = await answer_user_error(app, ctx, plan, e, inline)
                if (
                    not plan.ends_plainly
                    or ctx.opened_session is not None
                    or ctx.after_functions is not None
                    or plan.profile.version != app._version.number
                    or request_finished.receivers
                    or (request.has_cookies and _has_session_to_refresh(app, ctx))
                ):
                    response = await finalize(app, ctx, plan, result, inline)
                else:
                    wire = to_wire(app, plan.profile, result, request)
            elif ctx.failure is not None:
                raise ctx.failure
            elif plan.profile.as_in_flask and "full_dispatch_request" in plan.profile.overridden:
                response = app._call_override("full_dispatch_request", ctx)
            else:
                response = await dispatch(app, ctx, plan, inline)
        except Exception as e:
            error = e
            response = await answer_error(app, ctx, plan, e, inline)
        try:
            if response is not None:
                wire = response.wire(request)
            if request.background is not None:
                wire = request.background.after_sending(wire)
            return wire if write is None else write(wire, request, argument)
        except Exception as e:
            # Nothing has been sent yet.
            error = e
            wire = (await answer_error(app, ctx, plan, e, inline)).wire(request)
            if request.background is not None:
                wire = request.background.after_sending(wire)
            return wire if write is None else write(wire, request, argument)
    except BaseException as e:
        error = e
        raise
    finally:
        if error is not None and app.should_ignore_error(error):
            error = None
        if request.environ_is_made and "werkzeug.debug.preserve_context" in request.environ:
            request.environ["werkzeug.debug.preserve_context"](ctx)
        if (
            plan.tears_down
            or plan.profile.version != app._version.number
            or request_tearing_down.receivers
            or appcontext_tearing_down.receivers
            or request.background is not None
        ):
            await ctx._pop(error, inline)
        elif ctx.teardown_functions is not None:
            await ctx.leave_tearing_down(error, inline)
        else:
            ctx.leave()


async def dispatch(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> Response:
    """Run hooks, view and error handlers; return the response."""
    if not app._got_first_request:
        app._got_first_request = True
    try:
        if request_started.receivers:
            request_started.send(app, _async_wrapper=app.ensure_sync)
        if plan.profile.as_in_flask:
            result = await _dispatch_as_in_flask(app, ctx, plan)
        elif plan.timeout is not None and not inline:
            result = await _in_time(plan.timeout, _answer(app, ctx, plan))
        else:
            result = await preprocess(app, ctx, plan, inline) if plan.preprocesses else None
            if result is None:
                result = await call_view(app, ctx, plan, inline)
    except Exception as e:
        result = await answer_user_error(app, ctx, plan, e, inline)
    if "finalize_request" in plan.profile.overridden:
        response: Response = app._call_override("finalize_request", ctx, result)
        return response
    return await finalize(app, ctx, plan, result, inline)


async def _answer(app: Carboy, ctx: RequestContext, plan: Plan) -> t.Any:
    result = await preprocess(app, ctx, plan, False)
    return await call_view(app, ctx, plan, False) if result is None else result


async def _in_time(seconds: float, awaitable: t.Awaitable[T]) -> T:
    """Wait for *awaitable*; cancel it when the time is over.

    Raises:
        Overdue: It is.
    """
    import asyncio

    try:
        async with asyncio.timeout(seconds) as limit:
            return await awaitable
    except TimeoutError as e:
        if limit.expired():
            raise Overdue(seconds) from e
        raise


class Overdue(ServiceUnavailable):
    """A request has taken longer than the *seconds* of its timeout."""

    def __init__(self, seconds: float) -> None:
        super().__init__("The server took too long to answer.", retry_after=math.ceil(seconds))


async def answer_user_error(app: Carboy, ctx: RequestContext, plan: Plan, exc: Exception, inline: bool) -> t.Any:
    """Return what the handler for an exception of hooks or view returns.

    Raises:
        Exception: *exc*, if there is no handler and it is not an HTTP error.
    """
    if app.is_overridden("handle_user_exception"):
        return await call_override(app, ctx, inline, exc, "handle_user_exception", exc)
    return await respond_to(app, ctx, exc, inline)


async def _dispatch_as_in_flask(app: Carboy, ctx: RequestContext, plan: Plan) -> t.Any:
    overridden = plan.profile.overridden
    if "preprocess_request" in overridden:
        result = app._call_override("preprocess_request", ctx)
    else:
        result = await preprocess(app, ctx, plan, True)
    if result is not None:
        return result
    if "dispatch_request" in overridden:
        return app._call_override("dispatch_request", ctx)
    return await call_view(app, ctx, plan, True)


async def preprocess(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> t.Any:
    """Run url processors and ``before_request`` functions until one answers."""
    request = ctx.request
    for function in plan.url_processors:
        function(request.endpoint, request.view_args)
    return await _run_steps(app, plan.before, inline, _until_answer)


def _until_answer(functions: tuple[t.Callable[[], t.Any], ...]) -> t.Any:
    for function in functions:
        result = function()
        if result is not None:
            return result
    return None


async def _run_steps(
    app: Carboy, steps: Steps, inline: bool, run_sync: t.Callable[[tuple[t.Callable[..., t.Any], ...]], t.Any]
) -> t.Any:
    for step_is_async, functions in steps:
        if step_is_async:
            for function in functions:
                result = app.ensure_sync(function)() if inline else await function()
                if result is not None:
                    return result
        else:
            result = run_sync(functions) if inline else await run_in_thread(run_sync, functions)
            if result is not None:
                return result
    return None


async def call_view(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> t.Any:
    """Call the view; or raise what routing raised, or answer OPTIONS."""
    request = ctx.request
    if request.routing_exception is not None:
        app.raise_routing_exception(request)
    rule = request.url_rule
    if request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
        if "make_default_options_response" in plan.profile.overridden:
            return app._call_override("make_default_options_response", ctx)
        return app.make_default_options_response(ctx)
    # COMPAT: a rule without a view is a KeyError, as in Flask.
    view: t.Any = plan.view or app.view_functions[request.endpoint or ""]
    args: dict[str, t.Any] = request.view_args  # type: ignore[assignment]
    if plan.view_is_async:
        if not inline:
            return await view(**args)
        if plan.timeout is not None:
            return app.async_to_sync(_in_time)(plan.timeout, view(**args))
        return app.ensure_sync(view)(**args)
    if inline:
        return view(**args)
    result = view(**args) if plan.view_may_run_on_loop else await run_in_thread(view, **args)
    # A decorator that knows no async functions returns what calling one gave. (Where this thread may block,
    # to_response waits for it.)
    return await result if type(result) is CoroutineType else result


async def finalize(
    app: Carboy, ctx: RequestContext, plan: Plan, result: t.Any, inline: bool, from_error_handler: bool = False
) -> Response:
    """Make the response of *result* and run what comes after the view.

    Args:
        from_error_handler: Log what fails here instead of raising it.
    """
    response: Response
    overridden = plan.profile.overridden
    if "make_response" in overridden:
        response = app.make_response(result)
    else:
        response = to_response(app, result)
    try:
        if "process_response" in overridden:
            response = app._call_override("process_response", ctx, response)
        else:
            response = await process_response(app, ctx, plan, response, inline)
        if request_finished.receivers and not ctx.request.is_websocket:
            request_finished.send(app, _async_wrapper=app.ensure_sync, response=response)
    except Exception:
        if not from_error_handler:
            raise
        app.logger.exception("Request finalizing failed with an error while handling an error")
    return response


async def process_response(app: Carboy, ctx: RequestContext, plan: Plan, response: Response, inline: bool) -> Response:
    """Run ``after_this_request`` and ``after_request`` functions; save the session."""
    if ctx.after_functions is not None:
        for function in ctx.after_functions:
            response = await call(inline, function, response)
    if plan.profile.version != app._version.number:
        # The view has registered a function (Flask-Caching does).
        plan = plan_of(app, ctx.request)
    for step_is_async, functions in plan.after:
        if step_is_async:
            for function in functions:
                response = app.ensure_sync(function)(response) if inline else await function(response)
        elif inline:
            response = _pass_through(functions, response)
        else:
            response = await run_in_thread(_pass_through, functions, response)
    if ctx.opened_session is None and not (ctx.request.has_cookies and _has_session_to_refresh(app, ctx)):
        return response
    interface = app.session_interface
    session = ctx._session
    if not interface.is_null_session(session):
        if inline or plan.profile.session_can_wait:
            interface.save_session(app, session, response)
        else:
            await call(inline, interface.save_session, app, session, response)
    return response


def _pass_through(functions: tuple[t.Callable[..., t.Any], ...], response: Response) -> Response:
    for function in functions:
        response = function(response)
    return response


def _has_session_to_refresh(app: Carboy, ctx: RequestContext) -> bool:
    """Return whether the response may have to refresh a session nobody touched.

    A permanent session is refreshed at each request, if so configured; whether it
    is permanent stands in its cookie.
    """
    if not app.config["SESSION_REFRESH_EACH_REQUEST"]:
        return False
    return ctx.request.first_cookie(app.session_interface.get_cookie_name(app)) is not None


async def answer_error(app: Carboy, ctx: RequestContext, plan: Plan, exc: Exception, inline: bool) -> Response:
    """Return the response for an exception that came out of dispatch."""
    if isinstance(exc, (InvalidHeader, Overdue)):
        # Raised after dispatch, or in its place. A value that is refused in a header was sent by a client.
        return await finalize(app, ctx, plan, await respond_to(app, ctx, exc, inline), inline)
    if app.is_overridden("handle_exception"):
        response: Response = await call_override(app, ctx, inline, exc, "handle_exception", exc)
        return response
    return await answer_500(app, ctx, exc, inline)


async def answer_500(app: Carboy, ctx: RequestContext, exc: Exception, inline: bool) -> Response:
    """Log *exc*, which nothing handled, and answer 500.

    Raises:
        Exception: *exc* again, in testing and debug mode or where
            ``PROPAGATE_EXCEPTIONS`` is set.
    """
    signal = got_websocket_exception if ctx.request.is_websocket else got_request_exception
    if signal.receivers:
        signal.send(app, _async_wrapper=app.ensure_sync, exception=exc)
    propagate = app.config["PROPAGATE_EXCEPTIONS"]
    if propagate or (propagate is None and (app.testing or app.debug)):
        raise exc
    exc_info = (type(exc), exc, exc.__traceback__)
    if app.is_overridden("log_exception"):
        app._call_override("log_exception", ctx, exc_info)
    else:
        log_exception(app, ctx, exc_info)
    error = InternalServerError(original_exception=exc)
    handler = app._find_error_handler(error, ctx.request.blueprints)
    result = error if handler is None else await call(inline, handler, error)
    if app.is_overridden("finalize_request"):
        return t.cast("Response", app._call_override("finalize_request", ctx, result, from_error_handler=True))
    return await finalize(app, ctx, plan_of(app, ctx.request), result, inline, from_error_handler=True)


# -- The WebSocket -----------------------------------------------------------------


async def converse(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> Wire | None:
    """Run the handler of a WebSocket whose context was entered; leave the context.

    The steps are those of an HTTP request, with two differences: a response can be
    sent only while the handshake is not accepted, and that the client leaves is the
    ordinary end.

    Returns:
        The response that refuses the handshake, if there is one.
    """
    websocket: WebSocket = ctx.request  # type: ignore[assignment]
    error: BaseException | None = None
    try:
        try:
            if ctx.failure is not None:
                raise ctx.failure
            response = await _converse(app, ctx, plan, inline)
        except Exception as e:
            error = e
            await _close_for(websocket, e, inline)
            response = await answer_500(app, ctx, e, inline)
        if response is None or websocket.accepted:
            return None
        if not response.is_sequence:
            await call(inline, response.make_sequence)
        return response.wire(websocket)
    except BaseException as e:
        error = e
        raise
    finally:
        if error is not None and app.should_ignore_error(error):
            error = None
        try:
            await ctx._pop(error, inline)
        finally:
            # Its traceback holds this frame: a cycle, which would hold the connection.
            error = None


async def _converse(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> Response | None:
    websocket: WebSocket = ctx.request  # type: ignore[assignment]
    app._got_first_request = True
    result = None
    try:
        if websocket_started.receivers:
            websocket_started.send(app, _async_wrapper=app.ensure_sync)
        if websocket.is_foreign(app.config["WEBSOCKET_ALLOWED_ORIGINS"]):
            # Before any code of the user's: a page of another origin has the cookies of this one's user.
            raise Forbidden("WebSockets of pages from this origin are not accepted.")
        if websocket.routing_exception is None:
            result = await preprocess(app, ctx, plan, inline)
        if result is None:
            handling = call_view(app, ctx, plan, inline)
            result = await (handling if inline else websocket.run_handler(handling))
    except BaseException as e:
        if not websocket.has_left(e):
            if not isinstance(e, Exception):
                raise
            result = await answer_user_error(app, ctx, plan, e, inline)
            await _close_for(websocket, e, inline)
    response = None
    if result is not None and not websocket.accepted:
        response = await finalize(app, ctx, plan, result, inline)
        # It may be an exception, whose traceback holds this frame.
        result = None
    else:
        for _, functions in plan.after:
            for function in functions:
                await call(inline, function, None)
        await _save_late_session(app, ctx, plan, inline)
    if websocket_finished.receivers:
        websocket_finished.send(app, _async_wrapper=app.ensure_sync, response=response)
    return response


async def _close_for(websocket: WebSocket, exc: Exception, inline: bool) -> None:
    """Close an accepted WebSocket with the code for an exception (RFC 6455 section 7.4.1)."""
    if websocket.accepted:
        is_clients = isinstance(exc, HTTPException) and exc.code is not None and exc.code < 500
        closing = websocket.close(1008 if is_clients else 1011)
        if not inline:
            await closing


async def _save_late_session(app: Carboy, ctx: RequestContext, plan: Plan, inline: bool) -> None:
    """Save a session that was changed after the handshake, which is all that carries cookies."""
    session = ctx.opened_session
    interface = app.session_interface
    if session is None or interface.is_null_session(session):
        return
    if not plan.profile.session_can_wait:
        await call(inline, interface.save_session, app, session, app.response_class())
    elif session.modified:
        app.logger.warning(
            f"The session was changed by the WebSocket handler of {ctx.request.endpoint!r} when no cookie could be sent"
            " any more. Change it before accept(), or keep sessions on the server."
        )


# -- Teardown ----------------------------------------------------------------------


async def teardown_request(app: Carboy, ctx: RequestContext, exc: BaseException | None, inline: bool) -> None:
    """Run ``teardown_request`` functions, all of them, then raise the first error."""
    errors = await _tear_down(app, plan_of(app, ctx.request).teardown, exc, inline)
    signal = websocket_tearing_down if ctx.request.is_websocket else request_tearing_down
    if signal.receivers:
        signal.send(app, _async_wrapper=app.ensure_sync, exc=exc)
    if errors:
        raise errors[0]


async def teardown_appcontext(app: Carboy, ctx: AppContext, exc: BaseException | None, inline: bool) -> None:
    """Run ``teardown_appcontext`` functions, all of them, then raise the first error."""
    errors = await _tear_down(app, profile_of(app).teardown_appcontext, exc, inline)
    if appcontext_tearing_down.receivers:
        appcontext_tearing_down.send(app, _async_wrapper=app.ensure_sync, exc=exc)
    if errors:
        raise errors[0]


async def _tear_down(app: Carboy, steps: Steps, exc: BaseException | None, inline: bool) -> list[Exception]:
    # COMPAT: Flask 3.1 stops at the first function that raises, and leaks what the others would have freed.
    errors: list[Exception] = []
    for step_is_async, functions in steps:
        if step_is_async:
            for function in functions:
                try:
                    if inline:
                        app.ensure_sync(function)(exc)
                    else:
                        await function(exc)
                except Exception as e:
                    errors.append(e)
        elif inline:
            errors += _all_of(functions, exc)
        else:
            errors += await run_in_thread(_all_of, functions, exc)
    return errors


def _all_of(functions: tuple[t.Callable[..., t.Any], ...], exc: BaseException | None) -> list[Exception]:
    errors = []
    for function in functions:
        try:
            function(exc)
        except Exception as e:
            errors.append(e)
    return errors
