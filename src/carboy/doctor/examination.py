"""Looks at a loaded application."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import typing as t
from pathlib import Path

from .. import engine
from ..server.interface import choose_interface
from .blocking import blocking_calls
from .extensions import conflicts, judge, loaded_extensions
from .findings import Finding, Report

if t.TYPE_CHECKING:
    from ..app import Carboy


def examine(app: Carboy) -> Report:
    """Return what is to be said of *app*, which is loaded and not changed."""
    report = Report(app.name)
    extensions = loaded_extensions(app.extensions)
    report.add("Serving", _serving(app))
    for distribution, modules in extensions:
        report.add("Extensions", judge(distribution, modules, bool(app.secret_key)))
    report.add("Async code", blocking_calls(_functions_of(app)))
    report.add("Installed", _missing_extras())
    carboy = importlib.metadata.distribution("carboy")
    report.add("Installed", conflicts([carboy, *(distribution for distribution, _ in extensions)]))
    return report


def _serving(app: Carboy) -> t.Iterator[Finding]:
    interface, reason = choose_interface(app)
    yield Finding("good", "carboy serve", f"uses {interface.upper()}, because {reason}")
    profile = engine.profile_of(app)
    middleware = [name for name in ("wsgi_app", "__call__") if name in profile.overridden]
    for name in middleware:
        yield Finding(
            "note",
            f"app.{name}",
            f"is wrapped by {_wrapper(app, name)}: every request runs as a WSGI request in a thread, on all protocols,"
            " and WebSockets go around it",
            "fine under WSGI; for async views, do the same in hooks (before_request, after_request)",
        )
    replaced = sorted(set(profile.overridden) - set(middleware) - _LATE)
    if profile.as_in_flask and replaced:
        yield Finding(
            "note",
            ", ".join(f"app.{name}" for name in replaced),
            "replaced: requests take Flask's steps one by one, in a thread",
            "fine, though slower; async views still work",
        )


# Replacing these changes nothing of how a request runs.
_LATE = frozenset(
    {"handle_exception", "handle_user_exception", "handle_http_exception", "log_exception", "make_response"}
)


def _wrapper(app: Carboy, name: str) -> str:
    wrapper = vars(app).get(name, getattr(type(app), name))
    kind = type(wrapper)
    if kind.__module__ in ("builtins", "types"):
        return f"{wrapper.__module__}.{wrapper.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _functions_of(app: Carboy) -> t.Iterator[tuple[str, t.Callable[..., t.Any]]]:
    for endpoint, view in app.view_functions.items():
        view_class = getattr(view, "view_class", None)
        if view_class is None:
            yield f"the view of {endpoint!r}", view
        else:
            for method in ("get", "post", "put", "patch", "delete", "head", "options", "dispatch_request"):
                if method in vars(view_class):
                    yield f"the view of {endpoint!r}", vars(view_class)[method]
    for kind in ("before_request", "after_request", "teardown_request"):
        for functions in getattr(app, f"{kind}_funcs").values():
            for function in functions:
                yield f"the {kind} function {getattr(function, '__qualname__', function)!r}", function
    for codes in app.error_handler_spec.values():
        for handlers in codes.values():
            for handler in handlers.values():
                yield f"the error handler {getattr(handler, '__qualname__', handler)!r}", handler


def _missing_extras() -> t.Iterator[Finding]:
    if importlib.util.find_spec("granian") is None:
        yield Finding(
            "note",
            "granian",
            "not installed: 'carboy serve' needs it",
            'pip install "carboy[server]", or another server',
        )
    if importlib.util.find_spec("dotenv") is None:
        files = [name for name in (".env", ".flaskenv") if Path(name).is_file()]
        if files and not os.environ.get("FLASK_SKIP_DOTENV"):
            yield Finding(
                "problem", " and ".join(files), "not read: python-dotenv is missing", 'pip install "carboy[dotenv]"'
            )
