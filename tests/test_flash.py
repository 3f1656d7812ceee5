"""Flashed messages."""

import pytest

from carboy import flash, get_flashed_messages, message_flashed, render_template_string, session


@pytest.fixture
def app(app):
    @app.route("/flash")
    def add():
        flash("saved")
        flash("broken", "error")
        return "flashed"

    @app.route("/show")
    def show():
        return render_template_string("{% for text in get_flashed_messages() %}{{ text }};{% endfor %}")

    return app


def test_shown_once(client):
    client.get("/flash")
    assert client.get("/show").text == "saved;broken;"
    assert client.get("/show").text == ""


def test_messages_add_up(client):
    client.get("/flash")
    client.get("/flash")
    assert client.get("/show").text == "saved;broken;saved;broken;"


def test_looking_for_messages_does_not_set_the_cookie(client):
    response = client.get("/show")
    assert "Set-Cookie" not in response.headers
    assert response.headers["Vary"] == "Cookie"


@pytest.mark.parametrize(
    ("kwargs", "messages"),
    [
        ({}, ["a", "b", "c"]),
        ({"with_categories": True}, [("message", "a"), ("error", "b"), ("info", "c")]),
        ({"category_filter": ["error"]}, ["b"]),
        ({"category_filter": {"error", "info"}, "with_categories": True}, [("error", "b"), ("info", "c")]),
        ({"category_filter": ("other",)}, []),
    ],
)
def test_categories(app, kwargs, messages):
    with app.test_request_context():
        flash("a")
        flash("b", "error")
        flash("c", category="info")
        assert list(map(tuple if kwargs.get("with_categories") else str, get_flashed_messages(**kwargs))) == messages
        assert get_flashed_messages() == ["a", "b", "c"], "the same request gets the same messages again"
        assert "_flashes" not in session


def test_session_notices_a_second_message(app):
    with app.test_request_context():
        flash("a")
        session.modified = False
        flash("b")
        assert session.modified


def test_signal(app):
    heard = []

    def receive(sender, message, category):
        heard.append((sender, message, category))

    with message_flashed.connected_to(receive, app), app.test_request_context():
        flash("text", "info")

    assert heard == [(app, "text", "info")]


def test_needs_a_request(app):
    with app.app_context():
        for call in (lambda: flash("x"), get_flashed_messages):
            with pytest.raises(RuntimeError, match="outside of request context"):
                call()
