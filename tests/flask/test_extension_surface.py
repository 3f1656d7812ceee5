"""What Flask extensions do to an application: one test for each thing that is unusual."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

import carboy
import carboy.flask.globals
from carboy import Carboy, abort
from carboy.engine import profile_of
from carboy.flask.blueprints import Blueprint, BlueprintSetupState
from carboy.flask.cli import with_appcontext
from carboy.flask.ctx import RequestContext
from carboy.flask.globals import app_ctx, current_app, request, request_ctx
from carboy.flask.json.provider import DefaultJSONProvider
from carboy.flask.sessions import SecureCookieSession
from carboy.flask.signals import Namespace, template_rendered
from carboy.flask.testing import FlaskClient
from carboy.flask.views import MethodView


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def protocol(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.fixture
def app() -> Carboy:
    app = Carboy("extended")
    app.secret_key = "test"
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True
    app.add_url_rule("/", "index", lambda: "index")
    app.add_url_rule("/bug", "bug", lambda: 1 // 0)
    return app


@pytest.mark.parametrize(("name", "path"), [("handle_exception", "/bug"), ("handle_user_exception", "/missing")])
def test_error_handlers_are_looked_up_on_the_instance_at_each_error(
    app: Carboy, protocol: str, name: str, path: str
) -> None:
    """Flask-RESTful and Flask-Cors put their own function in front of the application's."""
    client = app.test_client(protocol=protocol)
    status = client.get(path).status_code
    original = getattr(app, name)

    def in_front(error: Exception) -> Any:
        response = app.make_response(original(error))
        response.headers["X-Seen"] = type(error).__name__
        return response

    setattr(app, name, in_front)
    response = client.get(path)
    assert response.status_code == status
    assert response.headers["X-Seen"] in {"NotFound", "ZeroDivisionError"}


def test_dispatch_request_replaced_on_the_instance_does_the_work_by_hand(app: Carboy, protocol: str) -> None:
    """Flask-DebugToolbar."""
    seen: dict[Any, str] = {}

    def dispatch_request() -> Any:
        req = request_ctx.request
        seen[req] = req.path
        if req.routing_exception is not None:
            app.raise_routing_exception(req)
        rule = req.url_rule
        if getattr(rule, "provide_automatic_options", False) and req.method == "OPTIONS":
            return app.make_default_options_response()
        return app.ensure_sync(app.view_functions[rule.endpoint])(**req.view_args)

    app.dispatch_request = dispatch_request
    client = app.test_client(protocol=protocol)
    assert client.get("/").data == b"index"
    assert client.get("/missing").status_code == 404
    assert client.options("/").headers["Allow"]
    assert list(seen.values()) == ["/", "/missing", "/"]


def test_requests_and_contexts_take_any_attribute_and_hash_by_identity(app: Carboy, protocol: str) -> None:
    """Flask-SocketIO and Flask-Limiter store on them; Flask-DebugToolbar keys dictionaries by them."""

    @app.route("/store")
    def store() -> dict[str, bool]:
        req = request._get_current_object()
        req.sid = "7"
        request_ctx.limits = app_ctx.extra = ["x"]
        own = {req: 1, request_ctx._get_current_object(): 2, app_ctx._get_current_object(): 3}
        return {"sid": request.sid == "7", "limits": request_ctx.limits == ["x"], "keys": len(own) >= 2}

    assert app.test_client(protocol=protocol).get("/store").json == {"sid": True, "limits": True, "keys": True}


def test_a_request_context_can_be_entered_outside_any_server(app: Carboy) -> None:
    """Flask-SocketIO enters one for each event and puts a session of its own into it."""
    environ = app.test_request_context("/socket").request.environ
    environ["flask.app"] = app
    with app.request_context(environ) as ctx:
        assert isinstance(ctx, RequestContext)
        assert hasattr(request_ctx, "_session")
        request_ctx._session = SecureCookieSession({"own": True})
        assert carboy.session["own"]
        assert request.path == "/socket"


def test_app_ctx_has_a_session_only_in_a_request(app: Carboy) -> None:
    """For Flask-SocketIO that is the sign of Flask 3.2, where it uses ``app_ctx`` in place of ``request_ctx``."""
    with app.app_context():
        assert not hasattr(app_ctx, "session")
    with app.test_request_context():
        assert app_ctx.session is request_ctx.session


def test_each_push_has_a_context_of_its_own(app: Carboy, protocol: str) -> None:
    """Flask-SQLAlchemy's scope is ``id(app_ctx)``."""
    alive: list[object] = []
    ended: list[int] = []
    app.add_url_rule("/scope", "scope", lambda: (alive.append(app_ctx._get_current_object()), "x")[1])
    app.teardown_appcontext(lambda error: ended.append(id(app_ctx._get_current_object())))
    client = app.test_client(protocol=protocol)
    for _ in range(20):
        client.get("/scope")
    assert len({id(ctx) for ctx in alive}) == 20
    assert ended == [id(ctx) for ctx in alive]


