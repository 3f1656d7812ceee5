"""What only ASGI has: scopes, events, lifespan."""

import asyncio
import time
from contextlib import suppress

import pytest

from carboy import request
from carboy.testing import lint_asgi


def run(app, scope, *events, after=0):
    """Return what the linted application sends in answer to *events*, the last one held until it sent *after*."""
    sent = []
    incoming = list(events)
    enough, never = asyncio.Event(), asyncio.Event()

    async def receive():
        if len(incoming) == 1 and len(sent) < after:
            await enough.wait()
        if not incoming:
            await never.wait()
        return incoming.pop(0)

    async def send(event):
        sent.append(event)
        if len(sent) >= after:
            enough.set()

    async def main():
        await asyncio.wait_for(lint_asgi(app)(scope, receive, send), 5)

    started = time.monotonic()
    asyncio.run(main())
    # Being cancelled by the timeout must not pass for having noticed that the client left.
    assert time.monotonic() - started < 5
    return sent


def http_scope(**changes):
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    } | changes


EMPTY = {"type": "http.request"}


def body_of(events):
    return b"".join(event.get("body", b"") for event in events[1:])


def test_white_space_around_header_values_is_not_sent(app):
    """uvicorn with h11 would close the connection instead of answering."""

    @app.get("/")
    def index():
        return "x", {"Content-Security-Policy": " default-src 'self'; ", "X-Empty": " ", "X-Latin": "\xa0"}

    start, _ = run(app, http_scope(), EMPTY)
    headers = dict(start["headers"])
    assert headers[b"content-security-policy"] == b"default-src 'self';"
    assert (headers[b"x-empty"], headers[b"x-latin"]) == (b"", b"\xa0")


def test_scope_with_no_optional_key_is_enough(app):
    app.add_url_rule("/", "index", lambda: [request.url, request.remote_addr, request.environ["SERVER_PORT"]])
    events = run(app, http_scope(), EMPTY)
    assert (events[0]["status"], body_of(events)) == (200, b'["http://localhost/","","80"]\n')


def test_whole_answer_is_two_events(app):
    app.add_url_rule("/", "index", lambda: "Hello!")
    start, body = run(app, http_scope(), EMPTY)
    assert start["headers"] == [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"6")]
    assert body == {"type": "http.response.body", "body": b"Hello!"}


def test_root_path(app):
    app.add_url_rule("/x", "x", lambda: [request.root_path, request.path, request.url])
    events = run(app, http_scope(path="/root/x", root_path="/root"), EMPTY)
    assert body_of(events) == b'["/root","/x","http://localhost/root/x"]\n'


@pytest.mark.parametrize("path", ["/rootx", "/other"])
def test_path_outside_of_the_root_path_is_not_cut(app, path):
    """Old servers leave the root path out of the path; and /rootx is not below /root."""
    app.add_url_rule("/<name>", "x", lambda name: name)
    assert body_of(run(app, http_scope(path=path, root_path="/root"), EMPTY)) == path[1:].encode()


