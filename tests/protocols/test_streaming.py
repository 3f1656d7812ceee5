"""Answers sent in parts, the same on each protocol."""

import asyncio
import threading

import pytest

import carboy
from carboy import g, request


def parts(*items):
    yield from items


async def async_parts(*items):
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("view_async", [False, True])
@pytest.mark.parametrize("body", [parts, async_parts])
@pytest.mark.parametrize("items", [("a", "é", ""), (b"a", "é".encode(), b""), ()])
def test_generators(app, client, view_async, body, items):
    def sync_view():
        return body(*items)

    async def async_view():
        return body(*items)

    app.add_url_rule("/", "index", async_view if view_async else sync_view)
    with client.get("/") as response:
        assert response.text == ("aé" if items else "")
        assert response.content_length is None


def test_generator_as_a_view(app, client):
    @app.get("/sync")
    def sync():
        yield "a"
        yield "b"

    @app.get("/async")
    async def asynchronous():
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    assert client.get("/sync").text == "ab"
    assert client.get("/async").text == "ab"


@pytest.mark.parametrize("body", [parts, async_parts])
def test_status_and_headers_of_a_stream(app, client, body):
    @app.get("/")
    def index():
        response = carboy.Response(body("a,b"), 201, {"X-A": "1"}, mimetype="text/csv")
        response.set_cookie("a", "1")
        return response

    response = client.get("/")
    assert (response.status_code, response.mimetype, response.headers["X-A"]) == (201, "text/csv", "1")
    assert response.text == "a,b"
    assert client.get_cookie("a").value == "1"


@pytest.mark.parametrize("body", [parts, async_parts])
def test_head_of_a_stream_has_no_body(app, client, body):
    app.add_url_rule("/", "index", lambda: body("a"))
    response = client.head("/")
    assert (response.status_code, response.data) == (200, b"")


def test_stream_with_context(app, client):
    @app.get("/sync")
    def sync():
        g.name = "g"
        carboy.session["a"] = 1

        @carboy.stream_with_context
        def generate():
            yield request.path
            yield g.name
            yield str(carboy.session["a"])

        return generate()

    @app.get("/async")
    async def asynchronous():
        g.name = "g"

        @carboy.stream_with_context
        async def generate():
            yield request.path
            await asyncio.sleep(0)
            yield g.name

        return generate()

    assert client.get("/sync").text == "/syncg1"
    assert client.get("/async").text == "/asyncg"


def test_stream_with_context_of_a_sync_view_with_an_async_hook(app, client):
    @app.before_request
    async def before():
        g.name = "g"

    @app.get("/")
    def index():
        @carboy.stream_with_context
        def generate():
            yield request.path
            yield g.name

        return generate()

    assert client.get("/").text == "/g"


def test_stream_template(app, client):
    @app.get("/")
    def index():
        return carboy.stream_template_string("{% for n in range(3) %}{{ n }}{{ request.path }}{% endfor %}")

    assert client.get("/").text == "0/1/2/"


@pytest.mark.parametrize("body", ["sync", "async"])
def test_closing_early_closes_the_generator(app, client, body):
    """What a client that goes away half-way does to a generator."""
    ended = []
    closed = threading.Event()

    def generate():
        try:
            while True:
                yield b"x" * 50_000
        finally:
            ended.append("generator")

    async def async_generate():
        try:
            while True:
                yield b"x" * 50_000
        finally:
            await asyncio.sleep(0)
            ended.append("generator")

    @app.get("/")
    def index():
        response = carboy.Response(generate() if body == "sync" else async_generate())
        response.call_on_close(closed.set)
        return response

    client.get("/").close()
    assert ended == ["generator"]
    assert closed.wait(5)


@pytest.mark.parametrize("body", ["sync", "async"])
def test_error_in_the_middle_of_a_stream(app, client, body):
    """The status has gone out: all that is left is to break the connection off."""

    def generate():
        yield "a"
        raise ZeroDivisionError

    async def async_generate():
        yield "a"
        raise ZeroDivisionError

    app.add_url_rule("/", "index", generate if body == "sync" else async_generate)
    response = client.get("/")
    with pytest.raises(ZeroDivisionError):
        _ = response.data


def test_stream_is_made_no_faster_than_it_is_read(app, client):
    made = []

    @app.get("/")
    async def index():
        for n in range(200):
            made.append(n)
            yield b"x" * 10_000

    with client.get("/") as response:
        assert len(made) < 100
        assert len(response.data) == 2_000_000


def test_parts_arrive_as_they_are_made(app, client):
    go_on = threading.Event()

    @app.get("/")
    def index():
        yield "first"
        assert go_on.wait(10)
        yield "second"

    with client.get("/") as response:
        stream = response.iter_encoded()
        assert next(stream) == b"first"
        go_on.set()
        assert next(stream) == b"second"


def test_view_that_returns_a_wsgi_application(app, client):
    def other(environ, start_response):
        start_response("201 CREATED", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    app.add_url_rule("/x", "x", lambda: other)
    response = client.get("/x")
    assert (response.status_code, response.text) == (201, "/x")


@pytest.mark.parametrize("view_async", [False, True])
def test_body_is_answered_while_it_arrives(app, client, view_async):
    """The watch for a client that leaves takes nothing of what the view still reads."""

    @app.post("/async", stream_body=True)
    async def asynchronous():
        stream = request.stream

        async def echo():
            yield b">"
            async for chunk in stream:
                yield chunk

        return echo()

    @app.post("/sync", stream_body=True)
    def sync():
        stream = request.stream

        def echo():
            yield b">"
            while chunk := stream.read(50_000):
                yield chunk

        return echo()

    data = bytes(range(256)) * 2000
    with client.post("/async" if view_async else "/sync", data=data) as response:
        assert response.data == b">" + data