def test_hooks_added_and_removed_during_requests_count_at_once(app: Carboy, protocol: str) -> None:
    """Flask-Caching appends during a request; Flask-Dance's fixture removes."""
    calls: list[str] = []

    def after(response: Any) -> Any:
        calls.append("after")
        return response

    def before() -> None:
        calls.append("before")

    @app.route("/append")
    def append() -> str:
        app.after_request_funcs.setdefault(None, []).append(after)
        app.before_request_funcs.setdefault(None, []).append(before)
        return "x"

    client = app.test_client(protocol=protocol)
    client.get("/append")
    assert calls == ["after"]
    client.get("/")
    assert calls == ["after", "before", "after"]
    app.before_request_funcs[None].remove(before)
    app.after_request_funcs[None].remove(after)
    client.get("/")
    assert calls == ["after", "before", "after"]


def test_the_json_provider_can_be_swapped_late(app: Carboy, protocol: str) -> None:
    """Flask-Security, Flask-JWT-Extended, connexion."""

    class Provider(DefaultJSONProvider):
        def dumps(self, obj: Any, **kwargs: Any) -> str:
            return f"swapped {super().dumps(obj, **kwargs)}"

    app.add_url_rule("/json", "json", lambda: {"a": 1})
    client = app.test_client(protocol=protocol)
    assert client.get("/json").json == {"a": 1}
    app.json_provider_class = Provider
    app.json = app.json_provider_class(app)
    assert client.get("/json").data.startswith(b"swapped")


def test_view_functions_holds_the_users_own_function(app: Carboy, protocol: str) -> None:
    """Flask-WTF, Limiter, Talisman, restx read it, its module and its attributes; restx puts another in its place."""

    def view() -> str:
        return "view"

    view.exempt = True
    app.route("/view")(view)
    client = app.test_client(protocol=protocol)
    assert client.get("/view").data == b"view"
    assert app.view_functions["view"] is view
    app.view_functions["view"] = lambda: "another"
    assert client.get("/view").data == b"another"


def test_a_class_based_view_is_known_by_its_class(app: Carboy) -> None:
    class Items(MethodView):
        def get(self) -> str:
            return "items"

    app.add_url_rule("/items", view_func=Items.as_view("items"))
    assert app.view_functions["items"].view_class is Items
    assert app.view_functions["items"].__module__ == __name__


def test_the_static_routes_have_the_names_that_checks_exempt(app: Carboy, protocol: str, tmp_path: Path) -> None:
    """pgAdmin, by way of Flask-WTF."""
    (tmp_path / "a.txt").write_text("a")
    app.static_folder = str(tmp_path)
    app.register_blueprint(Blueprint("other", __name__, static_folder=str(tmp_path), static_url_path="/other"))
    exempt = {"flask.app.<lambda>", "flask.blueprints.send_static_file"}

    @app.before_request
    def check() -> None:
        view = app.view_functions[request.endpoint]
        if f"{view.__module__}.{view.__name__}" not in exempt:
            abort(401)

    client = app.test_client(protocol=protocol)
    for path in ("/static/a.txt", "/other/a.txt"):
        with client.get(path) as response:
            assert response.data == b"a"
    assert client.get("/").status_code == 401


def test_flask_and_blueprint_are_plain_cooperative_classes(protocol: str) -> None:
    """APIFlask and Flask-Admin."""

    class Scaffold:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.extra = kwargs.pop("extra")
            super().__init__(*args, **kwargs)

        def make_response(self, rv: Any) -> Any:
            return super().make_response(f"{self.extra} {rv}")

        def add_url_rule(self, *args: Any, **kwargs: Any) -> None:
            super().add_url_rule(*args, **kwargs)

    class State(BlueprintSetupState):
        def add_url_rule(self, rule: str, *args: Any, **kwargs: Any) -> None:
            super().add_url_rule(f"/admin{rule}", *args, **kwargs)

    class APIBlueprint(Scaffold, Blueprint):
        def make_setup_state(self, app: Any, options: Any, first_registration: bool = False) -> State:
            return State(self, app, options, first_registration)

    class APIFlask(Scaffold, Carboy):
        pass

    app = APIFlask("api", extra="api")
    bp = APIBlueprint("bp", __name__, extra="bp")
    bp.add_url_rule("/x", view_func=lambda: "view", endpoint="x")
    app.register_blueprint(bp)
    assert app.test_client(protocol=protocol).get("/admin/x").data == b"api view"
    assert isinstance(app, Carboy) and isinstance(bp, Blueprint)


