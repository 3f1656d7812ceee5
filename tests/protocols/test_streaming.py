"""Answers sent in parts, the same on each protocol."""

import asyncio
import queue
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


def leave_early(response):
    """Go away when the body has begun: one that nobody reads need not begin."""
    next(response.iter_encoded())
    response.close()


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


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ending", ["read", "closed early", "never begun", "failed"])
def test_teardown_runs_once_when_the_stream_has_ended(app, client, kind, ending):
    happened = []

    @app.teardown_request
    async def torn_down(error):
        happened.append(f"teardown {g.name} {type(error).__name__}")

    app.teardown_appcontext(lambda error: happened.append("teardown of the app context"))

    def generate():
        try:
            yield b"x" * 200_000
            yield b"x" * 200_000
            if ending == "failed":
                raise ZeroDivisionError
        finally:
            happened.append("generator")

    async def async_generate():
        try:
            for part in (b"x" * 200_000,) * 2:
                await asyncio.sleep(0)
                yield part
            if ending == "failed":
                raise ZeroDivisionError
        finally:
            happened.append("generator")

    @app.route("/")
    def index():
        g.name = "g"
        return carboy.stream_with_context(generate() if kind == "sync" else async_generate())

    response = client.open("/", method="HEAD" if ending == "never begun" else "GET")
    error = "NoneType"
    if ending == "failed":
        with pytest.raises(ZeroDivisionError):
            _ = response.data
        error = "ZeroDivisionError"
    elif ending == "read":
        assert len(response.data) == 400_000
    elif ending == "closed early":
        next(response.iter_encoded())
    response.close()
    if ending == "closed early":
        # Where the generator waits, it is cancelled.
        happened = [line.replace("CancelledError", "NoneType") for line in happened]
    expected = [f"teardown g {error}", "teardown of the app context"]
    assert happened == (expected if ending == "never begun" else ["generator", *expected])


def test_context_is_not_active_between_the_pieces(app, client):
    @app.get("/")
    @carboy.stream_with_context
    def index():
        yield request.path
        yield request.path

    with client.get("/") as response:
        stream = response.iter_encoded()
        assert next(stream) == b"/"
        assert not carboy.has_request_context()
        assert list(stream) == [b"/"]


def test_two_streams_of_one_request(app):
    """The context ends with the last of them, in whatever order they are read."""
    torn_down = []
    app.teardown_request(torn_down.append)
    with app.test_request_context("/x"):
        one = carboy.stream_with_context(request.path for _ in range(2))
        two = carboy.stream_with_context(request.path for _ in range(2))
    assert next(one) == "/x"
    assert list(two) == ["/x", "/x"]
    assert torn_down == []
    assert list(one) == ["/x"]
    assert torn_down == [None]


def test_stream_that_is_never_read_ends_its_context(app):
    torn_down = []
    app.teardown_request(torn_down.append)
    for parts in (n for n in ()), async_parts():
        with app.test_request_context():
            stream = carboy.stream_with_context(parts)
        assert torn_down == []
        del stream
        assert torn_down.pop() is None


@pytest.mark.parametrize("view_async", [False, True])
@pytest.mark.parametrize("async_jinja", [False, True])
def test_stream_template_in_sync_and_async_views(app, client, view_async, async_jinja):
    class Environment(carboy.templating.Environment):
        def __init__(self, app, **options):
            super().__init__(app, enable_async=async_jinja, **options)

    app.jinja_environment = Environment

    async def numbers():
        for n in range(3):
            await asyncio.sleep(0)
            yield n

    def sync_view():
        values = numbers() if async_jinja else range(3)
        return carboy.stream_template_string(
            "{% for n in values %}{{ n }}{{ request.path }}{% endfor %}", values=values
        )

    async def async_view():
        return sync_view()

    rendered = []
    with carboy.template_rendered.connected_to(lambda *args, **kwargs: rendered.append(request.path), app):
        app.add_url_rule("/", "index", async_view if view_async else sync_view)
        assert client.get("/").text == "0/1/2/"
    assert rendered == ["/"]


def test_json_lines(app, client):
    @app.get("/sync/<int:count>")
    @carboy.jsonl
    def sync(count):
        for n in range(count):
            yield {"n": n, "path": request.path}

    @app.get("/async/<int:count>")
    @carboy.jsonl(mimetype="application/x-ndjson", headers={"X-A": "1"})
    async def asynchronous(count):
        for n in range(count):
            await asyncio.sleep(0)
            yield {"n": n, "path": request.path}

    @app.get("/list")
    async def items():
        return carboy.jsonl(["a\nb", None, 1.5])

    response = client.get("/sync/2")
    assert response.headers["Content-Type"] == "application/jsonl"
    assert response.text == '{"n": 0, "path": "/sync/2"}\n{"n": 1, "path": "/sync/2"}\n'
    response = client.get("/async/1")
    assert (response.mimetype, response.headers["X-A"]) == ("application/x-ndjson", "1")
    assert response.text == '{"n": 0, "path": "/async/1"}\n'
    assert client.get("/list").text == '"a\\nb"\nnull\n1.5\n'


