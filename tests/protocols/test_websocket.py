"""WebSockets: routing, hooks, errors, limits and the end, over ASGI and RSGI."""

import asyncio
import threading
import time

import pytest
from werkzeug.exceptions import BadRequest

import carboy
from carboy import Blueprint, WebSocketDisconnect, abort, current_app, g, request, session, url_for, websocket
from carboy.http import websocket as module
from carboy.testing import WebSocketClosed, WebSocketRefused


@pytest.fixture(params=["asgi", "rsgi"])
def protocol(request):
    """Runs a test on each protocol that has WebSockets."""
    return request.param


@pytest.fixture(autouse=True)
def short_sweep(monkeypatch):
    monkeypatch.setattr(module, "SWEEP_INTERVAL", 0.02)


def code(protocol, sent):
    """The close code that the client sees: granian's RSGI sends none."""
    return sent if protocol == "asgi" else 1005


@pytest.fixture
def calls(app):
    """What ran, in order; the end of each context included."""
    calls = []

    @app.teardown_websocket
    def tear_down(error):
        calls.append(f"teardown {type(error).__name__}")

    return calls


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- Messages -----------------------------------------------------------------------


@pytest.fixture(params=["async", "sync"])
def echo(request, app):
    """An echo at /echo, by an async and by a sync handler."""

    async def async_echo():
        async for message in websocket:
            await websocket.send(message)

    def sync_echo():
        assert threading.current_thread().name.startswith("carboy-long-lived")
        for message in websocket:
            websocket.send(message)

    app.add_websocket("/echo", "echo", async_echo if request.param == "async" else sync_echo)


@pytest.mark.parametrize("message", ["text", "", "Grüße \N{BEER MUG}", b"\0\xff", b""])
def test_messages_come_back(client, echo, message):
    with client.websocket("/echo") as ws:
        for _ in range(2):
            ws.send(message)
            assert ws.receive() == message


def test_json_goes_through_the_applications_provider(app, client):
    @app.websocket("/")
    async def view():
        await websocket.send_json({"got": await websocket.receive_json()})

    with client.websocket("/") as ws:
        ws.send_json([1, {"a": None}])
        assert ws.receive_json() == {"got": [1, {"a": None}]}


def test_what_is_not_json_can_be_caught_or_closes(app, client, protocol):
    @app.websocket("/")
    async def view():
        try:
            await websocket.receive_json()
        except BadRequest:
            await websocket.send("caught")
        await websocket.receive_json()

    with client.websocket("/") as ws:
        ws.send("{")
        assert ws.receive() == "caught"
        ws.send("{")
        with pytest.raises(WebSocketClosed) as closed:
            ws.receive()
    assert closed.value.code == code(protocol, 1008)


def test_other_bytes_are_sent_as_bytes_and_other_values_refused(app, client):
    @app.websocket("/")
    async def view():
        await websocket.send(bytearray(b"a"))
        await websocket.send(memoryview(b"b"))
        with pytest.raises(TypeError, match="send_json"):
            await websocket.send(1)
        await websocket.send("end")

    with client.websocket("/") as ws:
        assert [ws.receive() for _ in range(3)] == [b"a", b"b", "end"]


def test_handler_that_sends_from_a_second_task(app, client, calls):
    @app.websocket("/")
    async def view():
        async def talk():
            while True:
                await websocket.send("tick")
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            group.create_task(talk())
            while True:
                await websocket.receive()

    with client.websocket("/") as ws:
        assert [ws.receive(), ws.receive()] == ["tick", "tick"]
    assert calls == ["teardown NoneType"]


def test_second_receive_at_once_is_an_error(app, client):
    @app.websocket("/")
    async def view():
        await websocket.accept()
        first = asyncio.ensure_future(websocket.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="while another task waits in receive"):
            await websocket.receive()
        await websocket.send("ready")
        await websocket.send(await first)

    with client.websocket("/") as ws:
        assert ws.receive() == "ready"
        ws.send("message")
        assert ws.receive() == "message"


def test_receive_can_be_given_up_and_loses_nothing(app, client):
    @app.websocket("/")
    async def view():
        for _ in range(3):
            try:
                async with asyncio.timeout(0.01):
                    await websocket.receive()
            except TimeoutError:
                pass
        await asyncio.sleep(0.1)  # The sweep looks after the client meanwhile, and takes the message.
        await websocket.send("now")
        await websocket.send(await websocket.receive())
        await websocket.send(await websocket.receive())

    with client.websocket("/") as ws:
        assert ws.receive() == "now"
        ws.send("a")
        ws.send("b")
        assert [ws.receive(), ws.receive()] == ["a", "b"]