def test_the_wsgi_app_can_be_wrapped(app: Carboy, protocol: str) -> None:
    """Flask-SocketIO and connexion."""

    class Middleware:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __call__(self, environ: Any, start_response: Any) -> Any:
            environ["flask.app"] = app
            return self.inner(environ, start_response)

    app.wsgi_app = Middleware(app.wsgi_app)
    app.add_url_rule("/env", "env", lambda: str(request.environ["flask.app"] is app))
    assert app.test_client(protocol=protocol).get("/env").data == b"True"


@pytest.mark.parametrize("patched", ["class", "subclass"])
def test_call_can_be_replaced_by_one_for_wsgi(protocol: str, patched: str) -> None:
    """Sentry replaces it on the class; applications override it in a subclass."""
    cls = type("Patched", (Carboy,), {})
    original = cls.__call__

    def call(self: Carboy, environ: Any, start_response: Any) -> Any:
        environ["traced"] = "yes"
        return original(self, environ, start_response)

    cls.__call__ = call
    apps = [(cls if patched == "class" else type("Sub", (cls,), {}))("x") for _ in range(2)]
    for app in apps:
        app.add_url_rule("/", "index", lambda: request.environ["traced"])
        assert app.test_client(protocol=protocol).get("/").data == b"yes"


def test_private_names_that_extensions_import() -> None:
    """flask-restx, Flask-Admin."""
    from carboy.flask.sansio.app import App
    from carboy.flask.sansio.scaffold import Scaffold, _endpoint_from_view_func

    assert issubclass(Carboy, App) and issubclass(Blueprint, Scaffold) and issubclass(App, Scaffold)
    assert _endpoint_from_view_func(lambda: "x") == "<lambda>"


def test_what_flasks_modules_happen_to_import_can_be_imported_from_them() -> None:
    """flask-openapi3 takes click from flask.cli; tests patch such names."""
    from carboy.flask.cli import click as from_cli
    from carboy.flask.helpers import werkzeug as from_helpers
    from carboy.flask.json.provider import decimal as from_provider

    assert [from_cli.__name__, from_helpers.__name__, from_provider.__name__] == ["click", "werkzeug", "decimal"]


def test_signals_can_be_defined_and_sent_with_the_real_app(app: Carboy, protocol: str) -> None:
    """Flask-Login, Principal, SQLAlchemy, Dance."""
    logged_in = Namespace().signal("logged-in")
    got: list[Any] = []
    logged_in.connect(lambda sender, **extra: got.append(sender), weak=False)
    app.add_url_rule("/login", "login", lambda: str(logged_in.send(current_app._get_current_object()) != []))
    assert app.test_client(protocol=protocol).get("/login").data == b"True"
    assert got == [app]


def test_template_signals_carry_template_and_context(app: Carboy, protocol: str) -> None:
    """Flask-DebugToolbar."""
    got: list[Any] = []

    def record(sender: Carboy, template: Any, context: dict[str, Any]) -> None:
        got.append(context["a"])

    app.add_url_rule("/t", "t", lambda: carboy.render_template_string("{{ a }}", a=1))
    with template_rendered.connected_to(record, app):
        app.test_client(protocol=protocol).get("/t")
    assert got == [1]


def test_a_test_client_class_can_be_subclassed(app: Carboy, protocol: str) -> None:
    """Flask-Login."""

    class LoginClient(FlaskClient):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            user = kwargs.pop("user")
            super().__init__(*args, **kwargs)
            with self.session_transaction() as session:
                session["user"] = user

    app.add_url_rule("/me", "me", lambda: carboy.session["user"])
    app.test_client_class = LoginClient
    assert app.test_client(protocol=protocol, user="ann").get("/me").data == b"ann"


def test_rules_can_be_matched_and_built_by_an_adapter_of_ones_own(app: Carboy, protocol: str) -> None:
    """Flask-RESTful and restx ask ``create_url_adapter`` whether a request that failed was theirs."""

    @app.errorhandler(404)
    def missing(error: HTTPException) -> tuple[str, int]:
        adapter = current_app.create_url_adapter(request)
        assert adapter is not None
        rule, _ = adapter.match("/", method="GET", return_rule=True)
        return f"{rule.endpoint} {adapter.build('index')}", 404

    assert app.test_client(protocol=protocol).get("/missing").data == b"index /"


def test_the_metadata_of_flask_is_not_ours() -> None:
    """Flask-DebugToolbar and restx read it. carboy neither brings Flask along nor invents metadata for it."""
    carboy_itself = importlib.metadata.distribution("carboy")
    assert carboy_itself.metadata["Name"] == "carboy"
    assert not [name for name in carboy_itself.requires or () if name.lower().startswith("flask")]


