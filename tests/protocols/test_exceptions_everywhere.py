"""An exception in every place where a function of the user's can run.

Whatever fails: every teardown function runs, the failure is logged once, and the next request is clean.
"""

import asyncio
import contextlib
import logging

import pytest

import carboy
from carboy import g, request, websocket
from carboy.testing import WebSocketClosed, WebSocketRefused

KINDS = pytest.mark.parametrize("kind", ["sync", "async"])
SOCKETS = pytest.mark.parametrize("protocol", ["asgi", "rsgi"], indirect=True)


class Failure(Exception):
    """What the functions of these tests raise, and nobody handles."""


class World:
    """An application with hooks everywhere, of which the one named fails once."""

    def __init__(self, app, kind):
        self.app = app
        self.kind = kind
        self.place = None
        self.torn_down = []

    def fail_at(self, place):
        if self.place == place:
            self.place = None
            raise Failure(place)

    def function(self, place, result=lambda *args: None):
        """Return a function, sync or async, that may fail."""

        def sync_function(*args, **kwargs):
            self.fail_at(place)
            return result(*args)

        async def async_function(*args, **kwargs):
            await asyncio.sleep(0)
            self.fail_at(place)
            return result(*args)

        function = sync_function if self.kind == "sync" else async_function
        function.__name__ = place.replace(" ", "_")
        return function

    def teardown(self, name):
        def sync_function(error):
            self.torn_down.append(name)
            self.fail_at(name)

        async def async_function(error):
            sync_function(error)

        return sync_function if self.kind == "sync" else async_function


@pytest.fixture
def world(app, kind):
    world = World(app, kind)
    # As in production: failures are answered and logged.
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def first(*args):
        return args[0]

    for registry in (app, blueprint := carboy.Blueprint("b", __name__, url_prefix="/b")):
        name = "app" if registry is app else "blueprint"
        registry.before_request(world.function(f"before {name}"))
        registry.after_request(world.function(f"after {name}", first))
        registry.teardown_request(world.teardown(f"teardown {name}"))
        registry.before_websocket(world.function(f"before {name}"))
        registry.after_websocket(world.function(f"after {name}", first))
        registry.teardown_websocket(world.teardown(f"teardown {name}"))
    app.teardown_appcontext(world.teardown("teardown context"))
    app.register_error_handler(KeyError, world.function("error handler", lambda error: ("handled", 400)))
    return world, blueprint


TEARDOWNS = ["teardown blueprint", "teardown app", "teardown context"]


def errors_logged(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def assert_failure_was_logged_once(caplog):
    (record,) = errors_logged(caplog)
    error = record.exc_info[1]
    while error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, Failure)


# -- Requests ------------------------------------------------------------------------


def serve_requests(app, world, blueprint):
    @blueprint.get("/")
    def index():
        @carboy.after_this_request
        def after(response):
            world.fail_at("after this request")
            return response

        assert not hasattr(g, "dirty")
        g.dirty = True
        world.fail_at("view")
        return request.args.get("a", "ok")

    @blueprint.get("/async")
    async def async_index():
        await asyncio.sleep(0)
        assert not hasattr(g, "dirty")
        g.dirty = True
        world.fail_at("view")
        return "ok"

    @blueprint.get("/handled")
    def handled():
        raise KeyError

    app.register_blueprint(blueprint)


@KINDS
@pytest.mark.parametrize(
    "place", ["before app", "before blueprint", "view", "after this request", "after blueprint", "after app"]
)
@pytest.mark.parametrize("path", ["/b/", "/b/async"])
def test_request(app, client, world, caplog, place, path):
    world, blueprint = world
    serve_requests(app, world, blueprint)
    if place == "after this request":
        path = "/b/"
    world.place = place
    assert client.get(path).status_code == 500
    assert world.torn_down == TEARDOWNS
    assert_failure_was_logged_once(caplog)
    assert client.get(path).text == "ok"


@KINDS
def test_error_handler(app, client, world, caplog):
    world, blueprint = world
    serve_requests(app, world, blueprint)
    world.place = "error handler"
    assert client.get("/b/handled").status_code == 500
    assert world.torn_down == TEARDOWNS
    assert_failure_was_logged_once(caplog)
    assert client.get("/b/handled").text == "handled"


@KINDS
@pytest.mark.parametrize("place", TEARDOWNS)
def test_teardown(app, client, world, place):
    """What a teardown function raises goes to the server, which logs it, as in Flask; the others run first."""
    world, blueprint = world
    serve_requests(app, world, blueprint)
    world.place = place
    with pytest.raises(Failure):
        client.get("/b/")
    assert world.torn_down == TEARDOWNS
    assert client.get("/b/").text == "ok"


@pytest.mark.parametrize("kind", ["sync"])
@pytest.mark.parametrize(
    "signal", ["appcontext_pushed", "request_started", "request_finished", "request_tearing_down", "appcontext_popped"]
)
def test_signal_receiver(app, client, world, caplog, signal):
    world, blueprint = world
    serve_requests(app, world, blueprint)

    def receiver(sender, **values):
        world.fail_at("receiver")

    with getattr(carboy, signal).connected_to(receiver, app):
        world.place = "receiver"
        if signal in ("request_started", "request_finished"):
            assert client.get("/b/").status_code == 500
            assert_failure_was_logged_once(caplog)
        else:
            with pytest.raises(Failure):
                client.get("/b/")
        if signal != "appcontext_pushed":
            assert world.torn_down == TEARDOWNS
        assert client.get("/b/").text == "ok"


