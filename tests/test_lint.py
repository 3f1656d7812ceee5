"""The lints of carboy.testing find each fault, in applications written by hand for the purpose."""

import asyncio
import contextlib
import re

import pytest
from werkzeug.test import Client

import carboy
from carboy.testing import (
    ConformanceError,
    WebSocketClosed,
    WebSocketRefused,
    asgi_as_wsgi,
    lint_asgi,
    lint_rsgi,
    lint_wsgi,
    rsgi_as_wsgi,
)
from carboy.testing.protocols import ASGIServer, RSGIServer

START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b"x"}


def start(*headers, status=200):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def asgi(*events):
    async def app(scope, receive, send):
        for event in events:
            await send(event)

    return Client(asgi_as_wsgi(lint_asgi(app)))


def test_asgi_accepts_a_correct_response():
    client = asgi(start((b"content-length", b"2")), BODY | {"more_body": True}, BODY)
    assert client.get("/").data == b"xx"


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([BODY], "before http.response.start"),
        ([], "returned before its response had ended"),
        ([START, BODY | {"more_body": True}], "returned before its response had ended"),
        ([START, START], "sent twice"),
        ([START, BODY, BODY], "after the response has ended"),
        ([{"type": "http.response.end"}], "no event that a server"),
        ([{"status": 200}], "without a type"),
        ([START | {"status": "200"}], "not an int"),
        ([start(status=99)], "not the status of a final response"),
        ([start((b"Content-Type", b"text/plain"))], "lower case"),
        ([start(("content-type", "text/plain"))], "not a pair of bytes"),
        ([start((b"bad name", b"x"))], "not a header name"),
        ([start((b"x-a", b"a\r\nb: c"))], "control character"),
        ([start((b"x-a", b"a\x00b"))], "control character"),
        ([start((b"transfer-encoding", b"chunked"))], "the server's to set"),
        ([start((b"content-length", b"1"), (b"content-length", b"1"))], "2 times"),
        ([start((b"content-length", b"one"))], "content-length is"),
        ([start((b"content-length", b"3")), BODY], "content-length is 3 and 1 bytes are sent"),
        ([start((b"content-length", b"0")), BODY], "at least 1 bytes are sent"),
        ([start(status=204), BODY], "must have none"),
        ([start(status=304), BODY], "must have none"),
        ([start((b"content-length", b"0"), status=204)], "RFC 9110 8.6"),
        ([START, BODY | {"body": "x"}], "not bytes"),
        ([START, BODY | {"more_body": 1}], "not a bool"),
        ([START, {"type": "http.response.pathsend", "path": "/etc/hostname"}], "does not offer"),
    ],
)
def test_asgi_finds_fault(events, message):
    with pytest.raises(ConformanceError, match=message):
        _ = asgi(*events).get("/").data


def test_asgi_finds_content_in_answer_to_head():
    with pytest.raises(ConformanceError, match="HEAD 200, which must have none"):
        asgi(START, BODY).head("/")


def test_fault_cannot_be_swallowed():
    @lint_asgi
    async def app(scope, receive, send):
        try:
            await send({"type": "nonsense"})
        except AssertionError:
            await send(START)
            await send(BODY)

    with pytest.raises(ConformanceError, match="nonsense"):
        _ = Client(asgi_as_wsgi(app)).get("/").data


def test_asgi_finds_receive_after_disconnect():
    @lint_asgi
    async def app(scope, receive, send):
        await send(START)
        await send(BODY)
        for _ in range(3):
            await receive()

    with pytest.raises(ConformanceError, match=r"after it has given http\.disconnect"):
        Client(asgi_as_wsgi(app)).get("/")


def test_asgi_finds_send_after_client_left():
    @lint_asgi
    async def app(scope, receive, send):
        await send(START)
        for _ in range(100):
            try:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            except OSError:
                continue

    response = Client(asgi_as_wsgi(app)).get("/")
    with pytest.raises(ConformanceError, match="after send\\(\\) has said that the client left"):
        response.close()


async def run_lifespan(app, *received):
    events = iter(received)

    async def receive():
        return {"type": next(events)}

    async def send(event): ...

    await lint_asgi(app)({"type": "lifespan"}, receive, send)


