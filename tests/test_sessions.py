"""Sessions: the signed cookie, its rotation of keys, and interfaces of one's own."""

import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

import pytest
from markupsafe import Markup

from carboy import Carboy, Request, Response, session
from carboy.sessions import (
    NullSession,
    SecureCookieSession,
    SecureCookieSessionInterface,
    SessionInterface,
    SessionMixin,
)

NOW = 1_700_000_000

# What Flask 3.1.3 wrote at NOW with the key "key" for the values in `test_format_is_flasks`.
FLASK_COOKIE = (
    ".eJx9jjsLAjEQhP9KmHrRvVdhUMFKEOyu03DcYQrxvEISFI_8dzfxwVVuMZudXb7MiBZ6hHLQh4w-j5wKE0wgdGknivl9s4I4p-SIovaWFOdq1w"
    "4q57xUXGguNVdqu6_T6fl9-21NM527OGZBimAFd_TMdgFCH5PMKsly-SVzN29NCIZwTZ4olt06_jJAD77vCW5Kd5GOByLdJ0cU_L-qyHvGVC_IY0f5"
    ".ZVPxAA.7QQb7tOxUaVeNYzZqUE4_E2NsMs"
)


@pytest.fixture
def app(app):
    @app.route("/set/<value>")
    def set_value(value):
        session["value"] = value
        return "set"

    @app.route("/get")
    def get_value():
        return session.get("value", "none")

    @app.route("/append")
    def append():
        session.setdefault("list", []).append(1)
        session.modified = True
        return str(len(session["list"]))

    @app.route("/clear")
    def clear():
        session.clear()
        return "cleared"

    @app.route("/permanent")
    def permanent():
        session.permanent = True
        return "permanent"

    @app.route("/untouched")
    def untouched():
        return "untouched"

    return app


def signed(app, data, at=None):
    """Return the cookie that *app* would set for *data* at the time *at*."""
    with pytest.MonkeyPatch.context() as patch, app.app_context():
        if at is not None:
            patch.setattr(time, "time", lambda: at)

        return app.session_interface.get_signing_serializer(app).dumps(data)


def opened(app, cookie):
    """Return the session that *app* opens for *cookie*."""
    with app.test_request_context(headers={"Cookie": f"session={cookie}"}):
        return dict(session)


def test_format_is_flasks(app):
    app.secret_key = "key"
    app.permanent_session_lifetime = timedelta(days=36500)
    value = {
        "z": 1,
        "a": (1, (2, 3)),
        "b": b"\xff\x00",
        "m": Markup("<b>"),
        "u": UUID(int=5),
        "d": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        "t": {" t": "x"},
        "n": None,
        "e": "é",
        "l": [1.5, {"k": (True,)}],
        "di": {" di": {" b": 1}},
    }
    assert signed(app, value, NOW) == FLASK_COOKIE
    assert opened(app, FLASK_COOKIE) == value


def test_round_trip(client):
    assert client.get("/get").text == "none"
    client.get("/set/a")
    assert client.get("/get").text == "a"
    client.get("/set/b")
    assert client.get("/get").text == "b"


def test_change_inside_a_value(client):
    assert [client.get("/append").text for _ in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("path", "sets_cookie", "varies"),
    [("/set/a", True, True), ("/get", False, True), ("/clear", True, True), ("/untouched", False, False)],
)
def test_headers(client, path, sets_cookie, varies):
    response = client.get(path)
    assert ("Set-Cookie" in response.headers) is sets_cookie
    assert (response.headers.get("Vary") == "Cookie") is varies


def test_cleared_session_deletes_the_cookie(app, client):
    app.config.update(SESSION_COOKIE_DOMAIN="localhost", SESSION_COOKIE_PATH="/", SESSION_COOKIE_SAMESITE="Lax")
    client.get("/set/a")
    header = client.get("/clear").headers["Set-Cookie"]
    assert header.startswith("session=; ")
    assert {"Max-Age=0", "Domain=localhost", "Path=/", "HttpOnly", "SameSite=Lax"} <= set(header.split("; "))
    assert client.get("/get").text == "none"


def test_cookie_options(app, client):
    app.config.update(
        SESSION_COOKIE_NAME="other",
        SESSION_COOKIE_PATH="/path",
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_PARTITIONED=True,
    )
    value, *options = client.get("/set/a").headers["Set-Cookie"].split("; ")
    assert value.startswith("other=")
    assert sorted(options) == ["Domain=example.com", "Partitioned", "Path=/path", "SameSite=Strict", "Secure"]


