"""The same application on real servers, over real sockets."""

import hashlib
import http.client
import json
import socket
import threading
import urllib.parse

import pytest

DATA = bytes(range(256)) * 400


def test_protocol(server):
    """The server has recognised the application as what it is asked to serve."""
    assert server.request("GET", "/protocol")[2].decode() == server.protocol


@pytest.mark.parametrize("path", ["/", "/async"])
def test_plain(server, path):
    status, headers, body = server.request("GET", path)
    assert (status, body) == (200, b"Hello!")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Length"] == "6"


def test_json(server):
    value = {"a": [1, "é", None]}
    status, headers, body = server.request("POST", "/json", json.dumps(value), {"Content-Type": "application/json"})
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"got": value}


def test_form(server):
    body = urllib.parse.urlencode([("a", "1"), ("a", "é&=")])
    answer = server.request("POST", "/form", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert json.loads(answer[2]) == {"a": ["1", "é&="]}


def test_upload_of_5_mb(server):
    content = bytes(range(256)) * (5 * 4096)
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n'
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        b"%s\r\n--limit--\r\n" % content
    )
    answer = server.request("POST", "/upload", body, {"Content-Type": "multipart/form-data; boundary=limit"})
    assert json.loads(answer[2]) == {
        "name": "a.bin",
        "field": "value",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("path", ["/stream-upload", "/async-stream-upload"])
def test_streamed_upload(server, path):
    content = bytes(range(256)) * 4000
    answer = server.request("POST", path, content, {"Content-Type": "application/octet-stream"})
    assert json.loads(answer[2]) == {"sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("path", ["/stream-upload", "/async-stream-upload"])
def test_upload_in_chunks(server, path):
    parts = [bytes([n]) * 10_000 for n in range(50)]
    connection = server.connect()
    connection.request("POST", path, iter(parts), {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    response = connection.getresponse()
    assert json.loads(response.read()) == {"sha256": hashlib.sha256(b"".join(parts)).hexdigest()}
    connection.close()


def test_session_round_trip(server):
    status, headers, _ = server.request("GET", "/login/ann")
    assert (status, headers["Location"]) == (302, "/whoami")
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert server.request("GET", "/whoami", headers={"Cookie": cookie})[2] == b"ann"
    assert server.request("GET", "/whoami")[2] == b"nobody"


@pytest.mark.parametrize("path", ["/stream", "/async-stream"])
def test_streamed_answer(server, path):
    status, headers, body = server.request("GET", path)
    assert status == 200
    assert headers["Content-Length"] is None
    assert body == b"".join(b"part %d\n" % n for n in range(100))


def test_not_found_page(server):
    status, _, body = server.request("GET", "/nowhere")
    assert (status, body) == (404, b"<h1>No /nowhere here</h1>")


def test_method_not_allowed(server):
    status, headers, body = server.request("POST", "/")
    assert status == 405
    assert {"GET", "HEAD", "OPTIONS"} == set(headers["Allow"].split(", "))
    assert b"Method Not Allowed" in body


@pytest.mark.parametrize("path", ["/fail", "/async-fail"])
def test_internal_server_error(server, path):
    status, _, body = server.request("GET", path)
    assert status == 500
    assert b"Internal Server Error" in body
    assert b"the reason" not in body


@pytest.mark.parametrize("path", ["/", "/async", "/stream", "/async-stream", "/static/data.bin"])
def test_head(server, path):
    """The connection goes on as it should: no byte of a body was sent."""
    connection = server.connect()
    connection.request("HEAD", path)
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    if not response.will_close:
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"Hello!"
    connection.close()


def test_options(server):
    status, headers, body = server.request("OPTIONS", "/json")
    assert (status, body) == (200, b"")
    assert set(headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


def test_static_file(server):
    status, headers, body = server.request("GET", "/static/data.bin")
    assert (status, body) == (200, DATA)
    assert headers["Content-Length"] == str(len(DATA))
    status, _, body = server.request("GET", "/static/data.bin", headers={"If-None-Match": headers["ETag"]})
    assert (status, body) == (304, b"")


def test_range_of_a_static_file(server):
    status, headers, body = server.request("GET", "/static/data.bin", headers={"Range": "bytes=1000-1999"})
    assert (status, body) == (206, DATA[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(DATA)}"
    assert server.request("GET", "/static/data.bin", headers={"Range": "bytes=999999-"})[0] == 416


def test_non_ascii_path(server):
    status, _, body = server.request("GET", "/caf%C3%A9")
    assert (status, body.decode()) == (404, "<h1>No /café here</h1>")


def test_unread_body_does_not_spoil_the_next_request(server):
    """The server reads it away, or closes the connection, at any time (RFC 9112 section 9.5): clients try again."""
    connection = server.connect()
    for _ in range(3):
        for attempt in range(2):
            try:
                connection.request("POST", "/unread", b"x" * 1000)
                response = connection.getresponse()
                break
            except ConnectionError:
                assert attempt == 0
                connection.close()
        assert response.read() == b"unread"
        if response.will_close:
            connection.close()
    connection.close()


def test_requests_at_the_same_time(server):
    answers = []

    def get():
        answers.extend(server.request("GET", path)[2] for path in ["/", "/async"] * 10)

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"Hello!"] * 160


# Clients that leave


@pytest.mark.parametrize("path", ["/upload", "/stream-upload", "/async-stream-upload"])
def test_client_leaves_half_way_through_an_upload(server, wait_for, path):
    before = server.records().count(f"teardown {path}")
    with server.raw() as client:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        client.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=limit\r\n\r\n" + b"x" * 10_000)
    wait_for(lambda: server.records().count(f"teardown {path}") == before + 1)
    assert server.request("GET", "/")[0] == 200


@pytest.mark.parametrize("path", ["/endless", "/async-endless"])
def test_client_leaves_half_way_through_a_download(server, wait_for, path):
    before = server.records().count(f"generator {path}")
    with server.raw() as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = 0
        while received < 100_000:
            received += len(client.recv(65536))
    wait_for(lambda: server.records().count(f"generator {path}") == before + 1)
    assert f"teardown {path}" in server.records()
    assert server.request("GET", "/")[0] == 200


# The server stops


@pytest.mark.parametrize("path", ["/slow", "/async-slow", "/slow-stream"])
def test_requests_in_flight_finish_when_the_server_is_told_to_stop(own_server, wait_for, path):
    answers = []

    def get():
        try:
            answers.append(own_server.request("GET", path)[::2])
        except (OSError, http.client.HTTPException) as error:
            answers.append(error)

    thread = threading.Thread(target=get)
    thread.start()
    wait_for(lambda: f"started {path}" in own_server.records())
    own_server.terminate()
    thread.join(20)
    assert answers == [(200, b"x" * 10 if path == "/slow-stream" else b"slow")]
    own_server.process.wait(20)
    assert f"teardown {path}" in own_server.records()
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", own_server.port), timeout=1):
        raise AssertionError("the server still listens")
