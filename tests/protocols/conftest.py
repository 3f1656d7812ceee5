"""A request as it comes over the wire, for what a well-behaved client cannot send."""

import io
import sys
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import pytest
from werkzeug.datastructures import Headers
from werkzeug.test import run_wsgi_app

from carboy.testing import asgi_as_wsgi, lint_asgi, lint_rsgi, lint_wsgi, rsgi_as_wsgi
from carboy.testing.protocols import RSGIHeaders


@dataclass
class Answer:
    status: int
    headers: Headers
    body: bytes


def make_environ(method, path, query, headers, body, length):
    """Return the environ that a WSGI server would make: repeated headers are joined."""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if length is None:
        environ["wsgi.input_terminated"] = True
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    elif length:
        environ["CONTENT_LENGTH"] = str(length)
    for name, value in headers:
        key = name.decode().upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ


def bridge(app, protocol, headers, length):
    """Return a WSGI callable that runs the linted application, which sees *headers* as they are."""
    if length is None:
        headers = [*headers, (b"transfer-encoding", b"chunked")]
    elif length:
        headers = [*headers, (b"content-length", str(length).encode())]

    async def asgi(scope, receive, send):
        await lint_asgi(app)({**scope, "headers": headers}, receive, send)

    async def rsgi(scope, connection):
        scope.headers = RSGIHeaders((name.decode(), value.decode("latin-1")) for name, value in headers)
        await lint_rsgi(app.__rsgi__)(scope, connection)

    return {"wsgi": lint_wsgi(app), "asgi": asgi_as_wsgi(asgi), "rsgi": rsgi_as_wsgi(rsgi)}[protocol]


@pytest.fixture
def exchange(app, protocol):
    """Send raw bytes to `app` and return what it answers.

    `body` is bytes, or a file with a `length`. `length` is its announced size: "right", a number, or None for a body in
    chunks.
    """

    def send(method="GET", path=b"/", query=b"", headers=(), body=b"", length="right", host=b"localhost"):
        if length == "right":
            length = len(body) if isinstance(body, bytes) else body.length
        headers = [(b"host", host)] * (host is not None) + list(headers)
        environ = make_environ(method, path, query, headers, body, length)
        parts, status, answered = run_wsgi_app(bridge(app, protocol, headers, length), environ, buffered=True)
        return Answer(int(status[:3]), answered, b"".join(parts))

    return send
