"""WSGI middleware around `wsgi_app` works on each protocol."""

import asyncio

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

import carboy
from carboy import request


class Marker:
    """Adds to the environ on the way in and to the headers on the way out."""

    def __init__(self, wsgi_app):
        self.wsgi_app = wsgi_app

    def __call__(self, environ, start_response):
        environ["marker.in"] = "in"

        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, ("X-Marker", "out")], exc_info)

        return self.wsgi_app(environ, start)


@pytest.mark.parametrize("view_async", [False, True])
def test_middleware_sees_request_and_answer(app, client, view_async):
    def sync_view():
        return request.environ["marker.in"] + request.get_data(as_text=True)

    async def async_view():
        await asyncio.sleep(0)
        return request.environ["marker.in"] + request.get_data(as_text=True)

    app.add_url_rule("/", "index", async_view if view_async else sync_view, methods=["POST"])
    app.wsgi_app = Marker(app.wsgi_app)
    response = client.post("/", data="body")
    assert (response.text, response.headers["X-Marker"]) == ("inbody", "out")


def test_middleware_may_be_set_after_the_first_request(app, client):
    app.add_url_rule("/", "index", lambda: request.environ.get("marker.in", "none"))
    assert client.get("/").text == "none"
    app.wsgi_app = Marker(app.wsgi_app)
    assert client.get("/").text == "in"


def test_middleware_that_answers_itself(app, client):
    def refuse(environ, start_response):
        start_response("403 FORBIDDEN", [("Content-Type", "text/plain")])
        return [b"no"]

    app.add_url_rule("/", "index", lambda: "view")
    app.wsgi_app = refuse
    response = client.get("/")
    assert (response.status_code, response.text) == (403, "no")


def test_middleware_around_a_stream(app, client):
    @app.get("/")
    def index():
        yield "a"
        yield "b"

    app.wsgi_app = Marker(app.wsgi_app)
    with client.get("/") as response:
        assert (response.text, response.headers["X-Marker"]) == ("ab", "out")


def test_proxy_fix(app, client):
    app.add_url_rule("/", "index", lambda: [request.remote_addr, request.url, carboy.url_for("index", _external=True)])
    app.wsgi_app = ProxyFix(app.wsgi_app, x_proto=1, x_host=1, x_prefix=1)
    headers = {
        "X-Forwarded-For": "10.1.1.1",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "example.com",
        "X-Forwarded-Prefix": "/app",
    }
    assert client.get("/", headers=headers).json == ["10.1.1.1", "https://example.com/app/", "https://example.com/app/"]


def test_dispatcher(app, client):
    other = carboy.Flask("carboy_other")
    other.add_url_rule("/", "index", lambda: f"other {request.root_path}")
    app.add_url_rule("/", "index", lambda: "app")
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/other": other})
    assert client.get("/").text == "app"
    assert client.get("/other/").text == "other /other"


def test_error_passes_the_middleware(app, client):
    app.add_url_rule("/", "index", lambda: 1 / 0)
    app.wsgi_app = Marker(app.wsgi_app)
    with pytest.raises(ZeroDivisionError):
        client.get("/")