def step(coroutine):
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_lifespan_answers_in_order():
    async def app(scope, receive, send):
        for _ in range(2):
            event = await receive()
            await send({"type": f"{event['type']}.complete"})

    step(run_lifespan(app, "lifespan.startup", "lifespan.shutdown"))


def test_lifespan_finds_answer_to_nothing():
    async def app(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})

    with pytest.raises(ConformanceError, match="does not answer None"):
        run_lifespan(app, "lifespan.startup").send(None)


def rsgi(function):
    async def app(scope, protocol):
        result = function(protocol)
        if result is not None:
            await result

    return Client(rsgi_as_wsgi(lint_rsgi(app)))


def test_rsgi_accepts_a_correct_response():
    async def stream(protocol):
        transport = protocol.response_stream(200, [("content-length", "2")])
        await transport.send_bytes(b"x")
        await transport.send_str("y")

    assert rsgi(stream).get("/").data == b"xy"
    assert rsgi(lambda p: p.response_str(200, [("x-a", "é")], "é")).get("/").text == "é"


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (lambda p: None, "without a response"),
        (lambda p: [p.response_empty(200, []), p.response_empty(200, [])] and None, "second response"),
        (lambda p: p.response_empty("200", []), "not an int"),
        (lambda p: p.response_empty(1000, []), "not the status"),
        (lambda p: p.response_empty(200, {}), "not a list"),
        (lambda p: p.response_empty(200, [["a", "b"]]), "not a pair of str"),
        (lambda p: p.response_empty(200, [("a", 1)]), "not a pair of str"),
        (lambda p: p.response_empty(200, [("a b", "c")]), "not a header name"),
        (lambda p: p.response_empty(200, [("a", "b\n")]), "control character"),
        (lambda p: p.response_empty(200, [("content-length", "5")]), "5 and 0 bytes"),
        (lambda p: p.response_str(200, [], b"x"), "not str"),
        (lambda p: p.response_bytes(200, [], "x"), "not bytes"),
        (lambda p: p.response_bytes(204, [], b"x"), "must have none"),
        (lambda p: p.response_file(200, [], "relative"), "not an absolute path"),
        (lambda p: p.response_file(200, [], "/no/such/file"), "no file"),
        (lambda p: p.response_file_range(206, [], __file__, 5, 2), "not inside the file"),
        (lambda p: p.response_stream(200, [("content-length", "5")]) and None, "5 and 0 bytes"),
        (lambda p: p.response_stream(200, []).send_bytes("x"), "not bytes"),
    ],
)
def test_rsgi_finds_fault(respond, message):
    with pytest.raises(ConformanceError, match=message):
        _ = rsgi(respond).get("/").data


def test_rsgi_finds_body_read_twice():
    async def twice(protocol):
        await protocol()
        await protocol()

    with pytest.raises(ConformanceError, match="read twice"):
        rsgi(twice).post("/", data=b"x")


# WebSocket: accepted, then anything. The client sends one message and closes.

ACCEPT = {"type": "websocket.accept"}
SEND = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}
REFUSE = {"type": "websocket.http.response.start", "status": 403, "headers": []}
REFUSE_WITH = {"type": "websocket.http.response.body", "body": b"x"}


def converse(server, **kwargs):
    client = carboy.Carboy("by_hand").test_client()
    client._server = lambda: server
    with client.websocket("/", subprotocols=["a"], **kwargs) as ws:
        # The application may have closed before.
        with contextlib.suppress(WebSocketClosed):
            ws.send("x")
        list(ws)


def asgi_websocket(*events, connect=True, **kwargs):
    async def app(scope, receive, send):
        if connect:
            await receive()
        for event in events:
            await (receive() if event == "receive" else send(event))

    converse(ASGIServer(lint_asgi(app)), **kwargs)


def rsgi_websocket(*calls):
    """Run a WebSocket whose application makes *calls* with its protocol and, once it has accepted, its transport."""

    async def app(scope, protocol):
        transport = None
        for call in calls:
            result = call(protocol, transport)
            if result is not None:
                transport = await result or transport

    converse(RSGIServer(lint_rsgi(app)))


