"""WebSockets of the test client, and the twins of servers that it opens them on."""

import asyncio
import threading
import time

import pytest

import carboy
from carboy import session, websocket
from carboy.testing import ConformanceError, WebSocketClosed, WebSocketRefused
from carboy.testing.exchange import WINDOW
from carboy.testing.protocols import ASGIServer, RSGIProtocolClosed, RSGIProtocolError, RSGIServer


@pytest.fixture(params=["asgi", "rsgi"])
def protocol(request):
    """The protocols that have WebSockets."""
    return request.param


def on(server):
    """Return a client of an application written by hand."""
    client = carboy.Carboy("by_hand").test_client()
    client._server = lambda: server
    return client


def asgi(func):
    """Return a client of an ASGI application that has accepted when *func* is called."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await func(receive, send)

    return on(ASGIServer(app))


def rsgi(func):
    """Return a client of an RSGI application that has accepted when *func* is called."""

    async def app(scope, protocol):
        await func(protocol, await protocol.accept())

    return on(RSGIServer(app))


@pytest.fixture
def echo(app):
    @app.websocket("/echo")
    async def echo():
        async for message in websocket:
            await websocket.send(message)

    @app.websocket("/echo-sync")
    def echo_sync():
        for message in websocket:
            websocket.send(message)


@pytest.mark.parametrize("path", ["/echo", "/echo-sync"])
def test_messages_go_both_ways(client, echo, path):
    with client.websocket(path) as ws:
        ws.send("text")
        ws.send(b"data")
        ws.send_json({"a": [1]})
        assert (ws.receive(), ws.receive(), ws.receive_json()) == ("text", b"data", {"a": [1]})
        assert ws.close_code is None
    assert ws.close_code == 1000


def test_handler_has_ended_when_the_block_has(client, app):
    ended = threading.Event()

    @app.websocket("/")
    async def handler():
        try:
            await websocket.receive()
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    with client.websocket("/"):
        assert not ended.is_set()
    assert ended.is_set()


def test_applications_close_ends_the_iteration(app, client, protocol):
    @app.websocket("/")
    async def handler():
        await websocket.send("a")
        await websocket.send("b")
        await websocket.close(4001, "enough")

    # RSGI carries no code.
    end = (4001, "enough") if protocol == "asgi" else (1005, "")
    with client.websocket("/") as ws:
        assert list(ws) == ["a", "b"]
        assert (ws.close_code, ws.close_reason) == end
        with pytest.raises(WebSocketClosed) as receiving:
            ws.receive()
        with pytest.raises(WebSocketClosed) as sending:
            ws.send("c")
    assert (receiving.value.code, receiving.value.reason) == (sending.value.code, sending.value.reason) == end


def test_clients_close_reaches_the_handler(app, client, protocol):
    seen = []

    @app.websocket("/")
    async def handler():
        try:
            await websocket.receive()
        except carboy.WebSocketDisconnect as e:
            seen.append((e.code, e.reason))
            raise

    with client.websocket("/") as ws:
        ws.close(4002, "bye")
        assert (ws.close_code, ws.close_reason) == (4002, "bye")
    assert seen == [(4002, "bye") if protocol == "asgi" else (1005, "")]


def test_client_that_vanishes(app, client, protocol):
    seen = []

    @app.websocket("/")
    async def handler():
        try:
            await websocket.receive()
        except carboy.WebSocketDisconnect as e:
            seen.append(e.code)
            raise

    with client.websocket("/") as ws:
        ws.abort()
    assert seen == [1005 if protocol == "asgi" else 1006]
    assert ws.close_code == 1006


def test_refusal(app, client, protocol):
    @app.websocket("/")
    async def handler():
        return {"why": "full"}, 503, {"Set-Cookie": "a=b", "Retry-After": "3"}

    with pytest.raises(WebSocketRefused, match="503") as refused:
        client.websocket("/").__enter__()
    response = refused.value.response
    assert response.status_code == 503
    if protocol == "asgi":
        assert (response.json, response.headers["Retry-After"]) == ({"why": "full"}, "3")
        assert client.get_cookie("a").value == "b"


def test_server_without_the_extension_refuses_with_403(app):
    @app.websocket("/")
    async def handler():
        return "full", 503

    client = app.test_client(protocol="asgi", lint=True)
    with pytest.raises(WebSocketRefused) as refused:
        client.websocket("/", http_response=False).__enter__()
    assert (refused.value.response.status_code, refused.value.response.data) == (403, b"")


def test_wsgi_has_no_websocket(app, echo):
    with pytest.raises(WebSocketRefused) as refused:
        app.test_client(lint=True).websocket("/echo").__enter__()
    assert 400 <= refused.value.response.status_code < 500
    assert "ASGI" in refused.value.response.text


def test_handshake(app):
    @app.websocket("/<name>")
    async def handler(name):
        session["name"] = name
        await websocket.accept(headers={"X-A": "b"}, subprotocol="two")
        await websocket.send_json([websocket.url, websocket.headers["X-C"], websocket.args["q"]])

    client = app.test_client(protocol="asgi", lint=True)
    with client.websocket(
        "wss://localhost/x?q=1", subprotocols=["one", "two"], headers={"X-C": "d", "Origin": "https://localhost"}
    ) as ws:
        assert (ws.subprotocol, ws.headers["X-A"]) == ("two", "b")
        assert ws.receive_json() == ["wss://localhost/x?q=1", "d", "1"]
    with client.session_transaction() as stored:
        assert stored["name"] == "x"


def test_cookies_are_sent(app, client):
    @app.websocket("/")
    async def handler():
        await websocket.send(f"{session['a']} {websocket.cookies['b']}")

    with client.session_transaction() as stored:
        stored["a"] = "1"
    client.set_cookie("b", "2")
    with client.websocket("/") as ws:
        assert ws.receive() == "1 2"


def test_what_the_handler_raises_is_raised_in_the_test(app, client):
    @app.websocket("/<when>")
    async def handler(when):
        if when != "early":
            await websocket.receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.websocket("/early").__enter__()
    with pytest.raises(ZeroDivisionError), client.websocket("/late") as ws:
        ws.send("x")
        ws.receive()
    with pytest.raises(ZeroDivisionError), client.websocket("/late") as ws:
        ws.send("x")
    # A failure of the test itself is not hidden by it.
    with pytest.raises(AssertionError) as failed, client.websocket("/late") as ws:
        ws.send("x")
        raise AssertionError
    assert "ZeroDivisionError" in failed.value.__notes__[0]


def test_waits_are_bounded(app, client):
    @app.websocket("/silent")
    async def silent():
        await websocket.accept()
        await websocket.receive()

    @app.websocket("/unanswered")
    async def unanswered():
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"handshake was not answered within 0.05 s \(GET /unanswered\)"):
        client.websocket("/unanswered", timeout=0.05).__enter__()
    with client.websocket("/silent") as ws:
        with pytest.raises(TimeoutError, match=r"No message came from the WebSocket within 0\.01 s"):
            ws.receive(timeout=0.01)
        ws.timeout = 0.02
        with pytest.raises(TimeoutError, match=r"within 0.02 s"):
            ws.receive()
        ws.timeout = 5


def test_handler_that_does_not_end():
    async def stubborn(receive, send):
        await receive()
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match=r"still running 0.05 s after the client left"):
        with asgi(stubborn).websocket("/", timeout=0.05):
            pass


def test_only_text_and_bytes_are_messages(client, echo):
    with client.websocket("/echo") as ws, pytest.raises(TypeError, match="send_json"):
        ws.send({"a": 1})


def test_a_websocket_is_opened_once(client, echo):
    with client.websocket("/echo") as ws:
        pass
    with pytest.raises(RuntimeError, match="opened once"):
        ws.__enter__()


# The twin of an ASGI server


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_asgi_scope(scheme):
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        assert await receive() == {"type": "websocket.connect"}
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]})
        assert (await receive())["type"] == "websocket.disconnect"

    client = on(ASGIServer(app))
    with client.websocket("/a?b=c", base_url=f"{scheme}://example.com", subprotocols=["a", "b"]) as ws:
        assert (ws.subprotocol, ws.headers.to_wsgi_list()) == ("b", [("x-a", "1")])
    with client.websocket("/", subprotocols="b", http_response=False):
        pass
    scope, plain = scopes
    assert (scope["type"], scope["scheme"], scope["path"], scope["query_string"]) == ("websocket", scheme, "/a", b"b=c")
    assert scope["subprotocols"] == ["a", "b"]
    assert "method" not in scope
    headers = dict(scope["headers"])
    assert headers[b"upgrade"] == b"websocket"
    assert headers[b"sec-websocket-protocol"] == b"a, b"
    assert b"origin" not in headers
    assert [list(scope["extensions"]), list(plain["extensions"])] == [["websocket.http.response"], []]


def test_asgi_send_to_a_client_that_left():
    raised = []

    async def app(receive, send):
        event = await receive()
        assert event == {"type": "websocket.disconnect", "code": 1000, "reason": ""}
        assert await receive() == event
        try:
            await send({"type": "websocket.send", "text": "x"})
        except OSError as e:
            raised.append(e)

    with asgi(app).websocket("/"):
        pass
    assert raised


def test_asgi_own_close_is_the_disconnect():
    seen = []

    async def app(receive, send):
        await send({"type": "websocket.close", "code": 4000, "reason": "why"})
        seen.append(await receive())
        with pytest.raises(RuntimeError, match="after the WebSocket was closed"):
            await send({"type": "websocket.send", "text": "x"})

    with asgi(app).websocket("/") as ws, pytest.raises(WebSocketClosed, match="closed with 4000: why"):
        ws.receive()
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "why"}]


def test_asgi_application_that_returns_drops_the_connection():
    async def app(receive, send): ...

    with asgi(app).websocket("/") as ws, pytest.raises(WebSocketClosed) as closed:
        ws.receive()
    assert closed.value.code == ws.close_code == 1006


def test_asgi_application_that_does_not_answer():
    async def app(scope, receive, send): ...

    with pytest.raises(RuntimeError, match="without an answer to the handshake"):
        on(ASGIServer(app)).websocket("/").__enter__()


def test_unread_messages_hold_the_application_back():
    sent = []

    async def app(receive, send):
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": b"x" * 8192})
            sent.append(8192)
        await send({"type": "websocket.close"})

    with asgi(app).websocket("/") as ws:
        assert ws.receive() == b"x" * 8192
        # Time for the application to go as far as it can.
        time.sleep(0.05)
        assert sum(sent) <= WINDOW + 2 * 8192
        assert len(list(ws)) == 99


def test_subprotocol_that_was_not_offered():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "c"})
        await receive()

    with pytest.raises(ConformanceError, match="'c', which is not among those offered"):
        on(ASGIServer(app)).websocket("/", subprotocols=["a"]).__enter__()


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "websocket.send", "text": "x"}],
        [{"type": "websocket.http.response.body", "body": b"x"}],
        [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
        [{"type": "websocket.close"}, {"type": "websocket.accept"}],
    ],
)
def test_asgi_events_out_of_place(events):
    async def app(scope, receive, send):
        await receive()
        for event in events:
            await send(event)

    with pytest.raises(RuntimeError, match="was sent"), on(ASGIServer(app)).websocket("/") as ws:
        ws.receive()


# The twin of granian


def test_rsgi_scope_and_messages():
    seen = []

    async def app(scope, protocol):
        seen.append((scope.proto, scope.scheme, scope.method, scope.path))
        with pytest.raises(TypeError):
            protocol.accept([("a", "b")])
        transport = await protocol.accept()
        for _ in range(3):
            message = await transport.receive()
            seen.append((message.kind, getattr(message, "data", None)))
        with pytest.raises(RSGIProtocolClosed):
            await transport.receive()

    with on(RSGIServer(app)).websocket("/a") as ws:
        ws.send("text")
        ws.send(b"data")
    assert seen == [("ws", "http", "GET", "/a"), (2, "text"), (1, b"data"), (0, None)]


def test_rsgi_one_receive_at_a_time():
    async def app(protocol, transport):
        first = asyncio.ensure_future(transport.receive())
        await asyncio.sleep(0)
        with pytest.raises(RSGIProtocolError):
            await transport.receive()
        first.cancel()
        await asyncio.sleep(0)
        await transport.send_str((await transport.receive()).data)

    with rsgi(app).websocket("/") as ws:
        ws.send("kept")
        assert ws.receive() == "kept"
        with pytest.raises(WebSocketClosed) as closed:
            ws.receive()
    assert closed.value.code == 1005


def test_rsgi_after_its_own_close():
    both_sent = threading.Event()

    async def app(protocol, transport):
        await asyncio.to_thread(both_sent.wait, 5)
        assert (await transport.receive()).data == "first"
        protocol.close(1001)
        protocol.close()
        with pytest.raises(RSGIProtocolError):
            await transport.send_str("x")
        assert (await transport.receive()).data == "second"
        assert (await transport.receive()).kind == 0

    with rsgi(app).websocket("/") as ws:
        ws.send("first")
        ws.send("second")
        both_sent.set()
        with pytest.raises(WebSocketClosed) as closed:
            ws.receive()
    assert closed.value.code == 1005


def test_rsgi_send_to_a_client_that_left():
    async def app(protocol, transport):
        message = await transport.receive()
        assert message.data == "x"
        # The close that has come is not known before it is received.
        await transport.send_bytes(b"x")
        assert (await transport.receive()).kind == 0
        with pytest.raises(RSGIProtocolClosed):
            await transport.send_bytes(b"x")

    with rsgi(app).websocket("/") as ws:
        ws.send("x")


def test_rsgi_client_that_vanished():
    async def app(protocol, transport):
        with pytest.raises(RSGIProtocolClosed):
            await transport.receive()
        with pytest.raises(RSGIProtocolClosed):
            await transport.send_str("x")

    with rsgi(app).websocket("/") as ws:
        ws.abort()


@pytest.mark.parametrize(("status", "answer"), [(None, 403), (418, 418), ("return", 403)])
def test_rsgi_refusal(status, answer):
    async def app(scope, protocol):
        if status != "return":
            protocol.close(status)

    with pytest.raises(WebSocketRefused) as refused:
        on(RSGIServer(app)).websocket("/").__enter__()
    assert refused.value.response.status_code == answer


@pytest.mark.parametrize("status", [0, 99, 1000])
def test_rsgi_what_ends_the_process_of_granian(status):
    async def refuse(scope, protocol):
        protocol.close(status)

    async def accept_twice(protocol, transport):
        await protocol.accept()

    with pytest.raises(RSGIProtocolError, match=r"granian 2\.8 ends the process"):
        on(RSGIServer(refuse)).websocket("/").__enter__()
    with pytest.raises(RSGIProtocolError, match=r"granian 2\.8 ends the process"), rsgi(accept_twice).websocket("/"):
        pass
