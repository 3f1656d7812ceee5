"""Event streams and uploads on real servers: what only a real connection shows."""

import hashlib
import json
import time

import pytest

# A WSGI server learns that a client has left when it writes, and the second write tells.
SECONDS = {"wsgi": 3}


def open_stream(server, path, headers=""):
    """Open an event stream and return the socket when the first event has come."""
    connection = server.raw()
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
    received = b""
    while b"data: " not in received or not received.partition(b"data: ")[2].count(b"\n\n"):
        received += connection.recv(65536)
    return connection, received


@pytest.mark.parametrize("path", ["/events", "/async-events"])
def test_client_that_leaves_an_event_stream_is_noticed_within_a_second(server, path, wait_for):
    before = server.records().count(f"generator {path}")
    connection, received = open_stream(server, path)
    assert b"text/event-stream" in received
    assert b":\n\n" in received
    assert b"id: 1\ndata: first\n\n" in received
    connection.close()
    start = time.monotonic()
    wait_for(lambda: server.records().count(f"generator {path}") > before)
    assert time.monotonic() - start < SECONDS.get(server.protocol, 1)
    assert server.request("GET", "/")[0] == 200


def test_heartbeats_reach_the_client(server):
    connection, _ = open_stream(server, "/async-events")
    received = b""
    while received.count(b":\n\n") < 3:
        received += connection.recv(65536)
    connection.close()


def test_last_event_id_of_an_event_stream_opened_again(server):
    connection, received = open_stream(server, "/async-events", "Last-Event-ID: seven\r\n")
    assert b"data: seven\n\n" in received
    connection.close()


@pytest.mark.parametrize("path", ["/wait-for-leaving", "/async-wait-for-leaving"])
def test_disconnected(server, path, wait_for):
    if server.protocol == "wsgi":
        # Nobody tells; what it answers then is tested with the other protocols' clients.
        assert server.request("GET", "/protocol")[2] == b"wsgi"
        return
    before = server.records().count("left True")
    started = server.records().count(f"started {path}")
    connection = server.raw()
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    wait_for(lambda: server.records().count(f"started {path}") > started)
    connection.close()
    start = time.monotonic()
    wait_for(lambda: server.records().count("left True") > before)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("path", ["/parts", "/async-parts"])
@pytest.mark.parametrize("chunked", [False, True])
def test_upload_part_by_part(server, path, chunked):
    content = bytes(range(256)) * 20_000
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        b"%s\r\n--limit--\r\n" % content
    )
    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    pieces = iter([body[n : n + 50_001] for n in range(0, len(body), 50_001)]) if chunked else body
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    connection = server.connect()
    connection.request("POST", path, pieces, headers, encode_chunked=chunked)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer == {
        "field": [None, hashlib.sha256(b"value").hexdigest()],
        "file": ["a.bin", hashlib.sha256(content).hexdigest()],
    }
