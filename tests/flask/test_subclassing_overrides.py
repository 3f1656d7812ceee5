"""Methods overridden in a subclass, or replaced on the instance or on the class, with 3.1 and 3.2 signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from werkzeug.exceptions import NotFound

import carboy
from carboy import Carboy
from carboy.flask.ctx import AppContext

# Where in a request each method is called: the path that leads to it. In 3.1 these do not take the context.
WITH_CONTEXT_IN_3_2 = {
    "dispatch_request": "/",
    "full_dispatch_request": "/",
    "preprocess_request": "/",
    "finalize_request": "/",
    "process_response": "/",
    "handle_http_exception": "/missing",
    "handle_user_exception": "/missing",
    "handle_exception": "/bug",
    "log_exception": "/bug",
    "make_default_options_response": "/",
    "do_teardown_request": "/",
    "do_teardown_appcontext": "/",
    "update_template_context": "/template",
}
# These are the same in 3.1 and 3.2.
PLAIN = {
    "make_response": "/",
    "create_url_adapter": "/",
    "request_context": "/",
    "raise_routing_exception": "/missing",
    "trap_http_exception": "/missing",
    "inject_url_defaults": "/url",
    "url_for": "/url",
    "handle_url_build_error": "/no-url",
    "redirect": "/redirect",
    "ensure_sync": "/ensured",
    "wsgi_app": "/",
    "select_jinja_autoescape": "/file-template",
}


def build(cls: type[Carboy]) -> Carboy:
    """Return an application with a path for each method above."""
    app = cls("overrides")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True

    @app.route("/")
    def index() -> str:
        return "index"

    @app.route("/bug")
    def bug() -> str:
        raise ZeroDivisionError

    @app.route("/template")
    def template() -> str:
        return carboy.render_template_string("{{ 1 + 1 }}")

    @app.route("/file-template")
    def file_template() -> str:
        return app.jinja_env.from_string("x").render() + str(app.jinja_env.autoescape("x.html"))

    @app.route("/url")
    def url() -> str:
        return carboy.url_for("index")

    @app.route("/no-url")
    def no_url() -> str:
        with suppress(Exception):
            carboy.url_for("nowhere")
        return "none"

    @app.route("/redirect")
    def redirect() -> Any:
        return carboy.redirect("/")

    @app.route("/ensured")
    def ensured() -> str:
        return app.ensure_sync(index)()

    return app


def in_3_1(name: str, seen: list[str], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an override that takes no context and passes on what it got."""

    def override(self: Carboy, *args: Any, **kwargs: Any) -> Any:
        assert not any(isinstance(arg, AppContext) for arg in args)
        seen.append(name)
        return original(self, *args, **kwargs)

    # The signature of Flask 3.1, by which it is recognised.
    return {
        0: lambda self: override(self),
        1: lambda self, value: override(self, value),
        2: lambda self, value, from_error_handler=False: override(self, value, from_error_handler),
        -1: lambda self, exc=None: override(self, exc),
    }[ARGUMENTS[name]]