@pytest.mark.parametrize(
    "events",
    [
        [ACCEPT | {"subprotocol": "a", "headers": [(b"x-a", b"b")]}, SEND, "receive", CLOSE],
        [ACCEPT, SEND | {"bytes": None}, {"type": "websocket.send", "bytes": b"x"}, CLOSE | {"code": 4999}],
        [ACCEPT, CLOSE | {"code": 1011, "reason": "é" * 61}, "receive"],
        [ACCEPT],
    ],
)
def test_asgi_accepts_a_correct_websocket(events):
    asgi_websocket(*events)


@pytest.mark.parametrize("events", [[CLOSE], [REFUSE, REFUSE_WITH | {"more_body": True}, REFUSE_WITH]])
def test_asgi_accepts_a_correct_refusal(events):
    with pytest.raises(WebSocketRefused):
        asgi_websocket(*events)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "before it had accepted, closed or refused"),
        ([SEND], r"websocket\.send' is no event for a WebSocket that is not accepted yet"),
        ([ACCEPT, ACCEPT], "no event for a WebSocket that is accepted"),
        ([ACCEPT, REFUSE], "no event for a WebSocket that is accepted"),
        ([ACCEPT, CLOSE, SEND], "after the WebSocket was closed"),
        ([ACCEPT, CLOSE, CLOSE], "after the WebSocket was closed"),
        ([CLOSE, ACCEPT], "after the WebSocket was closed or refused"),
        ([ACCEPT | {"subprotocol": "b"}], "'b' is not among those offered"),
        ([ACCEPT | {"headers": [(b"X-A", b"b")]}], "lower case"),
        ([ACCEPT | {"headers": [(b"x-a", b"b\n")]}], "control character"),
        ([ACCEPT | {"headers": [(b"sec-websocket-protocol", b"a")]}], "use 'subprotocol'"),
        ([ACCEPT, {"type": "websocket.send"}], "not exactly one"),
        ([ACCEPT, SEND | {"bytes": b"x"}], "not exactly one"),
        ([ACCEPT, SEND | {"text": b"x"}], "the text is bytes"),
        ([ACCEPT, {"type": "websocket.send", "bytes": "x"}], "the bytes are str"),
        *[
            ([ACCEPT, CLOSE | {"code": code}], f"{code} is no close code")
            for code in (999, 1004, 1005, 1006, 1015, 5000)
        ],
        ([ACCEPT, CLOSE | {"code": "1000"}], "not an int"),
        ([ACCEPT, CLOSE | {"reason": "é" * 62}], "124 bytes"),
        ([ACCEPT, CLOSE | {"reason": b"x"}], "the reason is bytes"),
        ([ACCEPT, CLOSE, "receive", "receive", "receive"], "after it has given websocket.disconnect"),
        ([REFUSE_WITH], r"before websocket\.http\.response\.start"),
        ([REFUSE, REFUSE], "sent twice"),
        ([REFUSE, ACCEPT], "after the response that refuses has begun"),
        ([REFUSE, CLOSE], "after the response that refuses has begun"),
        ([REFUSE], "before it had accepted"),
        ([REFUSE, REFUSE_WITH, CLOSE], "after the WebSocket was closed or refused"),
        ([REFUSE | {"status": 99}], "not the status of a final response"),
        ([REFUSE | {"headers": [(b"content-length", b"2")]}, REFUSE_WITH], "content-length is 2"),
        ([REFUSE, REFUSE_WITH | {"body": "x"}], "not bytes"),
    ],
)
def test_asgi_finds_fault_with_a_websocket(events, message):
    with pytest.raises((ConformanceError, WebSocketRefused)) as error:
        asgi_websocket(*events)
    # That of a refusal comes when the application has returned.
    assert isinstance(error.value, ConformanceError)
    assert re.search(message, str(error.value))


def test_asgi_finds_fault_with_the_beginning_of_a_websocket():
    with pytest.raises(ConformanceError, match=r"before websocket\.connect was received"):
        asgi_websocket(ACCEPT, connect=False)
    with pytest.raises(ConformanceError, match="no event for a WebSocket that is not accepted yet"):
        asgi_websocket(REFUSE, http_response=False)


