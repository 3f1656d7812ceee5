"""The proxies: ``current_app``, ``g``, ``request``, ``session``, ``websocket`` and the contexts.

For users only: inside carboy the context is passed along. Each stands for the
object of the active context, and without one raises a ``RuntimeError`` that says
how to get one.
"""

from __future__ import annotations

import typing as t
from contextvars import ContextVar

from werkzeug import local

from .context import (
    NO_APP_MESSAGE,
    NO_REQUEST_MESSAGE,
    RequestContext,
    _active,
    _cv_app,
    _cv_request,
    current_app_context,
    current_request_context,
    current_websocket,
)

if t.TYPE_CHECKING:
    from .app import Carboy
    from .context import AppContext, _AppCtxGlobals
    from .http import Request
    from .http.websocket import WebSocket
    from .sessions import SessionMixin


def _proxy(get_context: t.Callable[[], t.Any], name: str | None, unbound_message: str) -> t.Any:
    return local.LocalProxy(get_context, name, unbound_message=unbound_message)


# COMPAT: its name is seen outside of a request.
class LocalProxy(local.LocalProxy[t.Any]):
    """The proxy of the request.

    PERF: an attribute is read by one call, without the error that Werkzeug's begins with (1.2 µs -> 0.35 µs). What is
    read by operators, as the session is, would take one call more.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> t.Any:
        ctx = _active.get(None)
        if type(ctx) is not RequestContext or name[:1] == "_":
            return object.__getattribute__(self, name)
        try:
            return getattr(ctx.request, name)
        except AttributeError as e:
            _raised.set(e)
            raise

    def __getattr__(self, name: str) -> t.Any:
        # Called by Python where the above raises an AttributeError: what was asked for must not run twice.
        error = _raised.get(None)
        if error is None:
            return getattr(self._get_current_object(), name)
        _raised.set(None)
        try:
            raise error
        finally:
            # The error holds this frame.
            del error


_raised: ContextVar[AttributeError | None] = ContextVar("carboy.proxies.raised", default=None)


class _WebSocketProxy(local.LocalProxy["WebSocket"]):
    """PERF: looks up in one step what is called for each message."""

    __slots__ = ()

    @property
    def receive(self) -> t.Callable[[], t.Any]:
        ctx = _active.get(None)
        return (ctx.request if type(ctx) is RequestContext else current_websocket()).receive  # type: ignore[attr-defined,no-any-return]

    @property
    def send(self) -> t.Callable[[str | bytes], t.Any]:
        ctx = _active.get(None)
        return (ctx.request if type(ctx) is RequestContext else current_websocket()).send  # type: ignore[attr-defined,no-any-return]


app_ctx: AppContext = _proxy(current_app_context, None, NO_APP_MESSAGE)
current_app: Carboy = _proxy(current_app_context, "app", NO_APP_MESSAGE)
g: _AppCtxGlobals = _proxy(current_app_context, "g", NO_APP_MESSAGE)
request_ctx: RequestContext = _proxy(current_request_context, None, NO_REQUEST_MESSAGE)
request: Request = t.cast(t.Any, LocalProxy(current_request_context, "request", unbound_message=NO_REQUEST_MESSAGE))
session: SessionMixin = _proxy(current_request_context, "session", NO_REQUEST_MESSAGE)
websocket: WebSocket = t.cast(t.Any, _WebSocketProxy(current_websocket))

__all__ = ["_cv_app", "_cv_request", "app_ctx", "current_app", "g", "request", "request_ctx", "session", "websocket"]