def in_3_2(name: str, seen: list[str], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an override whose first parameter is the context."""

    def override(self: Carboy, ctx: Any, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(ctx, AppContext)
        seen.append(name)
        return original(self, ctx, *args, **kwargs)

    return {
        0: lambda self, ctx: override(self, ctx),
        1: lambda self, ctx, value: override(self, ctx, value),
        2: lambda self, ctx, value, from_error_handler=False: override(self, ctx, value, from_error_handler),
        -1: lambda self, ctx, exc=None: override(self, ctx, exc),
    }[ARGUMENTS[name]]


# How many arguments a method takes beside the context; -1: one that may be left out.
ARGUMENTS = {
    "dispatch_request": 0,
    "full_dispatch_request": 0,
    "preprocess_request": 0,
    "finalize_request": 2,
    "process_response": 1,
    "handle_http_exception": 1,
    "handle_user_exception": 1,
    "handle_exception": 1,
    "log_exception": 1,
    "make_default_options_response": 0,
    "do_teardown_request": -1,
    "do_teardown_appcontext": -1,
    "update_template_context": 1,
}


def plain(name: str, seen: list[str], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return an override that takes anything."""

    def override(self: Carboy, *args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return original(self, *args, **kwargs)

    return override


def on_subclass(name: str, override: Callable[..., Any]) -> Carboy:
    """Return an application of a subclass with *override*."""
    return build(type("Sub", (Carboy,), {name: override}))


def on_instance(name: str, override: Callable[..., Any]) -> Carboy:
    """Return an application with *override* as an attribute of its own, set as late as possible."""
    app = build(Carboy)
    app.test_client().get("/")
    setattr(app, name, override.__get__(app))
    return app


def on_class(name: str, override: Callable[..., Any]) -> Carboy:
    """Return an application whose class was patched before the first request, as tracing libraries do."""
    cls = type("Patched", (Carboy,), {})
    app = build(cls)
    setattr(cls, name, override)
    return app


PLACES = [on_subclass, on_instance, on_class]
CASES = [
    *((name, path, in_3_1) for name, path in WITH_CONTEXT_IN_3_2.items()),
    *((name, path, in_3_2) for name, path in WITH_CONTEXT_IN_3_2.items()),
    *((name, path, plain) for name, path in PLAIN.items()),
]


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def protocol(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize(("name", "path", "signature"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_an_override_is_called_and_can_call_the_original(
    name: str, path: str, signature: Any, place: Any, protocol: str
) -> None:
    seen: list[str] = []
    expected = build(Carboy).test_client(protocol=protocol)
    client = place(name, signature(name, seen, getattr(Carboy, name))).test_client(protocol=protocol)
    method = "OPTIONS" if name == "make_default_options_response" else "GET"
    response = client.open(path, method=method)
    assert set(seen) == {name}
    same = expected.open(path, method=method)
    assert (response.status, response.data) == (same.status, same.data)


@pytest.mark.parametrize("name", ["dispatch_request", "preprocess_request", "full_dispatch_request"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_an_override_decides_without_the_original(name: str, place: Any, protocol: str) -> None:
    def override(self: Carboy, *args: Any) -> Any:
        return self.make_response("mine")

    assert place(name, override).test_client(protocol=protocol).get("/").data == b"mine"


def test_taking_an_override_away_again_restores_the_original(protocol: str) -> None:
    app = on_instance("dispatch_request", lambda self: "mine")
    client = app.test_client(protocol=protocol)
    assert client.get("/").data == b"mine"
    del app.dispatch_request
    assert client.get("/").data == b"index"


def test_an_async_view_works_under_an_override(protocol: str) -> None:
    seen: list[str] = []
    app = on_subclass("dispatch_request", in_3_1("dispatch_request", seen, Carboy.dispatch_request))

    @app.route("/async")
    async def view() -> str:
        return carboy.request.path

    assert app.test_client(protocol=protocol).get("/async").data == b"/async"
    assert seen == ["dispatch_request"]


def test_super_without_arguments_works_in_both_signatures(protocol: str) -> None:
    class Old(Carboy):
        def dispatch_request(self) -> Any:
            return f"old {super().dispatch_request()}"

    class New(Old):
        def dispatch_request(self, ctx: AppContext) -> Any:
            return f"new {super().dispatch_request()} {ctx.request.path}"

    assert build(New).test_client(protocol=protocol).get("/").data == b"new old index /"


def test_a_session_interface_is_opened_and_saved_as_in_flask(protocol: str) -> None:
    from carboy.flask.sessions import SecureCookieSession, SessionInterface

    steps: list[str] = []

    class Recorded(SessionInterface):
        def open_session(self, app: Carboy, request: Any) -> SecureCookieSession:
            steps.append(f"open {request.path}")
            return SecureCookieSession()

        def save_session(self, app: Carboy, session: Any, response: Any) -> None:
            steps.append(f"save {response.status_code}")

    app = build(Carboy)
    app.test_client().get("/")
    app.session_interface = Recorded()
    app.test_client(protocol=protocol).get("/missing")
    assert steps == ["open /missing", "save 404"]


def test_middleware_around_wsgi_app_is_kept_on_every_protocol(protocol: str) -> None:
    app = build(Carboy)
    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/missing":
            return NotFound("middleware")(environ, start_response)
        environ["REMOTE_USER"] = "somebody"
        return inner(environ, start_response)

    app.wsgi_app = middleware

    @app.route("/user")
    def user() -> str:
        return str(carboy.request.remote_user)

    client = app.test_client(protocol=protocol)
    assert b"middleware" in client.get("/missing").data
    assert client.get("/user").data == b"somebody"
