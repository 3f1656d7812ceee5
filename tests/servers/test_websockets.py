"""WebSockets on real servers, by a client that is not carboy's."""

import contextlib
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ON_ASGI = ("uvicorn", "hypercorn", "granian-asgi")


@pytest.fixture(params=[*ON_ASGI, "granian-rsgi"])
def server(request, running):
    """The servers that have WebSockets."""
    return running(request.param)


@pytest.fixture
def dial(server):
    """Opens a WebSocket."""

    def dial(path, **options):
        return connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, **{"close_timeout": 5} | options)

    return dial


def refused(dial, path, **options):
    with pytest.raises(InvalidStatus) as error, dial(path, **options):
        pass
    return error.value.response


def closed(ws):
    """The close frame that comes; granian's RSGI sends no code."""
    with pytest.raises(ConnectionClosed):
        ws.recv(timeout=10)
    return ws.close_code, ws.close_reason


@pytest.mark.parametrize("path", ["/ws/echo", "/ws/echo-sync/7"])
def test_echo(dial, path):
    with dial(path) as ws:
        if "sync" in path:
            assert ws.recv() == "7"
        for message in ("text", "é\N{BEER MUG}", b"\0\xff", "x" * 100_000, b"x" * (1 << 20)):
            ws.send(message)
            assert ws.recv() == message
        ws.send(["in ", "frag", "ments"])
        assert ws.recv() == "in fragments"


def test_refused_without_session_and_opened_with(dial, server):
    assert refused(dial, "/ws/whoami").status_code == 401
    _, headers, _ = server.request("GET", "/login/ada")
    cookie = headers["Set-Cookie"].partition(";")[0]
    with dial("/ws/whoami", additional_headers={"Cookie": cookie}) as ws:
        assert ws.recv() == "ada"


def test_origin(dial, server):
    assert refused(dial, "/ws/echo", origin="http://evil.example").status_code == 403
    with dial("/ws/echo", origin=f"http://127.0.0.1:{server.port}") as ws:
        ws.send("x")
        assert ws.recv() == "x"


def test_wrong_urls(dial, server):
    assert refused(dial, "/ws/nowhere").status_code == 404
    assert refused(dial, "/async").status_code == 400
    assert server.request("GET", "/ws/echo")[0] == 400


def test_close_codes(dial, server):
    rsgi = server.protocol == "rsgi"
    with dial("/ws/close") as ws:
        assert closed(ws) == ((1005, "") if rsgi else (4001, "full"))
    with dial("/ws/fail") as ws:
        assert closed(ws)[0] == (1005 if rsgi else 1011)
    with dial("/ws/echo") as ws:
        ws.send("x" * ((1 << 20) + 1))
        assert closed(ws)[0] == (1005 if rsgi else 1009)


def test_subprotocol(dial, server):
    if server.protocol == "rsgi":
        assert refused(dial, "/ws/subprotocol", subprotocols=["a", "b"]).status_code == 500
        assert "--interface asgi" in server.log_file.read_text()
    else:
        with dial("/ws/subprotocol", subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol == "b"


@pytest.mark.parametrize("how", ["close", "vanish"])
def test_client_that_leaves_a_busy_handler(dial, server, wait_for, how):
    before = server.records().count("left /ws/elsewhere")
    with dial("/ws/elsewhere") as ws:
        if how == "vanish":
            ws.socket.close()
    start = time.monotonic()
    wait_for(lambda: server.records().count("left /ws/elsewhere") > before)
    assert time.monotonic() - start < 4
    wait_for(lambda: server.records()[-1] == "teardown /ws/elsewhere NoneType")


def test_client_that_does_not_read_holds_the_handler_back(dial, server, wait_for):
    """What it is sent waits in buffers of a bounded size."""
    with dial("/ws/flood", max_queue=1, close_timeout=0.2):
        wait_for(lambda: any(line.startswith("flood stopped") for line in server.records()))
    (line,) = [line for line in server.records() if line.startswith("flood stopped")]
    assert int(line.split()[-1]) < 200


def test_many_at_once(dial):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(dial("/ws/echo")) for _ in range(100)]
        for number, ws in enumerate(sockets):
            ws.send(str(number))
        assert [ws.recv() for ws in sockets] == [str(number) for number in range(100)]


@pytest.mark.parametrize("name", ["gunicorn-gthread", "granian-wsgi"])
def test_wsgi_says_what_to_do(name, running):
    server = running(name)
    with pytest.raises(InvalidStatus) as error, connect(f"ws://127.0.0.1:{server.port}/ws/echo"):
        pass
    assert error.value.response.status_code == 400
    assert b"carboy serve" in error.value.response.body
