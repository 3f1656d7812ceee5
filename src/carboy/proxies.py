"""The proxies: ``current_app``, ``g``, ``request``, ``session``, ``websocket`` and the contexts.

For users only: inside carboy the context is passed along. Each stands for the
object of the active context, and without one raises a ``RuntimeError`` that says
how to get one.
"""

from __future__ import annotations

import typing as t

from werkzeug.local import LocalProxy

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
    return LocalProxy(get_context, name, unbound_message=unbound_message)


class _WebSocketProxy(LocalProxy["WebSocket"]):
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
request: Request = _proxy(current_request_context, "request", NO_REQUEST_MESSAGE)
session: SessionMixin = _proxy(current_request_context, "session", NO_REQUEST_MESSAGE)
websocket: WebSocket = t.cast(t.Any, _WebSocketProxy(current_websocket))

__all__ = ["_cv_app", "_cv_request", "app_ctx", "current_app", "g", "request", "request_ctx", "session", "websocket"]
