"""Text and JSON are sent without a response object where nobody can see one. Nobody can tell the difference."""

import datetime

import pytest

import carboy
from carboy import Response
from carboy.json.provider import DefaultJSONProvider


def answer(client, method="GET", **options):
    got = client.open("/", method=method, **options)
    return got.status, sorted(got.headers), got.data


def as_async(view):
    async def async_view():
        return view()

    return async_view


@pytest.fixture(params=["sync", "async"])
def route(app, request):
    """Register the function that answers."""

    def register(view, **options):
        app.add_url_rule("/", "index", view if request.param == "sync" else as_async(view), **options)

    return register


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "value",
    ["", "text", "Grüße ☕", {}, [], {"b": 1, "a": [None, "ü"]}, [datetime.date(2026, 1, 2)]],
    ids=repr,
)
def test_same_with_and_without_a_hook_that_sees_the_response(app, client, route, value, method):
    route(lambda: value)
    plain = answer(client, method)
    seen = []
    app._got_first_request = False

    @app.after_request
    def look(response):
        seen.append(response)
        return response

    assert answer(client, method) == plain
    assert isinstance(seen[0], Response)


@pytest.mark.parametrize("value", ["text", {"a": 1}])
def test_class_of_responses_is_read_again(app, client, route, value):
    route(lambda: value)
    answer(client)

    class Teapot(Response):
        default_status = 418

    app.response_class = Teapot
    assert client.get("/").status_code == 418

    class Plain(Response):
        default_mimetype = "text/plain"

    app.response_class = Plain
    assert client.get("/").mimetype == ("text/plain" if value == "text" else "application/json")


def test_text_of_a_type_without_charset(app, client, route):
    class Bytes(Response):
        default_mimetype = "application/octet-stream"

    app.response_class = Bytes
    route(lambda: "text")
    assert client.get("/").content_type == "application/octet-stream"


def test_provider_of_json_is_read_again(app, client, route):
    route(lambda: {"a": 1})
    assert client.get("/").mimetype == "application/json"
    app.json.mimetype = "application/vnd.beer+json"
    app.json.compact = False
    assert client.get("/").mimetype == "application/vnd.beer+json"
    assert client.get("/").text == '{\n  "a": 1\n}\n'

    class Provider(DefaultJSONProvider):
        def response(self, *args, **kwargs):
            return self._app.response_class("other", status=202)

    app.json = Provider(app)
    assert (client.get("/").status_code, client.get("/").text) == (202, "other")


def test_functions_and_sessions_of_the_view_see_a_response(app, client, route):
    app.secret_key = "key"

    def view():
        carboy.session["user"] = "ada"

        @carboy.after_this_request
        def mark(response):
            response.headers["X-Mark"] = "1"
            return response

        return "text"

    route(view)
    got = client.get("/")
    assert got.headers["X-Mark"] == "1"
    assert got.headers["Set-Cookie"].startswith("session=")
    assert got.headers["Vary"] == "Cookie"


def test_permanent_session_is_refreshed_though_the_view_does_not_touch_it(app, client, route):
    app.secret_key = "key"
    with client.session_transaction() as session:
        session.permanent = True
    route(lambda: "text")
    assert "Set-Cookie" in client.get("/").headers
    app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    assert "Set-Cookie" not in client.get("/").headers


def test_text_that_cannot_be_encoded_is_an_error(app, client, route):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    route(lambda: "\ud800")
    assert client.get("/").status_code == 500