def test_cookie_path_defaults_to_the_root(app):
    app.config["APPLICATION_ROOT"] = "/root"
    assert app.session_interface.get_cookie_path(app) == "/root"
    app.config["SESSION_COOKIE_PATH"] = "/"
    assert app.session_interface.get_cookie_path(app) == "/"


def test_defaults(client):
    _value, *options = client.get("/set/a").headers["Set-Cookie"].split("; ")
    assert sorted(options) == ["HttpOnly", "Path=/"]


def test_permanent(app, client):
    app.permanent_session_lifetime = timedelta(days=2)
    header = client.get("/permanent").headers["Set-Cookie"]
    expires = datetime.strptime(re.search("Expires=([^;]+)", header)[1], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs(expires.replace(tzinfo=UTC) - datetime.now(UTC) - timedelta(days=2)) < timedelta(minutes=1)


@pytest.mark.parametrize("refresh", [True, False])
def test_refresh_of_permanent_sessions(app, client, refresh):
    app.config["SESSION_REFRESH_EACH_REQUEST"] = refresh
    client.get("/permanent")
    assert ("Set-Cookie" in client.get("/get").headers) is refresh
    assert ("Set-Cookie" in client.get("/untouched").headers) is refresh


def test_saved_twice(app):
    """Perhaps by an after_request function of one's own: what varies is said once."""
    stored = SecureCookieSession({"a": 1})
    stored.modified = True

    with app.test_request_context():
        for look in False, True:
            response = Response("")
            app.session_interface.save_session(app, stored, response)

            if look:
                response.headers["X-Seen"] = "yes"

            app.session_interface.save_session(app, stored, response)
            assert response.headers.getlist("Vary") == ["Cookie"]
            assert len(set(response.headers.getlist("Set-Cookie"))) == 1


def test_rotation(app):
    app.secret_key = "old"
    old = signed(app, {"a": 1})
    app.secret_key = "new"
    assert opened(app, old) == {}
    app.config["SECRET_KEY_FALLBACKS"] = ["older"]
    assert opened(app, old) == {}
    app.config["SECRET_KEY_FALLBACKS"].append("old")
    assert opened(app, old) == {"a": 1}

    # A new cookie needs no fallback.
    new = signed(app, {"a": 2})
    app.config["SECRET_KEY_FALLBACKS"] = None
    assert opened(app, new) == {"a": 2}


@pytest.mark.parametrize("name", ["salt", "key_derivation", "digest_method", "secret_key"])
def test_everything_signed_with_matters(app, name):
    """A change is noticed at once, though the serializer is kept from request to request."""
    # An interface of the test's own: all applications share the default one.
    app.session_interface = SecureCookieSessionInterface()
    cookie = signed(app, {"a": 1})
    assert opened(app, cookie) == {"a": 1}
    values = {"salt": "x", "key_derivation": "django-concat", "digest_method": hashlib.sha256, "secret_key": "x"}
    setattr(app if name == "secret_key" else app.session_interface, name, values[name])
    assert opened(app, cookie) == {}
    assert opened(app, signed(app, {"a": 2})) == {"a": 2}


def test_interface_shared_by_two_apps(app):
    other = Carboy("other")
    other.secret_key = "other key"
    other.session_interface = app.session_interface
    cookies = signed(app, {"a": 1}), signed(other, {"b": 2})
    assert [opened(app, cookie) for cookie in cookies] == [{"a": 1}, {}]
    assert [opened(other, cookie) for cookie in cookies] == [{}, {"b": 2}]


def test_opened_for_something_that_has_cookies(app):
    class Cookies:
        cookies: ClassVar = {"session": signed(app, {"a": 1})}

    with app.app_context():
        assert app.session_interface.open_session(app, Cookies()) == {"a": 1}


def test_request_class_with_its_own_cookies(app, client):
    cookie = signed(app, {"value": "theirs"})

    class OwnRequest(Request):
        @property
        def cookies(self):
            return {"session": cookie}

    app.request_class = OwnRequest
    assert client.get("/get", headers={"Cookie": "session=other"}).text == "theirs"


def test_too_old(app):
    lifetime = app.permanent_session_lifetime.total_seconds()
    assert opened(app, signed(app, {"a": 1}, time.time() - lifetime + 60)) == {"a": 1}
    assert opened(app, signed(app, {"a": 1}, time.time() - lifetime - 60)) == {}


@pytest.mark.parametrize(
    "cookie",
    ["", "x", ".", "..", ".x.y", "\xff\xfe", "é.é.é", "eyJhIjoxfQ.ZVPxAA.AAAA", "=", "a" * 10_000, '"\\377"'],
    ids=lambda cookie: cookie[:20],
)
def test_forged_cookies(app, client, cookie):
    response = client.get("/get", headers={"Cookie": f"session={cookie}"})
    assert (response.status_code, response.text) == (200, "none")


def test_signed_by_another_key(app, client):
    forged = signed(app, {"value": "forged"})
    app.secret_key = "another"
    assert client.get("/get", headers={"Cookie": f"session={forged}"}).text == "none"


def test_without_secret_key(app, client):
    app.secret_key = None
    assert client.get("/get").text == "none"

    with app.test_request_context():
        assert isinstance(session._get_current_object(), NullSession)


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.__setitem__("a", 1),
        lambda session: session.__delitem__("a"),
        lambda session: session.__ior__({"a": 1}),
        lambda session: session.clear(),
        lambda session: session.pop("a", None),
        lambda session: session.popitem(),
        lambda session: session.setdefault("a"),
        lambda session: session.update(a=1),
        lambda session: setattr(session, "permanent", True),
    ],
)
def test_null_session_refuses_changes(change):
    with pytest.raises(RuntimeError, match="no secret key was set"):
        change(NullSession())


