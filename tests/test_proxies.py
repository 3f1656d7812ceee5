"""The proxies: they read the active context's objects, and fail as these do."""

from __future__ import annotations

import gc
import weakref

import pytest
from werkzeug.local import LocalProxy
from werkzeug.test import create_environ

from carboy import Carboy, Request, current_app, g, request, session


class Counting(Request):
    """A request with an attribute that fails in its own code."""

    reads = 0

    @property
    def owner(self) -> str:
        """The name of nobody."""
        self.reads += 1
        return None.name  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def app() -> Carboy:
    app = Carboy(__name__)
    app.secret_key = "secret"
    app.request_class = Counting
    return app


def test_an_attribute_is_that_of_the_object(app: Carboy) -> None:
    with app.test_request_context("/?page=3", method="POST"):
        g.cask = 7
        session["visits"] = 1
        assert request.args["page"] == "3"
        assert request.method == "POST"
        assert g.cask == 7
        assert session.get("visits") == 1
        assert current_app.name == app.name
        assert isinstance(request, Counting)
        assert all(isinstance(proxy, LocalProxy) for proxy in (request, session, g, current_app))


def test_the_proxies_follow_the_context(app: Carboy) -> None:
    other = Carboy("other")
    with app.test_request_context("/outer"):
        with other.test_request_context("/inner"):
            assert (request.path, current_app.name) == ("/inner", "other")
        with other.app_context():
            assert (request.path, current_app.name) == ("/outer", "other")
        assert (request.path, current_app.name) == ("/outer", app.name)
    with app.app_context():
        g.cask = 7
        assert (g.cask, current_app.name) == (7, app.name)


def test_a_missing_attribute_is_told_as_by_the_object(app: Carboy) -> None:
    with app.test_request_context():
        with pytest.raises(AttributeError, match="'Counting' object has no attribute 'nothing'"):
            _ = request.nothing  # type: ignore[attr-defined]
        assert not hasattr(g, "nothing")
        assert not hasattr(g, "_nothing")
        assert getattr(g, "", None) is None
        assert getattr(session, "nothing", "default") == "default"


def test_an_attribute_that_fails_runs_once_and_tells_its_own_error(app: Carboy) -> None:
    with app.test_request_context():
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'name'") as caught:
            _ = request.owner  # type: ignore[attr-defined]
        assert caught.traceback[-1].name == "owner"
        assert request.reads == 1  # type: ignore[attr-defined]
        # Nothing is left of it for the next attribute that there is not.
        assert not hasattr(request, "_nothing")
        with pytest.raises(AttributeError, match="nothing"):
            _ = request.nothing  # type: ignore[attr-defined]


def test_a_missing_attribute_keeps_nothing_alive(app: Carboy) -> None:
    seen: list[weakref.ref[Request]] = []

    @app.get("/")
    def view() -> str:
        seen.append(weakref.ref(request._get_current_object()))  # type: ignore[attr-defined]
        return str(hasattr(request, "nothing"))

    gc.disable()
    try:
        answer = app(create_environ(), lambda *_: None)
        assert list(answer) == [b"False"]
        assert seen[0]() is None
    finally:
        gc.enable()


def test_without_a_context_the_error_says_what_to_do() -> None:
    for proxy in (request, session):
        with pytest.raises(RuntimeError, match="needs an active HTTP request"):
            _ = proxy.args  # type: ignore[union-attr]
    for proxy in (g, current_app):
        with pytest.raises(RuntimeError, match="needs to know the current application"):
            _ = proxy.name  # type: ignore[union-attr]
    assert not request
    assert repr(request) == repr(session) == "<LocalProxy unbound>"
