"""Error answers and error handlers, the same on each protocol."""

import pytest
from werkzeug.exceptions import BadRequest, Conflict, Forbidden, HTTPException

import carboy
from carboy.sessions import SecureCookieSessionInterface


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def as_kind(request):
    """Turns a sync function into one that is sync or async, by the parameter."""

    def convert(function):
        if not request.param:
            return function

        async def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        wrapper.__name__ = function.__name__
        return wrapper

    return convert


def fail(error):
    def view():
        raise error

    return view


def test_not_found_and_method_not_allowed(app, client):
    app.add_url_rule("/", "index", lambda: "", methods=["POST"])
    assert client.get("/none").status_code == 404
    response = client.get("/")
    assert response.status_code == 405
    assert sorted(response.allow) == ["OPTIONS", "POST"]


def test_abort_in_view(app, client, as_kind):
    app.add_url_rule("/", "index", as_kind(lambda: carboy.abort(409, "taken")))
    response = client.get("/")
    assert response.status_code == 409
    assert "taken" in response.text


def test_error_becomes_500(app, client, as_kind, caplog):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/", "index", as_kind(fail(ZeroDivisionError("secret"))))
    response = client.get("/")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "Exception on / [GET]" in caplog.text


def test_error_propagates_in_testing(app, client, as_kind):
    app.add_url_rule("/", "index", as_kind(fail(ZeroDivisionError())))
    with pytest.raises(ZeroDivisionError):
        client.get("/")


def test_handler_by_code(app, client, as_kind):
    app.register_error_handler(404, as_kind(lambda error: (f"no {error.code}", 404)))
    response = client.get("/none")
    assert (response.status_code, response.text) == (404, "no 404")


def test_handler_by_class(app, client, as_kind):
    app.register_error_handler(LookupError, as_kind(lambda error: (type(error).__name__, 418)))
    app.add_url_rule("/", "index", as_kind(fail(KeyError("x"))))
    response = client.get("/")
    assert (response.status_code, response.text) == (418, "KeyError")


def test_nearest_class_and_innermost_blueprint_win(app, client):
    outer = carboy.Blueprint("outer", __name__)
    inner = carboy.Blueprint("inner", __name__)
    app.register_error_handler(HTTPException, lambda error: "app: HTTPException")
    app.register_error_handler(BadRequest, lambda error: "app: BadRequest")
    outer.register_error_handler(HTTPException, lambda error: "outer: HTTPException")
    inner.register_error_handler(Conflict, lambda error: "inner: Conflict")
    inner.add_url_rule("/inner/<int:code>", "fail", lambda code: carboy.abort(code))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.add_url_rule("/app/<int:code>", "fail", lambda code: carboy.abort(code))
    paths = ["/app/400", "/app/409", "/inner/409", "/inner/410", "/none"]
    assert [client.get(path).text for path in paths] == [
        "app: BadRequest",
        "app: HTTPException",
        "inner: Conflict",
        "outer: HTTPException",
        "app: HTTPException",
    ]


def test_handler_of_500_gets_the_original(app, client, as_kind):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.register_error_handler(500, as_kind(lambda error: (repr(error.original_exception), 500)))
    app.add_url_rule("/", "index", as_kind(fail(ZeroDivisionError("x"))))
    response = client.get("/")
    assert (response.status_code, response.text) == (500, "ZeroDivisionError('x')")


def test_error_in_a_handler_becomes_500(app, client, as_kind):
    app.config["PROPAGATE_EXCEPTIONS"] = False

    def handler(error):
        raise ZeroDivisionError

    app.register_error_handler(404, as_kind(handler))
    assert client.get("/none").status_code == 500


def test_error_in_a_before_request_hook_is_handled(app, client, as_kind):
    app.before_request(as_kind(fail(LookupError())))
    app.register_error_handler(LookupError, as_kind(lambda error: ("handled", 400)))
    app.add_url_rule("/", "index", as_kind(lambda: "view"))
    assert client.get("/").text == "handled"


def test_error_answers_pass_the_after_request_hooks(app, client, as_kind):
    def mark(response):
        response.headers["X-Mark"] = str(response.status_code)
        return response

    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.after_request(as_kind(mark))
    app.add_url_rule("/", "index", as_kind(fail(ZeroDivisionError())))
    assert client.get("/").headers["X-Mark"] == "500"
    assert client.get("/none").headers["X-Mark"] == "404"


def test_key_error_of_a_form_is_400(app, client, as_kind):
    app.add_url_rule("/", "index", as_kind(lambda: carboy.request.form["missing"]), methods=["POST"])
    assert client.post("/").status_code == 400


def test_teardown_gets_the_error(app, client, as_kind):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    seen = []
    app.teardown_request(as_kind(lambda error: seen.append(error)))
    error = ZeroDivisionError()
    app.add_url_rule("/", "index", as_kind(fail(error)))
    app.add_url_rule("/good", "good", as_kind(lambda: ""))
    client.get("/")
    client.get("/good")
    assert seen == [error, None]


def test_invalid_result_names_the_view(app, client):
    app.add_url_rule("/", "index", lambda: None)
    with pytest.raises(TypeError, match="index"):
        client.get("/")


@pytest.mark.parametrize("status", [99, 1000, -1])
def test_status_that_cannot_be_sent_is_500(app, client, status):
    """It must not reach the server: granian's worker dies of it."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/", "index", lambda: ("x", status))
    assert client.get("/").status_code == 500


@pytest.mark.parametrize("error", [ValueError("x"), LookupError("x"), Forbidden()])
def test_session_that_cannot_be_opened_is_500(app, client, error):
    """Whatever it raises is the application's failure, not a wrong URL."""

    class Broken(SecureCookieSessionInterface):
        def open_session(self, app, request):
            raise error

    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.session_interface = Broken()
    app.add_url_rule("/", "index", lambda: "x")
    assert client.get("/").status_code == 500
