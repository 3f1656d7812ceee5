"""Event streams and the lifespan of the test client."""

import asyncio
import threading

import pytest

import carboy
from carboy import request
from carboy.lifecycle import ShutdownError, StartupError
from carboy.testing import EventStreamRefused, ReceivedEvent
from carboy.testing.connections import ASGILifespan, EventParser, during


def stream(body):
    return carboy.Response(body, mimetype="text/event-stream")


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("data: a\n\n", [ReceivedEvent("a")]),
        ("data:a\r\rdata: b\r\n\r\n", [ReceivedEvent("a"), ReceivedEvent("b")]),
        ("data: a\ndata\ndata:  b\n\n", [ReceivedEvent("a\n\n b")]),
        ("\ufeffdata: é\n\n", [ReceivedEvent("é")]),
        ("event: x\ndata: a\n\ndata: b\n\n", [ReceivedEvent("a", "x"), ReceivedEvent("b")]),
        ("event: x\n\ndata: b\n\n", [ReceivedEvent("b")]),
        ("id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", [ReceivedEvent("a", id="1"), ReceivedEvent("b", id="1"),
                                                          ReceivedEvent("c")]),
        ("id: 1\n\nid: 2\0\ndata: a\n\n", [ReceivedEvent("a", id="1")]),
        ("retry: 10\ndata: a\n\nretry: 1x\ndata: b\n\n", [ReceivedEvent("a", retry=10), ReceivedEvent("b")]),
        ("other: 1\n: comment\n\ndata: a\n\n", [ReceivedEvent("a")]),
        ("data: unfinished\n", []),
    ],
)  # fmt: skip
def test_events_are_what_a_browser_would_dispatch(text, events):
    data = text.encode()
    assert EventParser().feed(data) == events
    by_byte = EventParser()
    assert [event for index in range(len(data)) for event in by_byte.feed(data[index : index + 1])] == events


def test_events_are_read_as_they_come(app, client):
    taken = []

    @app.get("/")
    async def index():
        async def events():
            for number in range(1000):
                taken.append(number)
                yield f": {'x' * 8192}\nid: {number}\nretry: 5\ndata: [{number}]\n\n"
                await asyncio.sleep(0)

        return stream(events())

    with client.events("/") as events:
        assert events.response.mimetype == "text/event-stream"
        assert next(events).json() == [0]
        assert next(events) == ReceivedEvent("[1]", id="1", retry=5)
        assert (len(events.comments), events.last_event_id, events.retry) == (2, "1", 5)
    assert len(taken) < 100


@pytest.mark.parametrize("is_async", [True, False])
def test_leaving_ends_the_stream(app, client, is_async):
    closed = threading.Event()

    def events():
        try:
            while True:
                yield "data: x\n\n"
        finally:
            closed.set()

    async def async_events():
        try:
            yield "data: x\n\n"
            await asyncio.sleep(60)
        finally:
            closed.set()

    app.add_url_rule("/", view_func=lambda: stream(async_events() if is_async else events()))
    with client.events("/") as stream_:
        next(stream_)
        assert not closed.is_set()
    assert closed.is_set()


def test_end_of_the_stream(app, client):
    app.add_url_rule("/", view_func=lambda: stream(iter(["data: a\n\n", "", "data: b\n\ndata: c"])))
    with client.events("/") as events:
        assert [event.data for event in events] == ["a", "b"]
        assert list(events) == []


def test_reconnecting_client_says_where_it_was(app, client):
    @app.get("/")
    def index():
        return stream([f"data: {request.headers['Last-Event-ID']} {request.accept_mimetypes} {request.args['q']}\n\n"])

    with client.events("/", last_event_id="7", query_string={"q": "1"}) as events:
        event = next(events)
    assert event == ReceivedEvent(data="7 text/event-stream 1", id="7")


def test_context_of_the_latest_request_is_left_alone(app, client):
    app.add_url_rule("/", view_func=lambda: stream(["data: x\n\n"]))
    app.add_url_rule("/page", view_func=lambda: "x", endpoint="page")
    with client:
        client.get("/page")
        with client.events("/") as events:
            assert [event.data for event in events] == ["x"]
        assert request.path == "/page"
        client.get("/page")


def test_no_event_stream(app, client):
    app.add_url_rule("/", view_func=lambda: ({"a": 1}, 200))
    with pytest.raises(EventStreamRefused, match="200 OK of type application/json") as refused:
        client.events("/").__enter__()
    assert refused.value.response.json == {"a": 1}
    with pytest.raises(EventStreamRefused, match="404"):
        client.events("/nowhere").__enter__()


def test_silent_stream(app, client):
    silence = threading.Event()

    @app.get("/")
    def index():
        def events():
            yield ": hello\n\n"
            silence.wait(5)
            yield "data: x\n\n"

        return stream(events())

    with client.events("/", timeout=0.05) as events:
        with pytest.raises(TimeoutError, match=r"No event came within 0.05 s \(GET /\)"):
            next(events)
        assert events.comments == ["hello"]
        silence.set()
        events.timeout = 5
        assert next(events).data == "x"


def test_failure_of_the_stream_is_raised(app, client):
    @app.get("/")
    def index():
        def events():
            yield "data: x\n\n"
            raise ZeroDivisionError

        return stream(events())

    with client.events("/") as events:
        next(events)
        with pytest.raises(ZeroDivisionError):
            next(events)


def test_failure_before_the_stream_is_raised(app, client):
    @app.get("/")
    def index():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.events("/").__enter__()


# Lifespan


def test_lifespan_runs_the_serving_hooks_around_the_block(app, client):
    done = []

    @app.before_serving
    async def start():
        done.append("start")

    @app.after_serving
    def stop():
        done.append("stop")

    app.add_url_rule("/", view_func=lambda: str(done))
    for _ in range(2):
        with client.lifespan():
            assert client.get("/").text == "['start']"
        assert done == ["start", "stop"]
        done.clear()
    with pytest.raises(KeyError), client.lifespan():
        raise KeyError
    assert done == ["start", "stop"]


def test_failure_at_the_start_is_raised(app, client):
    @app.before_serving
    def start():
        raise OSError("no database")

    with pytest.raises(StartupError, match="no database"), client.lifespan():
        raise AssertionError("it started")


def test_failure_at_the_end_is_raised(app, client):
    @app.after_serving
    def stop():
        raise OSError("no database")

    with pytest.raises(ShutdownError, match="no database"), client.lifespan():
        pass
    with pytest.raises(KeyError) as error, client.lifespan():
        raise KeyError
    assert "no database" in error.value.__notes__[0]


def test_start_that_takes_too_long(app, client):
    @app.before_serving
    async def start():
        await asyncio.sleep(0.3 if client.protocol == "wsgi" else 60)

    with pytest.raises(TimeoutError, match=r"did not start within 0.05 s"), client.lifespan(timeout=0.05):
        raise AssertionError("it started")
    # Under WSGI nothing can stop it.
    app.lifecycle.shutdown_blocking()


@pytest.mark.parametrize(("event", "message"), [(None, "without an answer to lifespan.startup"), ("x", "x")])
def test_asgi_lifespan_of_other_applications(event, message):
    async def app(scope, receive, send):
        assert (scope["type"], (await receive())["type"]) == ("lifespan", "lifespan.startup")
        if event is not None:
            await send({"type": "lifespan.startup.failed", "message": event})

    async def main():
        async with during(ASGILifespan(app), 5):
            raise AssertionError("it started")

    with pytest.raises(RuntimeError, match=message):
        asyncio.run(main())
