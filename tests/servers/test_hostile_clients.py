"""Clients that break the rules, or only bend them, on real servers."""

import http.client
import time
from contextlib import suppress

import pytest

HOST = b"Host: localhost\r\n"


def answer_to(server, *parts, pause=0.0):
    """Send the parts and return status and body of the answer; the status is 0 if the server hung up without one."""
    with server.raw() as client:
        client.settimeout(3)
        # The server may answer, and close, before it has heard everything.
        with suppress(OSError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
        response = http.client.HTTPResponse(client)
        try:
            response.begin()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            response.close()


@pytest.fixture(autouse=True)
def server_is_unharmed(server):
    """The application had no error, and goes on."""
    before = len(server.log_file.read_text())
    yield
    assert server.request("GET", "/")[0] == 200
    assert "Exception on" not in server.log_file.read_text()[before:]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /name HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /name HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /name HTTP/1.1\r\nHost: user@a/b\r\n\r\n",
        b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /%ff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /?q=%ff HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\0b\r\n\r\n",
        b"GET /" + b"9" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /json HTTP/1.1\r\n" + HOST + b"Content-Length: abc\r\n\r\n",
        b"POST /json HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
    ids=lambda value: repr(value[:36]),
)
def test_bad_request(server, request_):
    status, _ = answer_to(server, request_)
    assert status == 0 or 400 <= status < 500 or request_.startswith(b"GET /?q")


def test_json_that_is_nested_too_deep(server):
    head = b"POST /json HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    assert answer_to(server, head + b"[" * 100_000)[0] == 400


def test_announced_body_over_the_limit(server):
    head = b"POST /json HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    assert answer_to(server, head, b"x" * 1000)[0] in (0, 413)


@pytest.mark.parametrize("path", [b"/json", b"/stream-upload", b"/async-stream-upload"])
def test_body_in_chunks_over_the_limit(server, path):
    """The limit is 8 MB; the rest of the body may never be read."""
    fields = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
    head = b"POST " + path + b" HTTP/1.1\r\n" + HOST + fields
    chunk = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"
    assert answer_to(server, head, *[chunk] * 12, b"0\r\n\r\n")[0] in (0, 413)


def test_http_1_0_without_host(server):
    assert answer_to(server, b"GET / HTTP/1.0\r\n\r\n") == (200, b"Hello!")


def test_body_that_comes_slowly(server):
    head = b"POST /unread HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Content-Length: 20\r\n\r\n"
    assert answer_to(server, head, b"x" * 10, b"x" * 10, pause=0.1) == (200, b"unread")


def test_client_that_waits_for_100_continue(server):
    with server.raw() as client:
        client.sendall(
            b"POST /stream-upload HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
            + HOST
            + b"\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        received = b""
        while part := client.recv(1000):
            received += part
    assert b"HTTP/1.1 200" in received