def test_message_that_came_while_the_handler_was_busy(app, client):
    @app.websocket("/")
    async def view():
        await websocket.send("busy")
        await asyncio.sleep(0.15)
        await websocket.send(await websocket.receive())
        await websocket.send(await websocket.receive())

    with client.websocket("/") as ws:
        assert ws.receive() == "busy"
        ws.send("a")
        ws.send("b")
        assert [ws.receive(), ws.receive()] == ["a", "b"]


def test_other_thread_may_send(app, client):
    @app.websocket("/")
    async def view():
        socket = websocket._get_current_object()
        await websocket.accept()
        await asyncio.to_thread(socket.send, "from a thread")
        await websocket.receive()

    with client.websocket("/") as ws:
        assert ws.receive() == "from a thread"
        ws.send("end")


# -- The request that opens it -------------------------------------------------------


def test_request_proxies_and_url(app, client):
    app.config["SERVER_NAME"] = "localhost"

    @app.websocket("/rooms/<int:room>")
    async def talk(room):
        assert request._get_current_object() is websocket._get_current_object()
        assert carboy.has_websocket_context()
        await websocket.send_json(
            {
                "room": room,
                "args": request.args["a"],
                "header": websocket.headers["X-A"],
                "endpoint": websocket.endpoint,
                "scheme": websocket.scheme,
                "url": url_for("talk", room=2),
                "app": current_app.name,
            }
        )

    with client.websocket("/rooms/7?a=b", headers={"X-A": "c"}) as ws:
        assert ws.receive_json() == {
            "room": 7,
            "args": "b",
            "header": "c",
            "endpoint": "talk",
            "scheme": "ws",
            "url": "ws://localhost/rooms/2",
            "app": "carboy_test",
        }


def test_outside_a_websocket_the_proxy_says_so(app, client):
    with pytest.raises(RuntimeError, match="Working outside of a WebSocket's context"):
        websocket.receive  # noqa: B018
    with app.test_request_context("/"), pytest.raises(RuntimeError, match="this is an HTTP request"):
        websocket.send  # noqa: B018
    assert not carboy.has_websocket_context()


def test_class_of_the_applications_own(app, client):
    class Mine(carboy.WebSocket):
        @property
        def shouted(self):
            return self.path.upper()

    app.websocket_class = Mine

    @app.websocket("/quiet")
    async def view():
        await websocket.send(websocket.shouted)

    with client.websocket("/quiet") as ws:
        assert ws.receive() == "/QUIET"


def test_hooks_of_application_and_blueprints(app, client):
    calls = []

    def note(name):
        def function(*args):
            calls.append(name)
            return args[0] if name.startswith("after") else None

        return function

    def note_async(name):
        async def function(*args):
            return note(name)(*args)

        return function

    blueprint = Blueprint("chat", __name__, url_prefix="/chat")
    app.before_request(note("never"))
    app.after_request(note("never"))
    app.teardown_request(note("never"))
    app.before_websocket(note("before app"))
    app.after_websocket(note_async("after app"))
    app.teardown_websocket(note("teardown app"))
    app.teardown_appcontext(note("teardown context"))
    blueprint.before_websocket(note_async("before blueprint"))
    blueprint.after_websocket(note("after blueprint"))
    blueprint.teardown_websocket(note_async("teardown blueprint"))
    blueprint.before_app_websocket(note("before all"))
    blueprint.after_app_websocket(note("after all"))
    blueprint.teardown_app_websocket(note("teardown all"))

    @blueprint.websocket("/")
    async def view():
        calls.append("view")
        await websocket.accept()

    app.register_blueprint(blueprint)
    with client.websocket("/chat/"):
        pass
    assert calls == [
        "before app",
        "before all",
        "before blueprint",
        "view",
        "after blueprint",
        "after all",
        "after app",
        "teardown blueprint",
        "teardown all",
        "teardown app",
        "teardown context",
    ]


