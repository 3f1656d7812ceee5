"""Session cookies are those of itsdangerous and Werkzeug, whatever is signed, changed on the way or configured."""

import hashlib
import warnings
from datetime import UTC, datetime
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from werkzeug.http import dump_cookie
from werkzeug.test import EnvironBuilder

import carboy
from carboy.json.tag import TaggedJSONSerializer
from carboy.sessions import SecureCookieSession, SecureCookieSessionInterface, session_json_serializer
from carboy.signing import CookieSerializer

NOW = 1_700_000_000

KEYS = st.lists(st.one_of(st.text(max_size=80), st.binary(max_size=80)), min_size=1, max_size=3)
OPTIONS = st.fixed_dictionaries(
    {
        "key_derivation": st.sampled_from(["hmac", "concat", "django-concat", "none"]),
        "digest_method": st.sampled_from([hashlib.sha1, hashlib.sha256, lambda data=b"": hashlib.sha512(data)]),
    }
)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
VALUES = st.recursive(
    st.one_of(PLAIN, st.binary(max_size=8), st.uuids()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner),
        st.dictionaries(st.one_of(st.text(max_size=4), st.sampled_from([" t", " di", " b__"])), inner, max_size=4),
    ),
    max_leaves=8,
)
SESSIONS = st.one_of(
    st.dictionaries(st.text(max_size=8), PLAIN), st.dictionaries(st.sampled_from([" t", "a"]), PLAIN, max_size=1)
)
# Long enough for zlib to find something, and for a window to end.
LONG = st.builds(lambda text, times: {"text": text * times}, st.text(min_size=1, max_size=40), st.integers(1, 400))


def at(seconds):
    return mock.patch("time.time", lambda: seconds)


class Tagging(TaggedJSONSerializer):
    """Tries all tags on all values."""

    def tag(self, value):
        return super().tag(value)


def both(keys, options):
    """Return carboy's serializer and itsdangerous's."""
    return (
        CookieSerializer(keys, b"salt", session_json_serializer, signer_kwargs=options),
        URLSafeTimedSerializer(keys, b"salt", Tagging(), signer_kwargs=options),
    )


@settings(max_examples=300)
@given(keys=KEYS, options=OPTIONS, value=st.one_of(SESSIONS, VALUES, LONG), now=st.sampled_from([NOW, 0, 2**32, 5]))
def test_written_and_read_alike(keys, options, value, now):
    ours, theirs = both(keys, options)
    with at(now):
        assert (text := ours.dumps(value)) == theirs.dumps(value)
        assert ours.loads(text) == theirs.loads(text) == value
        assert ours.loads(text, max_age=0, return_timestamp=True) == theirs.loads(text, 0, return_timestamp=True)
        assert ours.dumps(value, salt="another") == theirs.dumps(value, salt="another")


def outcome(serializer, *args):
    try:
        return serializer.loads(*args)
    except Exception as e:
        return type(e), str(e), getattr(e, "payload", None), getattr(e, "date_signed", None)


ALPHABET = "ABab01-_.=+/ é\n"


@st.composite
def tampered(draw):
    """A signed text, perhaps with something replaced, dropped or put in, or strange from the start."""
    keys, options = draw(KEYS), draw(OPTIONS)
    signer = URLSafeTimedSerializer(
        draw(st.sampled_from([keys, keys[:1], ["another"]])), b"salt", session_json_serializer, signer_kwargs=options
    )
    with at(draw(st.sampled_from([NOW, NOW - 10, NOW - 11, NOW + 1, 3, 2**40]))):
        text = signer.dumps(draw(st.one_of(SESSIONS, LONG)))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 3)))
        text = text[:start] + draw(st.text(ALPHABET, max_size=3)) + text[end:]
    elif draw(st.booleans()):
        # Signed, but with no payload or timestamp that is one.
        text = draw(st.sampled_from(["", ".", ".eA", "eA.", "e30.", "e3.", ".eA."]))
        text += draw(st.sampled_from(["", "ZVPxAA", "ZVPxA", "ZVP*AA", "ZVPx=A", "_-_-_-", "ZVPxAAA", "é"]))
        text += "." + signer.make_signer().get_signature(text).decode()
    return keys, options, text


