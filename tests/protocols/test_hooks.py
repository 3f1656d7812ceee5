"""Hooks run in Flask's order, sync and async ones mixed, the same on each protocol."""

import asyncio
import threading

import pytest

import carboy
from carboy import g, request


def marker(calls, name, asynchronous, result=None):
    """Return a hook that notes its name, and returns *result* or its argument."""
    if asynchronous:

        async def hook(*args):
            await asyncio.sleep(0)
            calls.append(name)
            return result if result is not None else args[0] if args else None

    else:

        def hook(*args):
            calls.append(name)
            return result if result is not None else args[0] if args else None

    return hook


ORDER = [
    "url app",
    "url bp",
    "before app 1",
    "before app 2",
    "before bp",
    "view",
    "after bp 2",
    "after bp 1",
    "after app 2",
    "after app 1",
    "teardown bp",
    "teardown app 2",
    "teardown app 1",
    "appcontext 2",
    "appcontext 1",
]


@pytest.mark.parametrize("view_async", [False, True])
@pytest.mark.parametrize("hooks_async", [(False,), (True,), (True, False), (False, True, True)])
def test_order(app, client, view_async, hooks_async):
    calls = []
    turn = iter(hooks_async * 20)

    def hook(name):
        return marker(calls, name, next(turn))

    bp = carboy.Blueprint("bp", __name__)
    app.url_value_preprocessor(lambda endpoint, values: calls.append("url app"))
    bp.url_value_preprocessor(lambda endpoint, values: calls.append("url bp"))
    app.before_request(hook("before app 1"))
    app.before_request(hook("before app 2"))
    bp.before_request(hook("before bp"))
    bp.after_request(hook("after bp 1"))
    bp.after_request(hook("after bp 2"))
    app.after_request(hook("after app 1"))
    app.after_request(hook("after app 2"))
    bp.teardown_request(hook("teardown bp"))
    app.teardown_request(hook("teardown app 1"))
    app.teardown_request(hook("teardown app 2"))
    app.teardown_appcontext(hook("appcontext 1"))
    app.teardown_appcontext(hook("appcontext 2"))
    bp.add_url_rule("/", "index", marker(calls, "view", view_async, result="done"))
    app.register_blueprint(bp)
    assert client.get("/").text == "done"
    assert calls == ORDER


@pytest.mark.parametrize("asynchronous", [False, True])
def test_before_request_that_answers_ends_the_request(app, client, asynchronous):
    calls = []
    app.before_request(marker(calls, "first", asynchronous, "stop"))
    app.before_request(marker(calls, "second", asynchronous))
    app.after_request(marker(calls, "after", asynchronous))
    app.add_url_rule("/", "index", marker(calls, "view", asynchronous, "view"))
    assert client.get("/").text == "stop"
    assert calls == ["first", "after"]


@pytest.mark.parametrize("view_async", [False, True])
@pytest.mark.parametrize("hook_async", [False, True])
def test_context_is_one_through_all_steps(app, client, view_async, hook_async):
    async def async_before():
        g.steps = ["before"]
        carboy.session["n"] = 1

    def sync_before():
        g.steps = ["before"]
        carboy.session["n"] = 1

    async def async_view():
        g.steps.append(request.path)
        await asyncio.sleep(0)
        return str(carboy.session["n"])

    def sync_view():
        g.steps.append(request.path)
        return str(carboy.session["n"])

    async def async_after(response):
        response.headers["X-Steps"] = " ".join(g.steps)
        return response

    def sync_after(response):
        response.headers["X-Steps"] = " ".join(g.steps)
        return response

    app.before_request(async_before if hook_async else sync_before)
    app.add_url_rule("/x", "x", async_view if view_async else sync_view)
    app.after_request(async_after if hook_async else sync_after)
    response = client.get("/x")
    assert (response.text, response.headers["X-Steps"]) == ("1", "before /x")


def test_blueprint_hooks_are_for_their_blueprint(app, client):
    calls = []
    bp = carboy.Blueprint("bp", __name__, url_prefix="/bp")
    bp.before_request(marker(calls, "bp", True))
    bp.before_app_request(marker(calls, "app", False))
    bp.add_url_rule("/", "index", lambda: "")
    app.add_url_rule("/", "index", lambda: "")
    app.register_blueprint(bp)
    client.get("/")
    assert calls == ["app"]
    client.get("/bp/")
    assert calls == ["app", "app", "bp"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_teardown_runs_after_an_error(app, client, asynchronous):
    calls = []
    app.teardown_request(marker(calls, "request", asynchronous))
    app.teardown_appcontext(marker(calls, "app", asynchronous))
    app.add_url_rule("/", "index", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        client.get("/")
    assert calls == ["request", "app"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_call_on_close_runs_after_the_body(app, client, asynchronous):
    calls = []

    def sync_view():
        response = carboy.make_response("x")
        response.call_on_close(lambda: calls.append("close"))
        return response

    async def async_view():
        return sync_view()

    app.teardown_request(lambda error: calls.append("teardown"))
    app.add_url_rule("/", "index", async_view if asynchronous else sync_view)
    with client.get("/") as response:
        assert response.text == "x"
    assert calls == ["teardown", "close"]


def test_url_defaults_and_value_preprocessor(app, client):
    @app.url_defaults
    def add_language(endpoint, values):
        values.setdefault("lang", g.lang)

    @app.url_value_preprocessor
    def take_language(endpoint, values):
        g.lang = values.pop("lang", "en") if values else "en"

    @app.get("/<lang>/")
    async def index():
        return carboy.url_for("index")

    assert client.get("/de/").text == "/de/"


def test_signals_are_sent(app, client):
    calls = []

    async def started(sender, **extra):
        calls.append("started")

    def finished(sender, response, **extra):
        calls.append(response.status_code)

    app.add_url_rule("/", "index", lambda: "")
    with carboy.request_started.connected_to(started, app), carboy.request_finished.connected_to(finished, app):
        client.get("/")
    assert calls == ["started", 200]


def test_hook_added_during_a_request_counts_for_it(app, client):
    """As flask-admin and flask-wtf do."""

    def before():
        def after(response):
            response.headers["X-Late"] = "1"
            return response

        if not app.after_request_funcs.get(None):
            app.after_request_funcs.setdefault(None, []).append(after)

    app.before_request(before)
    app.add_url_rule("/", "index", lambda: "")
    assert client.get("/").headers["X-Late"] == "1"


def test_concurrent_requests_do_not_share_a_context(app, protocol):
    barrier = threading.Barrier(2)

    @app.get("/<name>")
    def show(name):
        g.name = name
        carboy.session["name"] = name
        barrier.wait(10)
        return [g.name, carboy.session["name"], request.view_args["name"]]

    answers = []

    def get(name):
        answers.append(app.test_client(protocol=protocol, lint=True).get(f"/{name}").json)

    threads = [threading.Thread(target=get, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [["a"] * 3, ["b"] * 3]
