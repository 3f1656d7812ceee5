"""From an exception to a response: which handler answers, and what if none does.

Methods that an extension or subclass replaced (``handle_user_exception``,
``handle_exception``, …) are looked up at each error and take the step's place.
"""

from __future__ import annotations

import sys
import typing as t

from werkzeug.exceptions import BadRequestKeyError, HTTPException
from werkzeug.routing import RoutingException

from .concurrency import call

if t.TYPE_CHECKING:
    from .app import Carboy
    from .context import RequestContext
    from .typing import ErrorHandlerCallable

T = t.TypeVar("T")


def find_handler(app: Carboy, exc: Exception, blueprints: t.Sequence[str]) -> ErrorHandlerCallable | None:
    """Return the most specific error handler for *exc*, or None.

    Those for the status code come before those for the class alone, those of the
    innermost blueprint before those of the application.

    Args:
        blueprints: Dotted names, innermost first.
    """
    exc_class, code = app._get_exc_class_and_code(type(exc))
    for wanted in (code, None) if code is not None else (None,):
        for name in (*blueprints, None):
            handlers = app.error_handler_spec.get(name, {}).get(wanted)
            if handlers:
                for cls in exc_class.__mro__:
                    if cls in handlers:
                        return handlers[cls]
    return None


def _while_handling(exc: BaseException, func: t.Callable[..., T], *args: t.Any) -> T:
    # Extensions ask sys.exc_info() in their handlers; in a worker thread nothing is being handled yet.
    if sys.exc_info()[1] is exc:
        return func(*args)
    traceback = exc.__traceback__
    try:
        raise exc
    except BaseException:
        exc.__traceback__ = traceback
        return func(*args)


async def call_override(
    app: Carboy, ctx: RequestContext, inline: bool, exc: BaseException, name: str, *args: t.Any
) -> t.Any:
    """Call the overridden method *name* of the application for *exc*."""
    return await call(inline, _while_handling, exc, app._call_override, name, ctx, *args)


async def respond_to(app: Carboy, ctx: RequestContext, exc: Exception, inline: bool) -> t.Any:
    """Return what the error handler for *exc* returns.

    Raises:
        Exception: *exc*, if there is no handler and it is not an HTTP error.
    """
    if isinstance(exc, BadRequestKeyError) and (app.debug or app.config["TRAP_BAD_REQUEST_ERRORS"]):
        exc.show_exception = True
    if isinstance(exc, HTTPException) and not app.trap_http_exception(exc):
        if app.is_overridden("handle_http_exception"):
            return await call_override(app, ctx, inline, exc, "handle_http_exception", exc)
        return await respond_to_http(app, ctx, exc, inline)
    handler = app._find_error_handler(exc, ctx.request.blueprints)
    if handler is None:
        raise exc
    return await call(inline, handler, exc)


async def respond_to_http(app: Carboy, ctx: RequestContext, exc: HTTPException, inline: bool) -> t.Any:
    """Return what the handler for an HTTP error returns; the error itself if none."""
    # Without a code it is a response in disguise (proxied), a routing exception is a redirect.
    if exc.code is None or isinstance(exc, RoutingException):
        return exc
    handler = app._find_error_handler(exc, ctx.request.blueprints)
    return exc if handler is None else await call(inline, handler, exc)


def log_exception(app: Carboy, ctx: RequestContext, exc_info: t.Any) -> None:
    """Log an exception with the path and method of its request."""
    app.logger.error(f"Exception on {ctx.request.path} [{ctx.request.method}]", exc_info=exc_info)