def test_asgi_finds_messages_to_a_client_that_left():
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        for _ in range(2):
            with contextlib.suppress(OSError):
                await send(SEND)

    client = carboy.Carboy("by_hand").test_client()
    client._server = lambda: ASGIServer(lint_asgi(app))
    with pytest.raises(ConformanceError, match="has said that the client left"), client.websocket("/"):
        pass


def accept(protocol, transport):
    return protocol.accept()


def refuse(status):
    return lambda protocol, transport: protocol.close(status)


def close(protocol, transport):
    protocol.close()


def receive(protocol, transport):
    return forget(transport.receive())


def send(method, data):
    return lambda protocol, transport: getattr(transport, method)(data)


async def forget(awaitable):
    await awaitable


def test_rsgi_accepts_a_correct_websocket():
    rsgi_websocket(accept, receive, send("send_str", "x"), send("send_bytes", b"x"), refuse(1000), close)
    with pytest.raises(WebSocketRefused):
        rsgi_websocket(refuse(404), close)


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([], "without accept"),
        ([accept, accept], "called twice"),
        ([refuse(403), accept], "after close"),
        ([refuse(1000)], "1000 is no HTTP status that refuses"),
        ([refuse(200)], "200 is no HTTP status that refuses"),
        ([refuse("403")], "not an int"),
        ([accept, refuse(403)], "403 is no close code"),
        ([accept, send("send_str", b"x")], "not str"),
        ([accept, send("send_bytes", "x")], "not bytes"),
        ([accept, close, send("send_str", "x")], "after close"),
        ([accept, receive, close, receive, receive], "after it has said that the WebSocket is closed"),
        ([accept, lambda p, t: asyncio.gather(t.receive(), t.receive(), t.receive())], "another receive"),
    ],
)
def test_rsgi_finds_fault_with_a_websocket(calls, message):
    with pytest.raises((ConformanceError, WebSocketRefused)) as error:
        rsgi_websocket(*calls)
    assert isinstance(error.value, ConformanceError)
    assert re.search(message, str(error.value))


def test_lints_find_what_comes_after_the_end():
    kept = []

    async def asgi_app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        kept.append(send(CLOSE))

    async def rsgi_app(scope, protocol):
        transport = await protocol.accept()
        kept.extend([transport.receive(), transport.send_str("x")])

    converse(ASGIServer(lint_asgi(asgi_app)))
    converse(RSGIServer(lint_rsgi(rsgi_app)))
    for coroutine in kept:
        with pytest.raises(ConformanceError, match="after the application has returned"):
            coroutine.send(None)


def wsgi(status, headers, body):
    def app(environ, start_response):
        start_response(status, headers)
        return body

    return Client(lint_wsgi(app))


PLAIN = ("Content-Type", "text/plain")


def test_wsgi_accepts_a_correct_response():
    response = wsgi("200 OK", [PLAIN, ("Content-Length", "2")], [b"x", b"y"]).get("/", buffered=True)
    assert response.data == b"xy"


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        ("200 OK", [PLAIN, ("Content-Length", "3")], [b"x"], "3 and 1 bytes"),
        ("200 OK", [], [b"x"], "Content-Type"),
        ("204 No Content", [], [b"x"], "must have none"),
        ("200 OK", [PLAIN], ["x"], "bytestring"),
    ],
)
def test_wsgi_finds_fault(status, headers, body, message):
    with pytest.raises(AssertionError, match=message):
        wsgi(status, headers, body).get("/", buffered=True)


@pytest.mark.parametrize("size", [-1, None])
def test_wsgi_finds_meaningless_size_of_read(size):
    @lint_wsgi
    def app(environ, start_response):
        environ["wsgi.input"].read(size)

    with pytest.raises(ConformanceError, match="leave out the size"):
        Client(app).post("/", data=b"x")


def test_wsgi_accepts_read_of_all():
    @lint_wsgi
    def app(environ, start_response):
        start_response("200 OK", [PLAIN])
        return [environ["wsgi.input"].read()]

    assert Client(app).post("/", data=b"x").data == b"x"