def test_hook_registered_at_each_request_does_not_compile_the_routes_again(app: Carboy) -> None:
    """Flask-Caching registers in its views; with many routes that would cost more than the view."""

    @app.get("/registers")
    def registers() -> str:
        app.after_request_funcs.setdefault(None, []).append(lambda response: response)
        return "x"

    client = app.test_client()
    client.get("/registers")
    router = profile_of(app).router
    client.get("/registers")
    assert router is not None
    assert profile_of(app).router is router


@pytest.mark.parametrize("run", ["thread", "loop"])
@pytest.mark.parametrize("hook_is_async", [False, True])
def test_what_a_sync_decorator_leaves_unawaited_is_awaited(
    app: Carboy, protocol: str, run: str, hook_is_async: bool
) -> None:
    """Flask-Cors's cross_origin() hands the coroutine to make_response(); others return it."""

    async def view() -> str:
        return "awaited"

    async def hook() -> None:
        app.config["HOOKED"] = True

    if hook_is_async:
        app.before_request(hook)
    app.add_url_rule("/returned", "returned", lambda: view(), run=run)
    app.add_url_rule("/made", "made", lambda: carboy.make_response(view(), 202))
    client = app.test_client(protocol=protocol)
    assert client.get("/returned").text == "awaited"
    answer = client.get("/made")
    assert (answer.status_code, answer.text) == (202, "awaited")


def test_fallbacks_for_the_context_stacks_of_old_flask_find_that_they_are_gone() -> None:
    """Flask-Limiter, Flask-SocketIO and many older ones try them first."""
    for name in ("_request_ctx_stack", "_app_ctx_stack"):
        with pytest.raises(ImportError):
            exec(f"from carboy.flask import {name}")
        assert not hasattr(carboy.flask.globals, name)


def test_environ_is_there_on_every_protocol(app: Carboy, protocol: str) -> None:
    @app.post("/environ")
    def environ() -> list[str]:
        environ = request.environ
        return [
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ["HTTP_X_A"],
            environ["wsgi.input"].read().decode(),
        ]

    answer = app.test_client(protocol=protocol).post("/environ", data="body", headers={"X-A": "1"})
    assert answer.json == ["POST", "/environ", "1", "body"]


def test_a_blueprint_brings_templates_and_static_files(app: Carboy, protocol: str, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "panel.html").write_text("{{ url_for('panel.static', filename='a.css') }}")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").write_text("b {}")
    panel = Blueprint(
        "panel",
        __name__,
        root_path=str(tmp_path),
        template_folder="templates",
        static_folder="static",
        url_prefix="/panel",
    )
    panel.add_url_rule("/", "show", lambda: carboy.render_template("panel.html"))
    app.register_blueprint(panel)
    client = app.test_client(protocol=protocol)
    assert client.get("/panel/").text == "/panel/static/a.css"
    with client.get("/panel/static/a.css") as answer:
        assert answer.text == "b {}"


def test_commands_are_added_to_the_application_and_to_blueprints(app: Carboy) -> None:
    panel = Blueprint("panel", __name__, cli_group="panel")

    @app.cli.command("hello")
    @click.argument("name")
    def hello(name: str) -> None:
        click.echo(f"hello {name} from {current_app.name}")

    panel.cli.command("check")(with_appcontext(lambda: click.echo(current_app.name)))
    app.register_blueprint(panel)
    runner = app.test_cli_runner()
    assert runner.invoke(args=["hello", "you"]).output == "hello you from extended\n"
    assert runner.invoke(args=["panel", "check"]).output == "extended\n"


def test_a_rule_registered_for_websockets_has_an_ordinary_view_under_wsgi(app: Carboy) -> None:
    """flask-sock takes the socket out of the server's environ, and has the handshake in the request."""
    hooked = []
    app.before_request(lambda: hooked.append(request.path))
    app.add_url_rule("/ws", view_func=lambda: request.environ["gunicorn.socket"], endpoint="ws", websocket=True)
    app.add_websocket("/ours", "ours", lambda: None)
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket"}
    client = app.test_client()
    answer = client.get("/ws", headers=handshake, environ_overrides={"gunicorn.socket": "a socket"})
    assert (answer.text, hooked) == ("a socket", ["/ws"])
    assert "a WebSocket, which the server cannot open" in client.get("/ours", headers=handshake).text


def test_a_response_can_tell_gunicorn_that_its_connection_is_used_up(app: Carboy) -> None:
    """flask-sock's response does, when its handler has ended."""

    class Ended(carboy.Response):
        def __call__(self, *args: Any) -> Any:
            raise StopIteration

    torn_down: list[object] = []
    app.teardown_request(torn_down.append)
    app.add_url_rule("/ended", "ended", Ended)
    with pytest.raises(StopIteration):
        app(EnvironBuilder("/ended").get_environ(), lambda *args: None)
    assert len(torn_down) == 1
