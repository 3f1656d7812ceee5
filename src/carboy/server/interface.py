"""Choose the protocol that serves an application best, and say why."""

from __future__ import annotations

import functools
import inspect
import typing as t

from .. import engine
from ..concurrency import is_async
from ..plan import compile_plan, opens_websocket

if t.TYPE_CHECKING:
    from ..app import Carboy

Interface = t.Literal["wsgi", "asgi", "rsgi"]


def choose_interface(app: Carboy) -> tuple[Interface, str]:
    """Return the protocol to serve *app* with in production, and the reason in words.

    - ASGI where there are WebSocket rules: over RSGI, granian carries neither
      subprotocols nor close codes.
    - WSGI where all code is sync, or WSGI middleware stands before everything.
    - RSGI where something runs on an event loop.
    """
    for rule in app.url_map.iter_rules():
        if opens_websocket(rule):
            return "asgi", f"{rule.rule!r} is a WebSocket"
    if "asgi_app" in vars(app) or type(app).asgi_app is not _asgi_app():
        return "asgi", "'app.asgi_app' is wrapped"
    profile = engine.profile_of(app)
    if "wsgi_app" in profile.overridden or "__call__" in profile.overridden:
        return "wsgi", "'app.wsgi_app' is wrapped by WSGI middleware"
    reason = _needs_loop(app)
    return ("wsgi", "no code is async") if reason is None else ("rsgi", reason)


def _asgi_app() -> t.Any:
    from ..app import Carboy

    return Carboy.asgi_app


def _needs_loop(app: Carboy) -> str | None:
    profile = engine.profile_of(app)
    for rule in app.url_map.iter_rules():
        view = app.view_functions.get(rule.endpoint)
        if view is None:
            continue
        if _gives_async(view):
            return f"the view of {rule.endpoint!r} is async"
        if getattr(rule, "run", "thread") == "loop":
            return f"the view of {rule.endpoint!r} runs on the loop"
        if compile_plan(app, profile, rule).on_loop:
            return f"a function that runs with {rule.endpoint!r} is async"
    for name, functions in _outside_views(app):
        for function in functions:
            if _gives_async(function):
                return f"the {name} {getattr(function, '__qualname__', function)!r} is async"
    return None


def _outside_views(app: Carboy) -> t.Iterator[tuple[str, t.Iterable[t.Callable[..., t.Any]]]]:
    for codes in app.error_handler_spec.values():
        for handlers in codes.values():
            yield "error handler", handlers.values()
    yield "before_serving function", app.before_serving_funcs
    yield "while_serving function", app.while_serving_funcs
    yield "after_serving function", app.after_serving_funcs


def _gives_async(function: t.Callable[..., t.Any]) -> bool:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return is_async(function) or inspect.isasyncgenfunction(inner)