@pytest.mark.parametrize("is_async", [True, False])
def test_g_is_shared_with_the_hooks(app, client, is_async):
    @app.before_websocket
    def before():
        g.name = "Ada"

    async def async_view():
        await websocket.send(g.name)

    def sync_view():
        websocket.send(g.name)

    app.add_websocket("/", "view", async_view if is_async else sync_view)
    with client.websocket("/") as ws:
        assert ws.receive() == "Ada"


def test_signals(app, client):
    seen = []

    def note(name):
        def receiver(sender, **values):
            seen.append((name, sender is app, sorted(key for key in values if key[0] != "_")))

        return receiver

    @app.websocket("/")
    async def view():
        await websocket.accept()

    @app.websocket("/fail")
    async def fail():
        raise ZeroDivisionError

    receivers = {name: note(name) for name in dir(carboy) if "websocket_" in name or name.startswith("request_")}
    receivers = {name: f for name, f in receivers.items() if hasattr(getattr(carboy, name), "connected_to")}
    receivers["got_websocket_exception"] = note("got_websocket_exception")
    for name, receiver in receivers.items():
        getattr(carboy, name).connect(receiver, app)
    with client.websocket("/"):
        pass
    with pytest.raises(ZeroDivisionError), client.websocket("/fail"):
        pass
    assert seen == [
        ("websocket_started", True, []),
        ("websocket_finished", True, ["response"]),
        ("websocket_tearing_down", True, ["exc"]),
        ("websocket_started", True, []),
        ("got_websocket_exception", True, ["exception"]),
        ("websocket_tearing_down", True, ["exc"]),
    ]


# -- Sessions ------------------------------------------------------------------------


def test_session_is_read_and_written_before_accept(app, client, protocol, caplog):
    @app.get("/login")
    def login():
        session["name"] = "Ada"
        return ""

    @app.get("/visits")
    def visits():
        return str(session.get("visits"))

    @app.websocket("/")
    async def view():
        name = session["name"]
        session["visits"] = 1
        await websocket.accept()
        await websocket.send(name)

    client.get("/login")
    with client.websocket("/") as ws:
        assert ws.receive() == "Ada"
    # RSGI has no headers for a WebSocket that is accepted; that the change is lost is said.
    lost = "no cookie could be sent" in caplog.text
    assert (client.get("/visits").text, lost) == (("1", False) if protocol == "asgi" else ("None", True))


def test_session_changed_too_late_is_reported(app, client, caplog):
    @app.websocket("/")
    async def view():
        await websocket.accept()
        session["late"] = 1

    with client.websocket("/"):
        pass
    assert "The session was changed by the WebSocket handler of 'view'" in caplog.text


def test_session_interface_of_ones_own_is_opened_and_saved(app, client):
    calls = []

    class Session(dict, carboy.sessions.SessionMixin):
        pass

    class Interface(carboy.sessions.SessionInterface):
        def open_session(self, app, request):
            calls.append(f"open {request.path}")
            return Session()

        def save_session(self, app, session, response):
            calls.append(f"save {dict(session)}")

    app.session_interface = Interface()

    @app.websocket("/")
    async def view():
        await websocket.accept()
        session["a"] = 1

    with client.websocket("/"):
        pass
    assert calls == ["open /", "save {}", "save {'a': 1}"]


# -- Refusing ------------------------------------------------------------------------


def refused(client, path="/", **options):
    with pytest.raises(WebSocketRefused) as error, client.websocket(path, **options):
        pass
    return error.value.response


def test_refused_by_abort_return_close_and_hook(app, client, calls):
    @app.websocket("/abort")
    async def by_abort():
        abort(401)

    @app.websocket("/return")
    def by_return():
        return {"why": "full"}, 503, {"Retry-After": "7"}

    @app.websocket("/close")
    async def by_close():
        await websocket.close()

    @app.websocket("/nothing")
    async def by_doing_nothing():
        pass

    @app.websocket("/hook")
    async def by_hook():
        raise AssertionError("not reached")

    @app.before_websocket
    async def hook():
        if request.path == "/hook":
            return "no", 418

    statuses = [refused(client, path).status_code for path in ("/abort", "/return", "/close", "/nothing", "/hook")]
    assert statuses == [401, 503, 403, 403, 418]
    assert calls == ["teardown NoneType"] * 5


def test_body_and_headers_of_a_refusal(app, client, protocol):
    @app.websocket("/")
    async def view():
        return {"why": "full"}, 503, {"Retry-After": "7"}

    answer = refused(client)
    # RSGI has no more than the status.
    expected = ("7", {"why": "full"}) if protocol == "asgi" else (None, None)
    assert (answer.headers.get("Retry-After"), answer.get_json(silent=True)) == expected


