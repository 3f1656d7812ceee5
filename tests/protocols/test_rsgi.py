"""What only RSGI has: native calls, and what its server does in its own way."""

import asyncio
from concurrent.futures import CancelledError

import pytest
from werkzeug.test import Client

from carboy import request
from carboy.testing import lint_rsgi, rsgi_as_wsgi
from carboy.testing.protocols import RSGIHeaders


class Calls:
    """Notes which of the protocol's methods the application answers with, and how it receives the body."""

    def __init__(self, app):
        self.app = app
        self.names = []

    async def __call__(self, scope, protocol):
        noted = self

        class Noting:
            def __getattr__(self, name):
                if name.startswith("response"):
                    noted.names.append(name)
                return getattr(protocol, name)

            def __call__(self):
                noted.names.append("()")
                return protocol()

            def __aiter__(self):
                noted.names.append("iter")
                return aiter(protocol)

        await lint_rsgi(self.app.__rsgi__)(scope, Noting())


@pytest.fixture
def calls(app):
    return Calls(app)


@pytest.fixture
def client(calls):
    return Client(rsgi_as_wsgi(calls))


def test_whole_answer_is_one_native_call(app, client, calls):
    app.add_url_rule("/", "index", lambda: "Hello!")
    assert client.get("/").data == b"Hello!"
    assert len(calls.names) == 1
    assert calls.names[0] in ("response_bytes", "response_str")


@pytest.mark.parametrize(
    ("size", "announced", "received"), [(10, True, ["()"]), (10, False, ["iter"]), (3_000_000, True, ["iter"])]
)
def test_a_body_is_received_at_once_if_it_is_known_to_fit_in_memory(app, client, calls, size, announced, received):
    app.add_url_rule("/", "index", lambda: str(len(request.get_data())), methods=["POST"])
    headers = {} if announced else {"Transfer-Encoding": "chunked"}
    answer = client.post("/", data=b"x" * size, headers=headers)
    assert (answer.text, calls.names[:-1]) == (str(size), received)


def test_a_body_over_the_limit_is_not_received(app, client, calls):
    app.config["MAX_CONTENT_LENGTH"] = 9
    app.add_url_rule("/", "index", lambda: request.get_data(), methods=["POST"])
    assert client.post("/", data=b"x" * 10).status_code == 413
    assert len(calls.names) == 1


def test_answer_without_body(app, client, calls):
    app.add_url_rule("/", "index", lambda: ("", 204))
    assert client.get("/").status_code == 204
    assert calls.names == ["response_empty"]


def test_stream(app, client, calls):
    app.add_url_rule("/", "index", lambda: iter(["a", "", "b"]))
    assert client.get("/").data == b"ab"
    assert calls.names == ["response_stream"]


def test_repeated_headers(app):
    @app.get("/")
    def index():
        return [request.first_cookie("b"), request.headers["X-A"], request.cookies.to_dict()]

    async def rsgi(scope, protocol):
        headers = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")]
        scope.headers = RSGIHeaders([("host", "localhost"), *headers])
        await app.__rsgi__(scope, protocol)

    assert Client(rsgi_as_wsgi(rsgi)).get("/").json == ["2", "1,2", {"a": "1", "b": "2"}]


def test_host_of_http_2(app):
    """It comes as the authority, not as a header."""
    app.add_url_rule("/", "index", lambda: [request.host, request.url])

    async def rsgi(scope, protocol):
        scope.headers = RSGIHeaders([])
        scope.http_version = "2"
        scope.authority = "example.com:8443"
        await app.__rsgi__(scope, protocol)

    assert Client(rsgi_as_wsgi(rsgi)).get("/").json == ["example.com:8443", "http://example.com:8443/"]


def test_address_of_an_ipv6_client(app):
    app.add_url_rule("/", "index", lambda: str(request.remote_addr))

    async def rsgi(scope, protocol):
        scope.client = "[::1]:5000"
        await app.__rsgi__(scope, protocol)

    assert Client(rsgi_as_wsgi(rsgi)).get("/").text == "::1"


def test_client_that_leaves_during_a_stream_ends_it(app):
    ended = []

    @app.get("/")
    async def index():
        try:
            while True:
                yield b"x" * 50_000
        finally:
            ended.append("generator")

    Client(rsgi_as_wsgi(lint_rsgi(app.__rsgi__))).get("/").close()
    assert ended == ["generator"]


def test_cancelled_request_is_torn_down(app):
    calls = []
    app.teardown_request(lambda error: calls.append(type(error).__name__))

    @app.get("/")
    async def index():
        calls.append("view")
        asyncio.current_task().cancel()
        await asyncio.sleep(60)

    with pytest.raises(CancelledError):
        Client(rsgi_as_wsgi(app.__rsgi__)).get("/")
    assert calls == ["view", "CancelledError"]
