"""The lints of carboy.testing find each fault, in applications written by hand for the purpose."""

import pytest
from werkzeug.test import Client

from carboy.testing import ConformanceError, asgi_as_wsgi, lint_asgi, lint_rsgi, lint_wsgi, rsgi_as_wsgi

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
