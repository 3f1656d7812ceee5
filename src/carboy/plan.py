"""Compile what was registered into what a request runs.

A :class:`Profile` holds what all requests of an application share, a
:class:`Plan` what the requests of one rule do. Every "is there a …?" and "is it
async?" is asked here, once. Both are thrown away when the registry's version
moves, so nothing in them may be changed.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .concurrency import is_async
from .http.response import type_header
from .json.provider import responds_plainly
from .routing import Map, Matcher

if t.TYPE_CHECKING:
    from werkzeug.routing import Rule

    from .app import Carboy

Hook = t.Callable[..., t.Any]
Steps = tuple[tuple[bool, tuple[Hook, ...]], ...]
"""Functions in order; neighbours that are all async, or all sync, are together."""

# Methods that run user functions or replace whole steps: with one of them overridden, a request runs as in
# Flask, from sync code that waits for async functions.
_DISPATCHERS = frozenset(
    "full_dispatch_request preprocess_request dispatch_request finalize_request process_response do_teardown_request"
    " do_teardown_appcontext ensure_sync async_to_sync".split()
)
_FINISHERS = frozenset({"finalize_request", "make_response", "process_response"})
_BEGINNERS = frozenset({"wsgi_app", "__call__", "request_context"})
_TEARDOWNS = frozenset({"do_teardown_request", "do_teardown_appcontext", "request_context"})


@dataclasses.dataclass(slots=True, eq=False)
class Profile:
    """What all requests of an application share.

    Attributes:
        version: The registry's version that this was compiled from.
        router: What finds the rule; None where each request needs an adapter.
        overridden: The overridable methods that are overridden, and for each
            whether it takes the context first (Flask 3.2).
        as_in_flask: Whether steps are replaced by overridden methods.
        session_can_wait: Whether the session is opened at its first use.
        starts_first: Whether serving hooks have to run before a request does.
        begins_plainly: Whether nothing is to be done before a request's context is
            made, and nobody else makes it.
        sends_text: The content type header of text from a view, where a response of
            the application's class would add nothing to it; else None.
        sends_json: The same for JSON: whether its provider's response would not.
        unrouted: The plan of requests that no rule matched.
        unrouted_websocket: The same for WebSockets.
    """

    version: int
    router: Matcher | None
    overridden: dict[str, bool]
    as_in_flask: bool
    session_can_wait: bool
    starts_first: bool
    begins_plainly: bool
    sends_text: tuple[str, str] | None
    sends_json: bool
    plans: dict[int, Plan]
    unrouted: Plan
    unrouted_websocket: Plan
    teardown_appcontext: Steps


@dataclasses.dataclass(slots=True, eq=False)
class Plan:
    """What the requests of one rule do.

    Attributes:
        view: The user's function; None for the plan of requests without a rule.
        on_loop: Whether a server with an event loop runs this plan on it; else
            all of it runs in one worker thread, that of a WebSocket in one that
            is its own.
        stream_body: Whether the view reads the body as it arrives.
        timeout: Seconds that hooks and view may take; None for no limit.
        only_calls_view: Whether nothing but the view produces the result, or an
            error of it.
        preprocesses: Whether anything runs before the view.
        ends_plainly: Whether nothing is registered to run after the view.
        tears_down: Whether anything runs when the context is left.
    """

    profile: Profile
    view: Hook | None
    view_is_async: bool
    view_may_run_on_loop: bool
    url_processors: tuple[Hook, ...]
    before: Steps
    after: Steps
    teardown: Steps
    only_calls_view: bool
    preprocesses: bool
    ends_plainly: bool
    tears_down: bool
    on_loop: bool
    stream_body: bool
    timeout: float | None


def compile_profile(app: Carboy) -> Profile:
    """Compile what all requests of *app* share."""
    overridden = app._find_overrides()
    teardown = _steps(app, reversed(app.teardown_appcontext_funcs))
    session_can_wait = getattr(app.session_interface, "opens_at_first_use", False)
    starts_first = _starts_first(app)
    is_plain = app.response_class.is_plain
    profile = Profile(
        version=app._version.number,
        router=_router(app, overridden),
        overridden=overridden,
        as_in_flask=not _DISPATCHERS.isdisjoint(overridden),
        session_can_wait=session_can_wait,
        starts_first=starts_first,
        begins_plainly=session_can_wait and not starts_first and _BEGINNERS.isdisjoint(overridden),
        sends_text=type_header(app.response_class.default_mimetype) if is_plain else None,
        sends_json=is_plain and responds_plainly(app.json),
        plans={},
        unrouted=t.cast(Plan, None),
        unrouted_websocket=t.cast(Plan, None),
        teardown_appcontext=teardown,
    )
    profile.unrouted = _compile(app, profile, None, False)
    profile.unrouted_websocket = _compile(app, profile, None, True)
    return profile


def _starts_first(app: Carboy) -> bool:
    lifecycle = app.__dict__.get("lifecycle")
    if lifecycle is not None and lifecycle.state != "new":
        return lifecycle.state in {"starting", "ended"}
    return bool(app.before_serving_funcs or app.after_serving_funcs or app.while_serving_funcs)


def _router(app: Carboy, overridden: dict[str, bool]) -> Matcher | None:
    url_map = app.url_map
    unusual = overridden.keys() & {"create_url_adapter", "request_context"}
    if unusual or app.subdomain_matching or url_map.host_matching or not isinstance(url_map, Map):
        # Matched by the host too, or by another map.
        return None
    return url_map.matcher


def opens_websocket(rule: Rule) -> bool:
    """Return whether a rule leads to a WebSocket's handler.

    COMPAT: not if it was registered as any other, with ``websocket=True`` (flask-sock
    does). It has an ordinary view, which is given the handshake as a request and takes
    the socket out of a WSGI server that gives it.
    """
    return rule.websocket and not getattr(rule, "provide_automatic_options", False)


def compile_plan(app: Carboy, profile: Profile, rule: Rule) -> Plan:
    """Compile what the requests of *rule* do, and keep it in *profile*."""
    plan = _compile(app, profile, rule, opens_websocket(rule))
    profile.plans[id(rule)] = plan
    return plan


def _compile(app: Carboy, profile: Profile, rule: Rule | None, is_websocket: bool) -> Plan:
    view = None if rule is None else app.view_functions.get(rule.endpoint)
    run = getattr(rule, "run", "thread")
    blueprints = _blueprints(rule)
    befores, afters, teardowns = (
        (app.before_websocket_funcs, app.after_websocket_funcs, app.teardown_websocket_funcs)
        if is_websocket
        else (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs)
    )
    outside_in = (None, *reversed(blueprints))
    inside_out = (*blueprints, None)
    before = _steps(app, (f for name in outside_in for f in befores.get(name, ())))
    after = _steps(app, (f for name in inside_out for f in reversed(afters.get(name, ()))))
    teardown = _steps(app, (f for name in inside_out for f in reversed(teardowns.get(name, ()))))
    view_is_async = view is not None and is_async(view)
    timeout = None if is_websocket else getattr(rule, "timeout", app.config["REQUEST_TIMEOUT"])
    steps = (before, after, teardown, profile.teardown_appcontext)
    something_is_async = view_is_async or any(step_is_async for group in steps for step_is_async, _ in group)
    something_is_sync = any(not step_is_async for group in steps for step_is_async, _ in group)
    url_processors = tuple(f for name in outside_in for f in app.url_value_preprocessors.get(name, ()))
    return Plan(
        profile=profile,
        view=view,
        view_is_async=view_is_async,
        # Without a rule there is no view, only an error to raise.
        view_may_run_on_loop=run == "loop" or view is None,
        url_processors=url_processors,
        before=before,
        after=after,
        teardown=teardown,
        only_calls_view=view is not None and timeout is None and not (url_processors or before or profile.as_in_flask),
        preprocesses=bool(url_processors or before),
        ends_plainly=profile.session_can_wait and not after and not _FINISHERS & profile.overridden.keys(),
        tears_down=bool(teardown or profile.teardown_appcontext or _TEARDOWNS & profile.overridden.keys()),
        on_loop=(view is None or view_is_async)
        if is_websocket
        else not profile.as_in_flask
        and (something_is_async or run == "loop" or (view is None and not something_is_sync)),
        stream_body=getattr(rule, "stream_body", False),
        timeout=timeout,
    )


def _blueprints(rule: Rule | None) -> list[str]:
    """Return the dotted names of the rule's blueprint and its parents, innermost first."""
    blueprints = []
    name = "" if rule is None else rule.endpoint.rpartition(".")[0]
    while name:
        blueprints.append(name)
        name = name.rpartition(".")[0]
    return blueprints


def _steps(app: Carboy, functions: t.Iterable[Hook]) -> Steps:
    groups: list[tuple[bool, list[Hook]]] = []
    for function in functions:
        kind = is_async(function)
        if not groups or groups[-1][0] is not kind:
            groups.append((kind, []))
        groups[-1][1].append(function)
    return tuple((kind, tuple(members)) for kind, members in groups)