def test_modified():
    fresh = SecureCookieSession({"a": 1})
    assert (fresh, fresh.modified, fresh.accessed, fresh.new, fresh.permanent) == ({"a": 1}, False, False, False, False)
    fresh.pop("missing", None)
    fresh.setdefault("a", 2)
    assert not fresh.modified
    fresh.permanent = 1
    assert fresh.modified
    assert fresh["_permanent"] is True


def test_mixin_is_a_mapping():
    class Store(dict, SessionMixin):
        pass

    store = Store()
    assert (store.modified, store.new, store.accessed, store.permanent) == (True, False, False, False)


def test_interface_is_abstract(app):
    interface = SessionInterface()

    for call in (lambda: interface.open_session(app, None), lambda: interface.save_session(app, {}, Response())):
        with pytest.raises(NotImplementedError):
            call()


def test_only_stock_ways_of_opening_may_wait():
    class Salted(SecureCookieSessionInterface):
        salt = "x"

    class Opening(SecureCookieSessionInterface):
        def open_session(self, app, request):
            return super().open_session(app, request)

    class Waiting(Opening):
        opens_at_first_use = True

    classes = SecureCookieSessionInterface, Salted, Opening, Waiting, SessionInterface
    assert [c.opens_at_first_use for c in classes] == [True, True, False, True, False]


def test_own_interface(app, client):
    """An interface of one's own is asked with every request, before matching, and saves last."""
    calls = []

    class Interface(SessionInterface):
        def open_session(self, app, request):
            calls.append(("open", request.path, request.url_rule))
            return SecureCookieSession({"value": "stored"})

        def save_session(self, app, session, response):
            calls.append(("save", dict(session), response.status_code))

    app.session_interface = Interface()
    assert client.get("/untouched").text == "untouched"
    assert client.get("/get").text == "stored"
    assert client.get("/missing").status_code == 404
    assert calls == [
        ("open", "/untouched", None),
        ("save", {"value": "stored"}, 200),
        ("open", "/get", None),
        ("save", {"value": "stored"}, 200),
        ("open", "/missing", None),
        ("save", {"value": "stored"}, 404),
    ]


def test_interface_without_session(app, client):
    """None from open_session means a null session, which is not saved."""

    class Interface(SessionInterface):
        def open_session(self, app, request):
            return None

        def save_session(self, app, session, response):
            raise AssertionError("a null session is not saved")

    app.session_interface = Interface()
    assert client.get("/get").text == "none"
    assert client.get("/untouched").text == "untouched"


def test_opening_in_an_after_request_function(app, client):
    """A session first touched after the view is saved all the same."""

    @app.after_request
    def count(response):
        session["count"] = session.get("count", 0) + 1
        response.headers["X-Count"] = str(session["count"])
        return response

    assert [client.get("/untouched").headers["X-Count"] for _ in range(3)] == ["1", "2", "3"]