@settings(max_examples=1000)
@given(tampered(), st.sampled_from([None, 0, 10]))
def test_accepted_and_refused_alike(case, max_age):
    keys, options, text = case
    ours, theirs = both(keys, options)
    with at(NOW):
        assert outcome(ours, text, max_age) == outcome(theirs, text, max_age)
        assert outcome(ours, text.encode(), max_age) == outcome(theirs, text.encode(), max_age)


COOKIES = st.lists(
    st.one_of(
        st.sampled_from(["session", "=", ";", "; ", " ", "\t", '"', "\\", "session=", "xsession=1;", "\xc3\xa9"]),
        st.text("ab=; ", max_size=4),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=1000)
@given(COOKIES, st.sampled_from(["session", "a", "a b", "", "a=", "se.sion", "é"]))
def test_one_cookie_is_the_first_of_its_name(header, name):
    request = carboy.Request(EnvironBuilder(environ_overrides={"HTTP_COOKIE": header}).get_environ())
    assert request.first_cookie(name) == request.cookies.get(name)


CONFIGS = st.fixed_dictionaries(
    {
        "SESSION_COOKIE_NAME": st.sampled_from(["session", "s", "é", "~carboy~"]),
        "SESSION_COOKIE_DOMAIN": st.sampled_from([None, "", "example.com", ".bücher.example:80"]),
        "SESSION_COOKIE_PATH": st.sampled_from([None, "/", "/a b/é;x"]),
        "SESSION_COOKIE_SECURE": st.sampled_from([True, False, 1, 0]),
        "SESSION_COOKIE_HTTPONLY": st.booleans(),
        "SESSION_COOKIE_SAMESITE": st.sampled_from([None, "Lax", "strict"]),
        "SESSION_COOKIE_PARTITIONED": st.booleans(),
        "MAX_COOKIE_SIZE": st.sampled_from([4093, 150, 0]),
    }
)
app = carboy.Carboy(__name__)
app.secret_key = "key"
interface = SecureCookieSessionInterface()


@settings(max_examples=300)
@given(
    config=CONFIGS,
    data=st.dictionaries(st.text(max_size=8), PLAIN, min_size=1),
    permanent=st.booleans(),
    headers=st.sampled_from([None, {"Vary": "Accept"}, {"vary": "cookie"}]),
)
def test_set_cookie_is_werkzeugs(config, data, permanent, headers):
    app.config.update(config)
    session = SecureCookieSession(data)
    session.permanent = permanent
    session.accessed = True
    now = datetime.fromtimestamp(NOW, UTC)
    response, expected = carboy.Response("", headers=headers), carboy.Response("", headers=headers)
    expected.vary.add("Cookie")
    with (
        app.app_context(),
        at(NOW),
        mock.patch.object(interface, "get_expiration_time", lambda *_: now if permanent else None),
    ):
        with warnings.catch_warnings(record=True) as written_warnings:
            warnings.simplefilter("always")
            interface.save_session(app, session, response)
        with warnings.catch_warnings(record=True) as expected_warnings:
            warnings.simplefilter("always")
            cookie = dump_cookie(
                config["SESSION_COOKIE_NAME"],
                interface.get_signing_serializer(app).dumps(dict(session)),
                expires=now if permanent else None,
                path=config["SESSION_COOKIE_PATH"] or "/",
                domain=config["SESSION_COOKIE_DOMAIN"],
                secure=config["SESSION_COOKIE_SECURE"],
                httponly=config["SESSION_COOKIE_HTTPONLY"],
                max_size=config["MAX_COOKIE_SIZE"],
                samesite=config["SESSION_COOKIE_SAMESITE"],
                partitioned=config["SESSION_COOKIE_PARTITIONED"],
            )
    expected.headers.add("Set-Cookie", cookie)
    assert response.headers.to_wsgi_list() == expected.headers.to_wsgi_list()
    assert [str(w.message) for w in written_warnings] == [str(w.message) for w in expected_warnings]