def test_error_handler_answers_before_accept(app, client):
    class Full(Exception):
        pass

    @app.errorhandler(Full)
    async def handle(error):
        return "full", 503

    @app.after_websocket
    def after(response):
        seen.append(response.status_code)
        return response

    @app.websocket("/")
    async def view():
        raise Full

    seen = []
    assert refused(client).status_code == 503
    assert seen == [503]


@pytest.mark.parametrize(
    ("origin", "allowed", "accepted"),
    [
        (None, None, True),
        ("http://localhost", None, True),
        ("http://LOCALHOST:80", None, True),
        ("https://localhost", None, False),
        ("http://localhost:8080", None, False),
        ("http://localhost.evil.example", None, False),
        ("http://evil.example", None, False),
        ("null", None, False),
        ("", None, False),
        ("https://good.example", ["https://good.example"], True),
        ("https://good.example", ["https://good.example/"], True),
        ("https://good.example:444", ["https://good.example"], False),
        ("http://localhost", ["https://good.example"], False),
        ("http://any.example", ["*"], True),
    ],
)
def test_origin(app, client, calls, origin, allowed, accepted):
    app.config["WEBSOCKET_ALLOWED_ORIGINS"] = allowed

    @app.before_websocket
    def hook():
        calls.append("hook")

    @app.websocket("/")
    async def view():
        await websocket.accept()

    headers = {} if origin is None else {"Origin": origin}
    if accepted:
        with client.websocket("/", headers=headers):
            pass
    else:
        assert refused(client, headers=headers).status_code == 403
    assert ("hook" in calls) is accepted


def test_urls_of_http_and_of_websockets_are_told_apart(app, client):
    @app.get("/page")
    def page():
        return ""

    @app.websocket("/socket")
    async def socket():
        await websocket.accept()

    assert refused(client, "/page").status_code == 400
    assert refused(client, "/neither").status_code == 404
    answer = client.get("/socket")
    assert answer.status_code == 400
    assert "open it with a WebSocket client" in answer.text


def test_one_url_for_both(app, client):
    @app.get("/")
    def page():
        return "page"

    @app.websocket("/")
    async def socket():
        await websocket.send("socket")

    assert client.get("/").text == "page"
    with client.websocket("/") as ws:
        assert ws.receive() == "socket"


@pytest.mark.parametrize("protocol", ["wsgi"], indirect=True)
def test_wsgi_says_what_to_do(app, client, protocol):
    @app.websocket("/")
    async def view():
        await websocket.accept()

    answer = refused(client)
    assert answer.status_code == 400
    assert "carboy serve" in answer.text


def test_threads_for_sync_handlers_are_bounded(app, client, monkeypatch):
    monkeypatch.setattr("carboy.concurrency._long_lived", carboy.concurrency.LongLivedThreads(1))

    @app.websocket("/")
    def view():
        websocket.send("in")
        websocket.receive()

    with client.websocket("/") as ws:
        assert ws.receive() == "in"
        assert refused(client).status_code == 503
        ws.send("end")
    with client.websocket("/") as ws:
        assert ws.receive() == "in"
        ws.send("end")


# -- Accepting -----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["asgi"], indirect=True)
def test_subprotocol_and_headers(app, client, protocol):
    @app.websocket("/")
    async def view():
        assert websocket.requested_subprotocols == ["a", "b"]
        await websocket.accept(headers={"X-A": "1"}, subprotocol="b")

    with client.websocket("/", subprotocols=["a", "b"]) as ws:
        assert (ws.subprotocol, ws.headers["X-A"]) == ("b", "1")


@pytest.mark.parametrize("protocol", ["rsgi"], indirect=True)
@pytest.mark.parametrize("options", [{"subprotocol": "a"}, {"headers": {"X-A": "1"}}])
def test_rsgi_says_what_it_cannot_do(app, client, protocol, options):
    @app.websocket("/")
    async def view():
        await websocket.accept(**options)

    with pytest.raises(RuntimeError, match="--interface asgi"), client.websocket("/", subprotocols=["a"]):
        pass


