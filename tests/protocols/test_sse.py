"""Server-sent events, the same on each protocol."""

import asyncio
import queue
import threading

import pytest
from werkzeug.exceptions import ServiceUnavailable

import carboy
from carboy import ServerSentEvent, concurrency, g, request, session, sse
from carboy.testing.protocols import event_loop


def events(*items):
    yield from items


async def async_events(*items):
    for item in items:
        await asyncio.sleep(0)
        yield item


def parse(text):
    """The fields of each event, in the order they came; comments left out."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            found.append([tuple(line.split(": ", 1)) for line in lines])
    return found


def on_loop(func):
    """Call *func* as a server would: on the event loop."""
    done = threading.Event()
    event_loop().call_soon_threadsafe(lambda: (func(), done.set()))
    assert done.wait(5)


@pytest.fixture
def few_threads(monkeypatch):
    """One worker thread, and two for long-lived connections."""
    pool = concurrency.WorkerThreads(1)
    threads = concurrency.LongLivedThreads(2)
    monkeypatch.setattr(concurrency, "_workers", pool)
    monkeypatch.setattr(concurrency, "_long_lived", threads)
    yield threads
    pool.end()


@pytest.mark.parametrize("make", [events, async_events])
@pytest.mark.parametrize("view_async", [False, True])
def test_events_that_a_view_returns(app, client, make, view_async):
    def sync_view():
        return sse(make("a", {"n": 1}), retry=500, headers={"X-A": "1"})

    async def async_view():
        return sync_view()

    app.add_url_rule("/", "index", async_view if view_async else sync_view)
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert (response.headers["X-Accel-Buffering"], response.headers["X-A"]) == ("no", "1")
    assert parse(response.text) == [[("retry", "500")], [("data", "a")], [("data", '{"n": 1}')]]


def test_events_that_a_view_yields(app, client):
    @app.get("/sync/<int:count>")
    @sse
    def sync(count):
        for n in range(count):
            yield ServerSentEvent(n, id=n, event="tick")

    @app.get("/async/<int:count>")
    @sse(heartbeat=None, retry=7)
    async def asynchronous(count):
        for n in range(count):
            await asyncio.sleep(0)
            yield ServerSentEvent(n, id=n, event="tick")

    ticks = [[("event", "tick"), ("id", str(n)), ("data", str(n))] for n in range(2)]
    assert parse(client.get("/sync/2").text) == ticks
    assert parse(client.get("/async/2").text) == [[("retry", "7")], *ticks]


def test_a_decorated_view_may_return_events_or_a_response(app, client):
    @app.get("/list")
    @sse
    async def items():
        return ["a", None, "b"]

    @app.get("/response")
    @sse
    def response():
        return carboy.Response("gone", 204)

    assert parse(client.get("/list").text) == [[("data", "a")], [("data", "b")]]
    assert client.get("/response").status_code == 204


def test_the_first_bytes_come_before_the_first_event(app, client):
    @app.get("/")
    @sse
    async def index():
        await asyncio.sleep(30)
        yield "never"

    with client.get("/") as response:
        assert next(response.iter_encoded()) == b":\n\n"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_context_lasts_until_the_end(app, client, kind):
    torn_down = []
    app.teardown_request(lambda error: torn_down.append((g.name, error)))
    app.teardown_appcontext(lambda error: torn_down.append("app"))

    @app.before_request
    def before():
        g.name = "ann"
        session["a"] = 1

    @app.get("/sync")
    @sse
    def sync():
        yield f"{request.path} {g.name} {session['a']}"
        assert torn_down == []

    @app.get("/async")
    @sse
    async def asynchronous():
        yield f"{request.path} {g.name} {session['a']}"
        await asyncio.sleep(0)
        assert torn_down == []

    with client.get(f"/{kind}") as response:
        assert parse(response.text) == [[("data", f"/{kind} ann 1")]]
    assert torn_down == [("ann", None), "app"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_heartbeat_while_the_source_is_silent(app, client, kind):
    go_on = threading.Event()

    @app.get("/sync")
    @sse(heartbeat=0.02)
    def sync():
        assert go_on.wait(10)
        yield "done"

    @app.get("/async")
    @sse(heartbeat=0.02)
    async def asynchronous():
        await asyncio.to_thread(go_on.wait, 10)
        yield "done"

    with client.get(f"/{kind}") as response:
        stream = response.iter_encoded()
        assert [next(stream) for _ in range(4)] == [b":\n\n"] * 4
        go_on.set()
        rest = [piece for piece in stream if piece != b":\n\n"]
    assert rest == [b"data: done\n\n"]


def test_events_are_whole_beside_heartbeats(app, client):
    """Comments come between events, never within one."""

    @app.get("/")
    @sse(heartbeat=0.001)
    async def index():
        for n in range(100):
            await asyncio.sleep(0.002 if n % 10 == 0 else 0)
            yield ServerSentEvent("x" * 30_000, id=n)

    found = parse(client.get("/").text)
    assert found == [[("id", str(n)), ("data", "x" * 30_000)] for n in range(100)]


def test_last_event_id(app, client):
    @app.get("/")
    async def index():
        return {"last": request.last_event_id}

    assert client.get("/").json == {"last": None}
    assert client.get("/", headers={"Last-Event-ID": "42"}).json == {"last": "42"}
    assert client.get("/", headers={"Last-Event-ID": ""}).json == {"last": ""}


@pytest.mark.parametrize("silent", [False, True])
def test_client_that_leaves_closes_an_async_source(app, client, silent):
    seen = []
    app.teardown_request(lambda error: seen.append("teardown"))

    @app.get("/")
    @sse
    async def index():
        try:
            yield "first"
            await asyncio.sleep(30)
        except (GeneratorExit, asyncio.CancelledError):
            seen.append("closed")
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("finally")

    response = client.get("/")
    stream = response.iter_encoded()
    assert next(stream) == b":\n\n"
    assert next(stream) == b"data: first\n\n"
    if silent:
        on_loop(lambda: None)
    response.close()
    assert seen == ["closed", "finally", "teardown"]


def test_client_that_leaves_closes_a_sync_source_at_its_next_item(app, client):
    items = queue.SimpleQueue()
    closed = threading.Event()
    torn_down = threading.Event()
    app.teardown_request(lambda error: torn_down.set())

    @app.get("/")
    @sse(heartbeat=0.02)
    def index():
        try:
            while True:
                yield items.get()
        finally:
            closed.set()

    items.put("first")
    response = client.get("/")
    stream = response.iter_encoded()
    while next(stream) != b"data: first\n\n":
        pass
    assert next(stream) == b":\n\n"
    # Does not wait for the source, which may be silent for ever.
    response.close()
    assert not closed.is_set()
    items.put("nobody receives it")
    assert closed.wait(5)
    assert torn_down.wait(5)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_server_that_stops_ends_streams(app, client, kind):
    hold = threading.Event()
    ended = threading.Event()

    @app.get("/sync")
    @sse
    def sync():
        yield "first"
        hold.wait(10)
        ended.set()

    @app.get("/async")
    @sse
    async def asynchronous():
        try:
            yield "first"
            await asyncio.sleep(30)
        finally:
            ended.set()

    with client.get(f"/{kind}") as response:
        stream = response.iter_encoded()
        assert [next(stream), next(stream)] == [b":\n\n", b"data: first\n\n"]
        assert len(app.lifecycle.long_lived) == 1
        threading.Timer(0.05, on_loop, [app.lifecycle.drain]).start()
        # Its end is told properly: it is not a connection that breaks.
        assert list(stream) == []
    assert app.lifecycle.long_lived == set()
    hold.set()
    assert ended.wait(5)
    # Opened while it stops: answered, and ended, so that the client tries again elsewhere.
    assert parse(client.get(f"/{kind}").text) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_head(app, client, few_threads, kind):
    torn_down = []
    app.teardown_request(lambda error: torn_down.append(error))
    make = events if kind == "sync" else async_events
    app.add_url_rule("/", "index", lambda: sse(make("a")))
    for n in range(1, 4):
        with client.head("/") as response:
            assert (response.status_code, response.data) == (200, b"")
            assert response.headers["Content-Type"] == "text/event-stream"
        assert torn_down == [None] * n
    assert parse(client.get("/").text) == [[("data", "a")]]


def test_sync_streams_have_threads_of_their_own(app, client, few_threads):
    """As many as there are; the next is refused, and ordinary views go on."""
    hold = threading.Event()

    @app.get("/events")
    @sse
    def stream():
        yield "first"
        hold.wait(10)

    app.add_url_rule("/", "index", lambda: "ordinary")
    with client.get("/events") as one, client.get("/events") as two:
        for response in (one, two):
            pieces = response.iter_encoded()
            assert [next(pieces), next(pieces)] == [b":\n\n", b"data: first\n\n"]
        refused = client.get("/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        assert "CARBOY_LONG_LIVED_THREADS" in refused.text
        assert client.get("/").text == "ordinary"
        hold.set()
    for _ in range(3):
        assert parse(client.get("/events").text) == [[("data", "first")]]


def test_one_thread_makes_all_items_of_a_stream(app, client):
    @app.get("/")
    @sse
    def index():
        for _ in range(5):
            yield str(threading.get_ident())

    assert len({str(event) for event in parse(client.get("/").text)}) == 1


def test_one_task_makes_all_items_of_a_stream(app, client):
    """What must be left in the task that entered it can stand around a yield."""

    @app.get("/")
    @sse
    async def index():
        async with asyncio.timeout(30):
            for _ in range(3):
                yield str(id(asyncio.current_task()))
                await asyncio.sleep(0)

    assert len({str(event) for event in parse(client.get("/").text)}) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_error_in_the_source(app, client, kind):
    errors = []
    app.teardown_request(lambda error: errors.append(type(error)))

    @app.get("/sync")
    @sse
    def sync():
        yield "first"
        raise ZeroDivisionError

    @app.get("/async")
    @sse
    async def asynchronous():
        yield "first"
        raise ZeroDivisionError

    response = client.get(f"/{kind}")
    with pytest.raises(ZeroDivisionError):
        _ = response.data
    response.close()
    assert errors == [ZeroDivisionError]


def test_events_without_sse_are_refused_with_the_reason(app, client):
    @app.get("/")
    async def index():
        yield ServerSentEvent("a")

    with pytest.raises(TypeError, match="@sse"):
        client.get("/", buffered=True)


def test_response_that_is_replaced_leaves_nothing_behind(app, client, few_threads):
    torn_down = queue.SimpleQueue()
    app.teardown_request(torn_down.put)
    app.after_request(lambda response: carboy.Response("other"))
    app.add_url_rule("/sync", "sync", lambda: sse(events("a")))

    async def view():
        return sse(async_events("a"))

    app.add_url_rule("/async", "async", view)
    for path in ("/sync", "/sync", "/sync", "/async"):
        assert client.get(path).text == "other"
        assert torn_down.get(timeout=5) is None


@pytest.mark.parametrize("source", ["text", b"bytes", {"a": 1}, 5])
def test_what_is_no_stream(app, source):
    with app.app_context(), pytest.raises(TypeError, match="'sse' takes a generator"):
        sse(source)


def test_needs_an_application():
    with pytest.raises(RuntimeError, match="application context"):
        sse(events())


def test_options_are_checked_at_once():
    with pytest.raises(ValueError, match="heartbeat"):
        sse(heartbeat=0)
    with pytest.raises(TypeError, match="retry"):
        sse(retry=1.5)


def test_refused_stream_closes_its_source(app, few_threads):
    closed = []

    def source():
        try:
            yield "a"
        finally:
            closed.append(True)

    generator = source()
    next(generator)
    assert few_threads.reserve() and few_threads.reserve()
    with app.test_request_context(), pytest.raises(ServiceUnavailable):
        sse(generator)
    del generator
    assert closed == [True]


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"id": "a\nb"}, ValueError, "id"),
        ({"id": "a\rb"}, ValueError, "id"),
        ({"id": "a\0b"}, ValueError, "id"),
        ({"event": "a\nb"}, ValueError, "event"),
        ({"event": "a\r"}, ValueError, "event"),
        ({"event": 5}, TypeError, "event"),
        ({"id": 1.5}, TypeError, "id"),
        ({"comment": b"a"}, TypeError, "comment"),
        ({"retry": -1}, ValueError, "retry"),
        ({"retry": True}, TypeError, "retry"),
        ({"data": b"a"}, TypeError, "data"),
    ],
)
def test_fields_that_cannot_be_sent(fields, error, named):
    with pytest.raises(error, match=f"'{named}'"):
        ServerSentEvent(**fields)


def test_event_is_comparable_and_readable():
    event = ServerSentEvent({"a": 1}, id=3, event="x")
    assert event == ServerSentEvent({"a": 1}, id="3", event="x")
    assert event != ServerSentEvent({"a": 1})
    assert repr(event) == "ServerSentEvent(data={'a': 1}, event='x', id='3')"
    assert ServerSentEvent().encode() == b":\n\n"
    assert ServerSentEvent("", comment="a\nb").encode() == b": a\n: b\ndata: \n\n"
