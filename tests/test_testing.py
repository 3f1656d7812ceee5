"""The test client, its bridges to ASGI and RSGI, and the CLI runner."""

import asyncio
import threading
from pathlib import Path

import click
import pytest
from werkzeug.test import Client

import carboy
from carboy.testing import EnvironBuilder, FlaskClient, FlaskCliRunner, asgi_as_wsgi, rsgi_as_wsgi
from carboy.testing.protocols import WINDOW

# The bridges, with applications written by hand


def bridge(app):
    return Client(asgi_as_wsgi(app))


async def answer(send, body=b"", status=200, headers=(), more=False):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def read_all(receive):
    """Return the request's body and the type of the event that ended it."""
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect" or not event["more_body"]:
            return body + event.get("body", b""), event["type"]
        body += event["body"]


def test_asgi_scope_is_what_a_server_passes():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await answer(send)

    bridge(app).get("/a%2Fé/x?q=é", base_url="https://example.com/root", headers={"X-A": "b"})
    scope = scopes[0]
    assert scope["path"] == "/root/a/é/x"
    assert scope["root_path"] == "/root"
    assert scope["raw_path"] == b"/root/a/%C3%A9/x"
    assert scope["query_string"] == "q=é".encode()
    assert scope["scheme"] == "https"
    assert (b"x-a", b"b") in scope["headers"]
    assert (b"host", b"example.com") in scope["headers"]


@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_asgi_body_arrives_whole(size):
    async def app(scope, receive, send):
        body, _ = await read_all(receive)
        await answer(send, b"%d" % len(body))

    assert bridge(app).post("/", data=b"x" * size).data == b"%d" % size


def test_asgi_body_shorter_than_announced_is_a_disconnect():
    async def app(scope, receive, send):
        _, end = await read_all(receive)
        await answer(send, end.encode())

    assert bridge(app).post("/", data=b"abc", environ_overrides={"CONTENT_LENGTH": "10"}).data == b"http.disconnect"


def test_error_of_the_application_reaches_the_caller():
    async def early(scope, receive, send):
        raise ZeroDivisionError

    async def late(scope, receive, send):
        await answer(send, b"x", more=True)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bridge(early).get("/")
    response = bridge(late).get("/")
    with pytest.raises(ZeroDivisionError):
        _ = response.data


def test_application_without_response_is_an_error():
    async def app(scope, receive, send): ...

    with pytest.raises(RuntimeError, match="without a response"):
        bridge(app).get("/")


def test_application_has_returned_when_the_request_has():
    returned = threading.Event()

    async def app(scope, receive, send):
        await answer(send, b"x")
        await asyncio.sleep(0.05)
        returned.set()

    bridge(app).get("/")
    assert returned.is_set()


def test_request_from_the_loop_that_has_to_run_it_is_refused():
    async def app(scope, receive, send):
        bridge(app).get("/")

    with pytest.raises(RuntimeError, match="on its own event loop"):
        bridge(app).get("/")


def test_unread_body_is_held_back_and_closing_it_is_leaving():
    sent = []

    async def app(scope, receive, send):
        await answer(send, b"x", more=True)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1024, "more_body": True})
                sent.append(1024)
        except OSError:
            await receive()
            sent.append((await receive())["type"])

    bridge(app).get("/").close()
    assert sent[-1] == "http.disconnect"
    assert sum(sent[:-1]) <= WINDOW + 1024


def test_rsgi_twin_behaves_as_a_server():
    seen = {}

    async def app(scope, protocol):
        seen.update(path=scope.path, query=scope.query_string, a=scope.headers.get("x-a"))
        seen["body"] = b"".join([part async for part in protocol])
        transport = protocol.response_stream(201, [("x-b", "é")])
        await transport.send_bytes(b"a")
        await transport.send_str("é")

    response = Client(rsgi_as_wsgi(app)).post("/%ff?a=b", data=b"body", headers={"X-A": "1"})
    assert (response.status_code, response.text) == (201, "aé")
    assert seen == {"path": "/\ufffd", "query": "a=b", "a": "1", "body": b"body"}


def test_rsgi_file_ranges():
    async def app(scope, protocol):
        protocol.response_file_range(206, [], __file__, 3, 12)

    assert Client(rsgi_as_wsgi(app)).get("/").data == Path(__file__).read_bytes()[3:12]


# The client