def test_cookies_in_several_headers_are_one(app):
    """HTTP/2 may split them (RFC 9113 8.2.3)."""
    app.add_url_rule("/", "index", lambda: [request.first_cookie("b"), request.cookies.to_dict()])
    headers = [(b"host", b"localhost"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert body_of(run(app, http_scope(headers=headers), EMPTY)) == b'["2",{"a":"1","b":"2"}]\n'


def test_repeated_headers_are_joined(app):
    app.add_url_rule("/", "index", lambda: request.headers["X-A"])
    headers = [(b"host", b"localhost"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert body_of(run(app, http_scope(headers=headers), EMPTY)) == b"1,2"


def test_header_with_underscore_cannot_pass_for_another(app):
    app.add_url_rule("/", "index", lambda: request.headers.get("X-Forwarded-User", "none"))
    headers = [(b"host", b"localhost"), (b"x_forwarded_user", b"admin")]
    assert body_of(run(app, http_scope(headers=headers), EMPTY)) == b"none"


def test_unix_socket_server_and_unknown_client(app):
    app.add_url_rule("/", "index", lambda: request.url)
    assert run(app, http_scope(server=("/run/app.sock", None), client=None), EMPTY)[0]["status"] == 200


def test_body_in_many_small_events(app):
    app.add_url_rule("/", "index", lambda: request.get_data(), methods=["POST"])
    headers = [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]
    events = [{"type": "http.request", "body": b"ab", "more_body": True} for _ in range(1000)]
    assert body_of(run(app, http_scope(method="POST", headers=headers), *events, EMPTY)) == b"ab" * 1000


def test_body_larger_than_announced_by_a_careless_server(app):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/", "index", lambda: str(len(request.get_data())), methods=["POST"])
    headers = [(b"host", b"localhost"), (b"content-length", b"3")]
    event = {"type": "http.request", "body": b"x" * 10}
    events = run(app, http_scope(method="POST", headers=headers), event)
    assert events[0]["status"] < 500


@pytest.mark.parametrize("body", ["whole", iter(["streamed"])], ids=["whole", "streamed"])
@pytest.mark.parametrize("refused", ["http.response.start", "http.response.body"])
def test_what_is_to_be_done_at_the_end_is_done_when_nothing_could_be_sent(app, body, refused):
    done = []

    @app.get("/")
    async def index():
        response = app.make_response(body)
        response.call_on_close(lambda: done.append("closed"))
        app.add_background_task(done.append, "task")
        return response

    async def receive():
        await asyncio.Event().wait()

    async def send(event):
        if event["type"] == refused:
            raise OSError("The client has left.")

    with suppress(OSError):
        asyncio.run(app(http_scope(), receive, send))
    app.lifecycle.shutdown_blocking()
    assert done == ["closed", "task"]


def test_client_that_left_before_the_answer(app):
    calls = []
    app.teardown_request(lambda error: calls.append("teardown"))
    app.add_url_rule("/", "index", lambda: "never seen", methods=["POST"])
    headers = [(b"host", b"localhost"), (b"content-length", b"3")]
    run(app, http_scope(method="POST", headers=headers), {"type": "http.disconnect"})
    assert calls == ["teardown"]


@pytest.mark.parametrize("view", ["sync", "async"])
def test_client_that_leaves_during_a_stream_ends_it(app, view):
    ended = []

    def sync_parts():
        try:
            while True:
                yield b"x"
        finally:
            ended.append("generator")

    async def async_parts():
        try:
            while True:
                await asyncio.sleep(0)
                yield b"x"
        finally:
            ended.append("generator")

    app.add_url_rule("/", "index", lambda: sync_parts() if view == "sync" else async_parts())
    events = run(app, http_scope(), EMPTY, {"type": "http.disconnect"}, after=5)
    assert ended == ["generator"]
    assert all(event.get("more_body") for event in events[1:])


def test_stream_that_waits_for_ever_ends_when_the_client_leaves(app):
    ended = []

    @app.get("/")
    async def index():
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            ended.append("generator")

    run(app, http_scope(), EMPTY, {"type": "http.disconnect"}, after=2)
    assert ended == ["generator"]


def test_cancelled_request_is_torn_down(app):
    """As servers do with what is still running when they stop."""
    calls = []
    started = asyncio.Event()
    app.teardown_request(lambda error: calls.append(type(error).__name__))

    @app.get("/")
    async def index():
        calls.append("view")
        started.set()
        await asyncio.sleep(60)

    async def main():
        async def receive():
            return EMPTY

        async def send(event): ...

        task = asyncio.create_task(app(http_scope(), receive, send))
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert calls == ["view", "CancelledError"]


def test_lifespan(app):
    events = run(app, {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert [event["type"] for event in events] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_unknown_type_of_connection_is_an_error(app):
    with pytest.raises(ValueError, match="carrier pigeon"):
        run(app, {"type": "carrier pigeon"})