def test_subprotocol_must_have_been_offered(app, client):
    @app.websocket("/")
    async def view():
        with pytest.raises(ValueError, match="did not offer the subprotocol 'b'"):
            await websocket.accept(subprotocol="b")
        await websocket.accept()
        with pytest.raises(RuntimeError, match="accepted before"):
            await websocket.accept()
        await websocket.send("done")

    with client.websocket("/", subprotocols=["a"]) as ws:
        assert ws.receive() == "done"


# -- The end -------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
def test_close_code_and_reason(app, client, protocol, is_async):
    async def async_view():
        await websocket.accept()
        await websocket.close(4001, "full")

    def sync_view():
        websocket.accept()
        websocket.close(4001, "full")

    app.add_websocket("/", "view", async_view if is_async else sync_view)
    with client.websocket("/") as ws, pytest.raises(WebSocketClosed):
        ws.receive()
    assert (ws.close_code, ws.close_reason) == ((4001, "full") if protocol == "asgi" else (1005, ""))


@pytest.mark.parametrize(("close_code", "reason"), [(1005, ""), (1006, ""), (999, ""), (5000, ""), (1000, "é" * 62)])
def test_close_code_and_reason_must_be_such_as_may_be_sent(app, client, close_code, reason):
    @app.websocket("/")
    async def view():
        with pytest.raises(ValueError, match="RFC 6455"):
            await websocket.close(close_code, reason)
        await websocket.send("done")

    with client.websocket("/") as ws:
        assert ws.receive() == "done"


def test_handler_that_ends_closes(app, client, protocol):
    @app.websocket("/")
    async def view():
        await websocket.accept()

    with client.websocket("/") as ws, pytest.raises(WebSocketClosed):
        ws.receive()
    assert ws.close_code == code(protocol, 1000)


def test_error_after_accept_closes_with_1011(app, client, protocol, calls, caplog):
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.websocket("/")
    async def view():
        await websocket.accept()
        raise ZeroDivisionError

    with client.websocket("/") as ws, pytest.raises(WebSocketClosed):
        ws.receive()
    assert ws.close_code == code(protocol, 1011)
    assert calls == ["teardown ZeroDivisionError"]
    assert [record.getMessage() for record in caplog.records] == ["Exception on / [GET]"]


def test_http_error_after_accept(app, client, protocol, calls):
    @app.websocket("/")
    async def view():
        await websocket.accept()
        abort(403)

    with client.websocket("/") as ws, pytest.raises(WebSocketClosed):
        ws.receive()
    assert ws.close_code == code(protocol, 1008)
    assert calls == ["teardown NoneType"]


@pytest.mark.parametrize("is_async", [True, False])
def test_client_that_leaves_wakes_the_handler(app, client, protocol, calls, is_async):
    seen = []

    async def async_view():
        await websocket.send("in")
        try:
            await websocket.receive()
        except WebSocketDisconnect as e:
            seen.append((e.code, e.reason, websocket.close_code))
            raise

    def sync_view():
        websocket.send("in")
        try:
            websocket.receive()
        except WebSocketDisconnect as e:
            seen.append((e.code, e.reason, websocket.close_code))
            raise

    app.add_websocket("/", "view", async_view if is_async else sync_view)
    with client.websocket("/") as ws:
        ws.receive()
        ws.close(4005, "bye")
    assert seen == [(4005, "bye", 4005)] if protocol == "asgi" else [(1005, "", 1005)]
    assert calls == ["teardown NoneType"]


def test_client_that_vanishes_cancels_a_handler_that_does_something_else(app, client, calls):
    @app.websocket("/")
    async def view():
        await websocket.send("in")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise

    ws = client.websocket("/")
    with ws:
        ws.receive()
        ws.abort()
    assert calls == ["cancelled", "teardown NoneType"]


def test_cancellation_is_for_the_handler_only(app, client):
    """After it, hooks of the same WebSocket run undisturbed."""
    calls = []

    @app.after_websocket
    async def after(response):
        await asyncio.sleep(0.05)
        calls.append("after")
        return response

    @app.websocket("/")
    async def view():
        await websocket.send("in")
        await asyncio.sleep(60)

    with client.websocket("/") as ws:
        ws.receive()
        ws.abort()
    assert calls == ["after"]


def test_send_to_a_client_that_has_left(app, client, calls):
    @app.websocket("/")
    async def view():
        await websocket.send("in")
        try:
            while True:
                await websocket.send("x" * 1000)
                await asyncio.sleep(0.001)
        except (WebSocketDisconnect, asyncio.CancelledError):
            calls.append("noticed")
            raise

    with client.websocket("/") as ws:
        ws.receive()
        ws.abort()
    assert calls == ["noticed", "teardown NoneType"]