# -- Bodies --------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("place", ["first piece", "later piece", "closing"])
def test_stream(app, client, world, place):
    world, blueprint = world

    @blueprint.get("/")
    def index():
        def pieces():
            try:
                world.fail_at("first piece")
                yield "x" * 100_000
                world.fail_at("later piece")
                yield "y"
            finally:
                world.fail_at("closing")

        async def async_pieces():
            for piece in pieces():
                await asyncio.sleep(0)
                yield piece

        return carboy.stream_with_context(pieces() if world.kind == "sync" else async_pieces())

    app.register_blueprint(blueprint)
    world.place = place
    with contextlib.suppress(Failure):
        client.get("/b/", buffered=True)
    assert world.place is None
    assert world.torn_down == TEARDOWNS
    assert len(client.get("/b/").data) == 100_001


@pytest.mark.parametrize("kind", ["sync"])
def test_close_callback(app, client, world):
    world, blueprint = world
    closed = []

    @blueprint.get("/")
    def index():
        response = carboy.Response("ok")
        response.call_on_close(lambda: world.fail_at("close callback"))
        response.call_on_close(lambda: closed.append(1))
        return response

    app.register_blueprint(blueprint)
    world.place = "close callback"
    with contextlib.suppress(Failure):
        client.get("/b/", buffered=True)
    assert world.place is None
    assert world.torn_down == TEARDOWNS
    assert client.get("/b/", buffered=True).text == "ok"
    assert closed


# -- What outlives a request ---------------------------------------------------------


@KINDS
def test_background_task(app, client, world, caplog):
    world, blueprint = world
    done = []

    @blueprint.get("/")
    def index():
        app.add_background_task(world.function("task", lambda: done.append(1)))
        return "ok"

    app.register_blueprint(blueprint)
    world.place = "task"
    with client.lifespan():
        assert client.get("/b/").text == "ok"
        assert client.get("/b/").text == "ok"
    assert done == [1]
    assert_failure_was_logged_once(caplog)
    assert "endpoint 'b.index'" in errors_logged(caplog)[0].getMessage()
    # Of two requests, and of a context for each task.
    assert world.torn_down.count("teardown context") >= 4


@KINDS
@pytest.mark.parametrize("place", ["before serving", "while serving", "after serving", "after while serving"])
def test_serving_hooks(app, client, world, caplog, place):
    world, blueprint = world
    serve_requests(app, world, blueprint)
    ran = []
    app.before_serving(world.function("before serving"))
    app.after_serving(lambda: ran.append("other after"))
    app.after_serving(world.function("after serving"))

    @app.while_serving
    def other():
        yield
        ran.append("other end")

    @app.while_serving
    def around():
        world.fail_at("while serving")
        yield
        world.fail_at("after while serving")

    world.place = place
    with pytest.raises(Exception, match=place.split()[-1]), client.lifespan():
        pass
    assert_failure_was_logged_once(caplog)
    expected = {"before serving": [], "while serving": ["other end"]}
    assert ran == expected.get(place, ["other end", "other after"])
    with client.lifespan():
        assert client.get("/b/").text == "ok"


# -- WebSockets ----------------------------------------------------------------------


@SOCKETS
@KINDS
@pytest.mark.parametrize(
    "place",
    [
        "before app",
        "before blueprint",
        "before accept",
        "after accept",
        "after message",
        "after blueprint",
        "after app",
    ],
)
def test_websocket(app, client, world, caplog, place):
    world, blueprint = world

    async def async_talk():
        assert not hasattr(g, "dirty")
        g.dirty = True
        world.fail_at("before accept")
        await websocket.accept()
        world.fail_at("after accept")
        await websocket.send(await websocket.receive())
        world.fail_at("after message")

    def sync_talk():
        assert not hasattr(g, "dirty")
        g.dirty = True
        world.fail_at("before accept")
        websocket.accept()
        world.fail_at("after accept")
        websocket.send(websocket.receive())
        world.fail_at("after message")

    blueprint.add_websocket("/", "talk", sync_talk if world.kind == "sync" else async_talk)
    app.register_blueprint(blueprint)
    world.place = place
    early = place.startswith("before")
    with pytest.raises(WebSocketRefused if early else WebSocketClosed) as ended, client.websocket("/b/") as ws:
        ws.send("x")
        while True:
            ws.receive()
    if early:
        assert ended.value.response.status_code == 500
    assert world.torn_down == TEARDOWNS
    assert_failure_was_logged_once(caplog)
    with client.websocket("/b/") as ws:
        ws.send("clean")
        assert ws.receive() == "clean"


@SOCKETS
@KINDS
@pytest.mark.parametrize("place", TEARDOWNS)
def test_websocket_teardown(app, client, world, place):
    world, blueprint = world

    @blueprint.websocket("/")
    async def talk():
        await websocket.send("ok")

    app.register_blueprint(blueprint)
    world.place = place
    with pytest.raises(Failure), client.websocket("/b/") as ws:
        ws.receive()
    assert world.torn_down == TEARDOWNS
    with client.websocket("/b/") as ws:
        assert ws.receive() == "ok"


@SOCKETS
@pytest.mark.parametrize("kind", ["sync"])
@pytest.mark.parametrize("signal", ["websocket_started", "websocket_finished"])
def test_websocket_signal_receiver(app, client, world, caplog, signal):
    world, blueprint = world

    @blueprint.websocket("/")
    async def talk():
        await websocket.send("ok")

    app.register_blueprint(blueprint)

    def receiver(sender, **values):
        world.fail_at("receiver")

    with getattr(carboy, signal).connected_to(receiver, app):
        world.place = "receiver"
        with contextlib.suppress(WebSocketRefused, WebSocketClosed), client.websocket("/b/") as ws:
            ws.receive()
            ws.receive()
        assert world.torn_down == TEARDOWNS
        assert_failure_was_logged_once(caplog)
        with client.websocket("/b/") as ws:
            assert ws.receive() == "ok"
