"""The switches in the environment, and the explanations of common mistakes."""

import pytest
from werkzeug.exceptions import BadRequestKeyError

from carboy import request
from carboy.debug import DebugFilesKeyError, FormDataRoutingRedirect, get_debug_flag, get_load_dotenv


@pytest.fixture
def app(app):
    app.debug = True
    app.add_url_rule("/file", "file", lambda: request.files["upload"].filename, methods=["POST"])
    app.add_url_rule("/slash/", "slash", lambda: "slash", methods=["GET", "POST"])
    return app


@pytest.mark.parametrize(
    ("value", "debug"),
    [(None, False), ("", False), ("0", False), ("False", False), ("NO", False), ("1", True), ("on", True), ("x", True)],
)
def test_debug_flag(monkeypatch, value, debug):
    monkeypatch.delenv("FLASK_DEBUG", raising=False)

    if value is not None:
        monkeypatch.setenv("FLASK_DEBUG", value)

    assert get_debug_flag() is debug


@pytest.mark.parametrize(
    ("value", "default", "load"),
    [
        (None, True, True),
        (None, False, False),
        ("", False, False),
        ("0", False, True),
        ("no", True, True),
        ("1", True, False),
    ],
)
def test_load_dotenv(monkeypatch, value, default, load):
    monkeypatch.delenv("FLASK_SKIP_DOTENV", raising=False)

    if value is not None:
        monkeypatch.setenv("FLASK_SKIP_DOTENV", value)

    assert get_load_dotenv(default) is load


def test_form_without_enctype(app):
    with pytest.raises(DebugFilesKeyError) as info:
        app.test_client().post("/file", data={"upload": "name.txt"})

    assert "no file contents were transmitted" in str(info.value)
    assert "This was submitted: 'name.txt'" in str(info.value)


def test_missing_file(app):
    with pytest.raises(BadRequestKeyError):
        app.test_client().post("/file", data={"other": "x"})


def test_redirect_that_loses_the_form(app):
    with app.test_request_context("/slash", method="POST"):
        request.routing_exception.code = 301

        with pytest.raises(FormDataRoutingRedirect, match="canonical URL 'http://localhost/slash/'"):
            app.raise_routing_exception(request)


def test_redirect_that_keeps_the_form(app):
    assert app.test_client().post("/slash").status_code == 308