def test_other_connection_that_is_closed_is_an_error_like_any(app, client, protocol):
    others = []

    @app.websocket("/first")
    async def first():
        await websocket.send("in")
        others.append(websocket._get_current_object())
        await websocket.receive()

    @app.websocket("/second")
    async def second():
        await websocket.accept()
        await others[0].send("anybody there?")

    with client.websocket("/first") as ws:
        ws.receive()
    with pytest.raises(WebSocketDisconnect), client.websocket("/second") as ws:
        with pytest.raises(WebSocketClosed):
            ws.receive()
        assert ws.close_code == code(protocol, 1011)


def test_after_the_end_there_is_nothing_to_send_or_receive(app, client):
    seen = []

    @app.websocket("/")
    async def view():
        send, receive = websocket.send, websocket.receive
        await websocket.accept()
        await websocket.close(4000)
        for action in (websocket.receive(), websocket.send("x"), websocket.receive_json(), receive(), send("x")):
            with pytest.raises(WebSocketDisconnect) as error:
                await action
            seen.append(error.value.code)
        await websocket.close()

    with client.websocket("/"):
        pass
    assert seen == [4000] * 5


# -- Limits --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ("x" * 1000, True),
        ("x" * 1001, False),
        ("é" * 500, True),
        ("é" * 501, False),
        (b"x" * 1000, True),
        (b"x" * 1001, False),
    ],
)
def test_message_size(app, client, protocol, echo, message, fits):
    app.config["WEBSOCKET_MAX_MESSAGE_SIZE"] = 1000
    with client.websocket("/echo") as ws:
        ws.send(message)
        if fits:
            assert ws.receive() == message
        else:
            with pytest.raises(WebSocketClosed) as closed:
                ws.receive()
            assert closed.value.code == code(protocol, 1009)


def test_message_size_of_one_handler(app, client):
    @app.websocket("/")
    async def view():
        websocket.max_message_size = None
        await websocket.send(str(len(await websocket.receive())))

    with client.websocket("/") as ws:
        ws.send("x" * (2 << 20))
        assert ws.receive() == str(2 << 20)


@pytest.mark.parametrize("busy", [True, False])
def test_idle_timeout(app, client, protocol, calls, busy):
    app.config["WEBSOCKET_IDLE_TIMEOUT"] = 0.05

    @app.websocket("/")
    async def view():
        await websocket.accept()
        if busy:
            await asyncio.sleep(60)
        try:
            await websocket.receive()
        finally:
            calls.append("woken")

    with client.websocket("/") as ws, pytest.raises(WebSocketClosed) as closed:
        ws.receive()
    assert closed.value.code == code(protocol, 1001)
    assert calls == [*(["woken"] if not busy else []), "teardown NoneType"]


def test_messages_keep_a_connection_from_being_idle(app, client, echo):
    app.config["WEBSOCKET_IDLE_TIMEOUT"] = 0.2
    with client.websocket("/echo") as ws:
        for _ in range(10):
            time.sleep(0.05)
            ws.send("x")
            assert ws.receive() == "x"


def test_draining_ends_all(app, client, protocol, calls):
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.websocket("/")
    async def view():
        await websocket.send("in")
        await websocket.receive()

    @app.get("/drain")
    async def drain():
        app.lifecycle.drain()
        return ""

    with client.websocket("/") as ws:
        ws.receive()
        client.get("/drain")
        with pytest.raises(WebSocketClosed) as closed:
            ws.receive()
        assert closed.value.code == code(protocol, 1001)
    assert calls == ["teardown NoneType"]
    assert refused(client).status_code == 503


def test_nothing_is_kept_of_a_connection_that_has_ended(app, client, echo):
    import gc
    import weakref

    kept = []

    @app.before_websocket
    def remember():
        kept.append(weakref.ref(websocket._get_current_object()))

    @app.websocket("/refused")
    async def refuse():
        abort(403)

    gc.collect()
    gc.disable()
    try:
        with client.websocket("/echo") as ws:
            ws.send("x")
            ws.receive()
        refused(client, "/refused")
        wait_for(lambda: all(reference() is None for reference in kept))
    finally:
        gc.enable()
    assert len(kept) == 2