@pytest.mark.parametrize("middleware", [False, True])
def test_client_keeps_context_inside_with(app, client, middleware):
    @app.get("/")
    def index():
        carboy.g.value = 42
        carboy.session["user"] = "ann"
        return "index"

    if middleware:
        wsgi_app = app.wsgi_app
        app.wsgi_app = lambda environ, start_response: wsgi_app(environ, start_response)
    with client:
        client.get("/?a=0")
        client.get("/?a=1")
        assert carboy.request.args["a"] == "1"
        assert carboy.session["user"] == "ann"
        assert carboy.g.value == 42
    assert not carboy.has_request_context()


def test_client_cannot_be_nested(app):
    with app.test_client() as client, pytest.raises(RuntimeError, match="nest"), client:
        raise AssertionError("not reached")


def test_session_transaction_round_trip(app, client):
    @app.get("/")
    def index():
        return str(carboy.session["n"])

    with client.session_transaction() as session:
        session["n"] = 1
    assert client.get("/").text == "1"
    with client.session_transaction() as session:
        assert session["n"] == 1


def test_session_transaction_is_not_saved_after_an_error(app, client):
    with pytest.raises(ZeroDivisionError), client.session_transaction() as session:
        session["n"] = 1
        raise ZeroDivisionError
    with client.session_transaction() as session:
        assert "n" not in session


def test_session_transaction_needs_cookies_and_key(app):
    without_cookies = app.test_client(use_cookies=False)
    with pytest.raises(TypeError, match="Cookies are disabled"), without_cookies.session_transaction():
        raise AssertionError("not reached")
    app.secret_key = None
    with pytest.raises(RuntimeError, match="did not open"), app.test_client().session_transaction():
        raise AssertionError("not reached")


def test_open_accepts_builder_environ_and_request(app, client):
    @app.get("/<name>")
    def show(name):
        return f"{name} {carboy.request.remote_addr}"

    builder = EnvironBuilder(app, "/a")
    assert client.open(builder).text == "a 127.0.0.1"
    client.environ_base["REMOTE_ADDR"] = "10.0.0.1"
    assert client.open(builder.get_environ()).text == "a 10.0.0.1"
    assert client.open(builder.get_request()).text.startswith("a ")
    builder.close()


def test_environ_builder_takes_defaults_from_config(app):
    app.config.update(SERVER_NAME="example.com:1234", APPLICATION_ROOT="/root", PREFERRED_URL_SCHEME="https")
    assert EnvironBuilder(app, "/x?y=z").get_request().url == "https://example.com:1234/root/x?y=z"
    assert EnvironBuilder(app, "/", subdomain="sub").host == "sub.example.com:1234"
    assert EnvironBuilder(app, "http://other.org/p").get_request().url == "http://other.org/root/p"


def test_environ_builder_refuses_base_url_and_subdomain(app):
    with pytest.raises(TypeError, match="leave out"):
        EnvironBuilder(app, base_url="http://localhost", subdomain="a")


def test_json_is_serialized_by_the_application(app):
    app.json.ensure_ascii = False
    with EnvironBuilder(app, json="€").input_stream as stream:
        assert stream.read().decode() == '"€"'


def test_unknown_protocol_is_refused(app):
    with pytest.raises(ValueError, match="not 'http2'"):
        FlaskClient(app, protocol="http2")


# The CLI runner


def test_cli_runner_invokes_by_name_and_by_object(app):
    @app.cli.command("hello")
    def hello():
        click.echo("Hello!")

    runner = app.test_cli_runner()
    assert isinstance(runner, FlaskCliRunner)
    assert runner.invoke(args=["hello"]).output == "Hello!\n"
    assert runner.invoke(hello).output == "Hello!\n"


def test_cli_runner_loads_the_tested_application(app):
    @app.cli.command("name")
    def name():
        click.echo(carboy.current_app.name)

    assert app.test_cli_runner().invoke(name).output == f"{app.name}\n"


def test_body_with_context_is_closed_after_the_client_inside_a_context_of_the_same_app():
    app = carboy.Carboy("test")
    left = []
    app.teardown_request(left.append)
    app.add_url_rule("/", "index", lambda: carboy.stream_with_context(iter(["text"])))
    with app.test_request_context("/outer") as outer:
        with app.test_client() as client:
            response = client.get("/", buffered=False)
        assert left == []
        response.close()
        assert left == [None]
        assert carboy.request.path == "/outer"
        assert carboy.request._get_current_object() is outer.request
