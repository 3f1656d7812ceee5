"""Signals: which are sent, with what, and in which order. Those about flashing and templates are tested there."""

from contextlib import ExitStack

import pytest

import carboy
from carboy import Carboy, signals

REQUEST_SIGNALS = [
    "appcontext_pushed",
    "request_started",
    "request_finished",
    "got_request_exception",
    "request_tearing_down",
    "appcontext_tearing_down",
    "appcontext_popped",
]


@pytest.fixture
def app(app):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/", "index", lambda: "hello")
    app.add_url_rule("/error", "error", lambda: 1 / 0)
    return app


@pytest.fixture
def sent(app):
    """Return the list of what is sent during the test: names and arguments."""
    events = []

    with ExitStack() as stack:
        for name in REQUEST_SIGNALS:

            def receive(sender, name=name, **kwargs):
                assert sender is app
                events.append((name, kwargs))

            stack.enter_context(getattr(signals, name).connected_to(receive, app))

        yield events


def test_names():
    for name in [*REQUEST_SIGNALS, "template_rendered", "before_render_template", "message_flashed"]:
        signal = getattr(signals, name)
        assert signal is getattr(carboy, name)
        assert signal.name == name.replace("_", "-")

    assert signals.Namespace().signal("x").name == "x"


def test_order(client, sent):
    response = client.get("/")
    assert [name for name, _kwargs in sent] == [
        "appcontext_pushed",
        "request_started",
        "request_finished",
        "request_tearing_down",
        "appcontext_tearing_down",
        "appcontext_popped",
    ]
    assert response.text == "hello"
    assert sent[2][1]["response"].status_code == 200
    assert sent[3][1] == {"exc": None}
    assert sent[4][1] == {"exc": None}


def test_exception(client, sent):
    assert client.get("/error").status_code == 500
    exceptions = [kwargs["exception"] for name, kwargs in sent if name == "got_request_exception"]
    assert [type(exc) for exc in exceptions] == [ZeroDivisionError]
    assert [name for name, _kwargs in sent][:4] == [
        "appcontext_pushed",
        "request_started",
        "got_request_exception",
        "request_finished",
    ]


def test_app_context(app, sent):
    with app.app_context():
        assert [name for name, _kwargs in sent] == ["appcontext_pushed"]

    assert [name for name, _kwargs in sent][1:] == ["appcontext_tearing_down", "appcontext_popped"]


def test_other_apps_are_not_heard(sent):
    other = Carboy("other")

    with other.app_context():
        pass

    assert sent == []