def test_json_lines_are_lines_whatever_the_provider(app, client):
    class Provider(type(app.json)):
        def dumps(self, obj, **kwargs):
            return super().dumps(obj, indent=2, **kwargs)

    app.json = Provider(app)
    app.add_url_rule("/", "index", lambda: carboy.jsonl([{"a": "\r\n"}, {"b": [1]}]))
    assert client.get("/").text.count("\n") == 2


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_json_lines_close_their_source(app, client, kind):
    closed = []

    def items():
        try:
            while True:
                yield "x" * 50_000
        finally:
            closed.append(request.path)

    async def async_items():
        try:
            while True:
                yield "x" * 50_000
        finally:
            closed.append(request.path)

    app.add_url_rule("/", "index", lambda: carboy.jsonl(items() if kind == "sync" else async_items()))
    leave_early(client.get("/"))
    assert closed == ["/"]


def test_piece_that_is_no_text(app, client):
    @app.get("/")
    async def index():
        yield bytearray(b"a")
        yield memoryview(b"b")
        yield 5

    with pytest.raises(TypeError, match="'int'"):
        client.get("/", buffered=True)


def test_error_of_the_system_in_a_generator_is_no_client_that_left(app, client):
    @app.get("/")
    async def index():
        yield "a"
        raise FileNotFoundError("a file that the body needs")

    with pytest.raises(FileNotFoundError):
        client.get("/", buffered=True)


@pytest.mark.parametrize("view_async", [False, True])
def test_disconnected(app, client, protocol, view_async):
    """Told at once and again; under WSGI never."""
    seen = queue.SimpleQueue()

    @app.get("/async")
    async def asynchronous():
        before = await request.disconnected()

        @carboy.stream_with_context
        async def parts():
            try:
                while True:
                    yield "x" * 100_000
            finally:
                seen.put((before, await request.disconnected(0.05), await request.disconnected()))

        return parts()

    @app.get("/sync")
    def sync():
        before = request.disconnected()

        @carboy.stream_with_context
        def parts():
            try:
                while True:
                    yield "x" * 100_000
            finally:
                seen.put((before, request.disconnected(0.05), request.disconnected()))

        return parts()

    leave_early(client.get("/async" if view_async else "/sync"))
    left = protocol != "wsgi"
    assert seen.get(timeout=5) == (False, left, left)


@pytest.mark.parametrize("view_async", [False, True])
def test_disconnected_while_the_client_waits(app, client, protocol, view_async):
    @app.post("/async")
    async def asynchronous():
        return {"left": await request.disconnected(0.01), "got": len(request.data)}

    @app.post("/sync")
    def sync():
        return {"left": request.disconnected(0.01), "got": len(request.data)}

    @app.post("/async-stream", stream_body=True)
    async def asynchronous_stream():
        left = await request.disconnected(0.01)
        return {"left": left, "got": sum([len(chunk) async for chunk in request.stream])}

    @app.post("/sync-stream", stream_body=True)
    def sync_stream():
        left = request.disconnected(0.01)
        return {"left": left, "got": len(request.stream.read())}

    for ending in ("", "-stream"):
        path = f"/{'async' if view_async else 'sync'}{ending}"
        assert client.post(path, data=b"x" * 200_000).json == {"left": False, "got": 200_000}


def test_disconnected_for_ever_is_refused_where_nobody_would_tell(app):
    async def view():
        return str(await request.disconnected(None))

    app.add_url_rule("/async", "async", view)
    app.add_url_rule("/sync", "sync", lambda: str(request.disconnected(None)))
    for path in ("/async", "/sync"):
        with pytest.raises(RuntimeError, match="WSGI"):
            app.test_client().get(path)


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

    leave_early(client.get("/"))
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


@pytest.mark.parametrize("is_read", [True, False])
def test_stream_with_context_in_a_client_that_keeps_contexts(app, client, is_read):
    torn_down = []
    app.teardown_request(torn_down.append)

    @app.get("/")
    def index():
        return carboy.stream_with_context(part for part in (request.path, "end"))

    with client:
        response = client.get("/")
        if is_read:
            assert response.text == "/end"
        else:
            response.close()
        assert request.path == "/"
    assert not carboy.has_request_context()
    assert torn_down


def test_stream_with_context_closes_an_iterator_of_the_users_own(app, client):
    closed = []

    class Parts:
        def __init__(self):
            self.left = ["a", "b"]

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            return self.left.pop(0)

        def close(self):
            closed.append(request.path)

    @app.get("/")
    def index():
        return carboy.stream_with_context(Parts())

    assert client.get("/").text == "ab"
    assert closed == ["/"]
