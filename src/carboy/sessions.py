"""Sessions: the dict-like object of one client, and the interface that loads and stores it.

The stock interface keeps the data in a cookie, signed, not encrypted: clients can read it but not change it. Its format
is Flask's. Another interface, assigned to ``app.session_interface``, stores elsewhere.

An interface opens a session for a request and saves it into the response. That a session was *accessed* is noted by the
request context, through which users reach it, not by the session (Flask 3.1.3).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.datastructures import CallbackDict
from werkzeug.http import dump_cookie, http_date

from .http.response import Response
from .json.tag import TaggedJSONSerializer
from .signing import CookieSerializer

if TYPE_CHECKING:
    from .app import Carboy
    from .http.request import Request


class SessionMixin(MutableMapping[str, Any]):
    """What a session has beyond a dict."""

    #: Whether the session was created by this request. Not every interface can tell; False is the default.
    new = False

    #: Whether the session must be stored. An interface that cannot tell leaves it True.
    modified = True

    #: Whether the session was used at all; set by the request context. The response then varies by cookie.
    accessed = False

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser; kept in the session itself, under ``_permanent``.

        A permanent session lasts for ``PERMANENT_SESSION_LIFETIME``.
        """
        return bool(self.get("_permanent", False))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self["_permanent"] = bool(value)


def _mark_modified(session: SecureCookieSession) -> None:
    session.modified = True


class SecureCookieSession(CallbackDict[str, Any], SessionMixin):
    """The data of a signed cookie.

    Changes to the dict itself are noticed; a change inside a value (appending to a list, say) is not, and needs
    ``session.modified = True``.

    Args:
        initial: The data that the cookie held.
    """

    modified = False

    # PERF: on the class, where Werkzeug puts it on each object.
    on_update = staticmethod(_mark_modified)

    def __init__(self, initial: Mapping[str, Any] | None = None) -> None:
        dict.__init__(self, initial or ())


def _refuse_change(session: NullSession, *args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        "The session is unavailable because no secret key was set.  Set the secret_key on the application to something"
        " unique and secret."
    )


class NullSession(SecureCookieSession):
    """The session of an application without a secret key: empty, readable, and clear about why it cannot be changed."""

    __setitem__ = __delitem__ = __ior__ = _refuse_change
    clear = pop = popitem = setdefault = update = _refuse_change


class SessionInterface:
    """How sessions are loaded and stored.

    A subclass writes `open_session` and `save_session`. What it opens is a dict-like object with the attributes of
    `SessionMixin`; the short way to one is ``class Session(dict, SessionMixin)``.

    Requests of one client may run at the same time, so an interface with a store of its own must decide whether reads
    and writes there have to be synchronized. Sessions are opened and saved as requests begin and end, in that order.
    """

    #: What `make_null_session` makes and `is_null_session` recognises.
    null_session_class = NullSession

    #: Whether sessions are pickled; for extensions that must know.
    pickle_based = False

    #: Whether `open_session` may wait until the session is first used. False: it is called before the URL is matched.
    opens_at_first_use = False

    def make_null_session(self, app: Carboy) -> NullSession:
        """Return the session to use when `open_session` gave None."""
        return self.null_session_class()

    def is_null_session(self, obj: object) -> bool:
        """Tell whether *obj* is a null session; such a session is not saved."""
        return isinstance(obj, self.null_session_class)

    def get_cookie_name(self, app: Carboy) -> str:
        """Return the cookie's name: ``SESSION_COOKIE_NAME``."""
        name: str = app.config["SESSION_COOKIE_NAME"]
        return name

    def get_cookie_domain(self, app: Carboy) -> str | None:
        """Return the cookie's ``Domain``: ``SESSION_COOKIE_DOMAIN``.

        None restricts the cookie to the exact host that set it; a domain includes its subdomains (RFC 6265, 5.2.3).
        """
        domain: str | None = app.config["SESSION_COOKIE_DOMAIN"]
        return domain

    def get_cookie_path(self, app: Carboy) -> str:
        """Return the cookie's ``Path``: ``SESSION_COOKIE_PATH``, else ``APPLICATION_ROOT``."""
        path: str = app.config["SESSION_COOKIE_PATH"] or app.config["APPLICATION_ROOT"]
        return path

    def get_cookie_httponly(self, app: Carboy) -> bool:
        """Return whether scripts are kept from the cookie: ``SESSION_COOKIE_HTTPONLY``."""
        httponly: bool = app.config["SESSION_COOKIE_HTTPONLY"]
        return httponly

    def get_cookie_secure(self, app: Carboy) -> bool:
        """Return whether the cookie is sent over HTTPS only: ``SESSION_COOKIE_SECURE``."""
        secure: bool = app.config["SESSION_COOKIE_SECURE"]
        return secure

    def get_cookie_samesite(self, app: Carboy) -> str | None:
        """Return the cookie's ``SameSite``, ``"Strict"``, ``"Lax"`` or None: ``SESSION_COOKIE_SAMESITE``."""
        samesite: str | None = app.config["SESSION_COOKIE_SAMESITE"]
        return samesite

    def get_cookie_partitioned(self, app: Carboy) -> bool:
        """Return whether the cookie is kept apart for each top-level site: ``SESSION_COOKIE_PARTITIONED``."""
        partitioned: bool = app.config["SESSION_COOKIE_PARTITIONED"]
        return partitioned

    def get_expiration_time(self, app: Carboy, session: SessionMixin) -> datetime | None:
        """Return when the session ends (aware, UTC), or None if it ends with the browser.

        A permanent session lives for ``app.permanent_session_lifetime`` from now.
        """
        return datetime.now(UTC) + app.permanent_session_lifetime if session.permanent else None

    def should_set_cookie(self, app: Carboy, session: SessionMixin) -> bool:
        """Tell whether the response has to set the cookie.

        It has to when the session was modified, and, where ``SESSION_REFRESH_EACH_REQUEST`` is on, whenever the session
        is permanent.
        """
        return session.modified or (session.permanent and app.config["SESSION_REFRESH_EACH_REQUEST"])

    def open_session(self, app: Carboy, request: Request) -> SessionMixin | None:
        """Return the session of *request*, or None if there can be none and `make_null_session` should step in.

        Called with the request context active, before the URL is matched.
        """
        raise NotImplementedError

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Store *session*, and put into *response* what the client has to know of it.

        Called at the end of the request, with its context still active, unless `is_null_session` is true.
        """
        raise NotImplementedError


#: The serializer of session cookies; extensions register tags with it.
session_json_serializer = TaggedJSONSerializer()


def _lazy_sha1(string: bytes = b"") -> Any:
    # A FIPS build of Python may lack SHA-1: looked up when used, so that another method can be set first.
    return hashlib.sha1(string)


def _vary_by_cookie(response: Response) -> None:
    plain = getattr(response, "_plain_headers", None)
    if plain is not None and len(plain) == 2:
        # PERF: type and length, at which nobody has looked: nothing varies yet.
        plain.append(("Vary", "Cookie"))
    else:
        response.vary.add("Cookie")


_MARK = "~carboy~"


# Typed: Werkzeug writes 1 in another way than True.
@functools.lru_cache(maxsize=64, typed=True)
def _around_cookie(
    name: str, domain: str | None, path: str, secure: bool, httponly: bool, samesite: str | None, partitioned: bool
) -> tuple[str, str, str] | None:
    """Return the header up to the cookie's value, between that and its expiry, and the rest; None if it is unusual."""
    if not all(text is None or text.isprintable() for text in (name, domain, path, samesite)):
        return None
    options: Any = {"secure": secure, "httponly": httponly, "samesite": samesite, "partitioned": partitioned}
    header = dump_cookie(name, _MARK, expires=_MARK, path=path, domain=domain, max_size=0, **options)
    value, expiry, *others = header.split(_MARK)
    return None if len(others) != 1 or not header.isascii() else (value, expiry, others[0])


_OWN_WAYS = frozenset({"open_session", "save_session", "should_set_cookie", "session_class", "get_cookie_name"})


class SecureCookieSessionInterface(SessionInterface):
    """Sessions in a cookie signed with the application's secret key, by itsdangerous.

    ``SECRET_KEY_FALLBACKS`` lists older keys whose cookies are still accepted; new cookies are signed with
    ``SECRET_KEY``.
    """

    #: Keeps this signature apart from others made with the same key.
    salt = "cookie-session"

    #: The hash function of the signature.
    digest_method = staticmethod(_lazy_sha1)

    #: How the signing key is derived from secret key and salt; a name that itsdangerous knows.
    key_derivation = "hmac"

    #: Turns the data into text; anything with ``dumps`` and ``loads``.
    serializer = session_json_serializer

    session_class = SecureCookieSession

    opens_at_first_use = True

    # The last signing serializer, and what it was made from.
    _signing: tuple[tuple[Any, ...], URLSafeTimedSerializer] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        # A subclass that opens, judges or saves in its own way may count on doing so with every request.
        if "opens_at_first_use" not in cls.__dict__ and not _OWN_WAYS.isdisjoint(cls.__dict__):
            cls.opens_at_first_use = False

    def __setattr__(self, name: str, value: Any) -> None:
        # The same for one interface object with a method replaced.
        super().__setattr__(name, value)
        if name in _OWN_WAYS:
            self.opens_at_first_use = False

    def get_signing_serializer(self, app: Carboy) -> URLSafeTimedSerializer | None:
        """Return what signs and checks the cookies, or None if the application has no secret key."""
        key = app.secret_key

        if not key:
            return None

        # itsdangerous signs with the last key and accepts all of them.
        keys = (*(app.config["SECRET_KEY_FALLBACKS"] or ()), key)
        made_from = (keys, self.salt, self.serializer, self.key_derivation, self.digest_method)
        signing = self._signing

        # PERF: made once, and again when a key or an option has changed, not for each request.
        if signing is None or signing[0] != made_from:
            serializer = CookieSerializer(
                list(keys),
                salt=self.salt,
                serializer=self.serializer,
                signer_kwargs={"key_derivation": self.key_derivation, "digest_method": self.digest_method},
            )
            signing = self._signing = (made_from, serializer)

        return signing[1]

    def open_session(self, app: Carboy, request: Request) -> SecureCookieSession | None:
        """Return the session that the request's cookie holds.

        The session is empty if there is no cookie, or its signature is wrong or older than the permanent lifetime.
        """
        serializer = self.get_signing_serializer(app)

        if serializer is None:
            return None

        # COMPAT: extensions open sessions for objects of their own that have ``cookies`` and nothing else.
        read = getattr(request, "first_cookie", None) or request.cookies.get
        cookie = read(self.get_cookie_name(app))

        if not cookie:
            return self.session_class()

        try:
            data = serializer.loads(cookie, max_age=int(app.permanent_session_lifetime.total_seconds()))
        except BadSignature:
            return self.session_class()

        return self.session_class(data)

    def save_session(self, app: Carboy, session: SessionMixin, response: Response) -> None:
        """Set the cookie if it has to be set, or delete it if the session was emptied."""
        # An empty session needs no cookie; the client's is deleted if it was this request that emptied the session.
        has_news = self.should_set_cookie(app, session) if session else session.modified

        if session.accessed or has_news:
            _vary_by_cookie(response)

        if not has_news:
            return

        name = self.get_cookie_name(app)
        domain = self.get_cookie_domain(app)
        path = self.get_cookie_path(app)
        secure = self.get_cookie_secure(app)
        httponly = self.get_cookie_httponly(app)
        samesite = self.get_cookie_samesite(app)
        partitioned = self.get_cookie_partitioned(app)

        if not session:
            response.delete_cookie(
                name,
                path=path,
                domain=domain,
                secure=secure,
                httponly=httponly,
                samesite=samesite,
                partitioned=partitioned,
            )
            return

        serializer = self.get_signing_serializer(app)
        assert serializer is not None, "A session that was opened has a key to sign it with."
        value = serializer.dumps(dict(session))
        expires = self.get_expiration_time(app, session)
        around = _around_cookie(name, domain, path, secure, httponly, samesite, partitioned)

        if (
            around is not None
            and type(response).set_cookie is Response.set_cookie
            and type(serializer) is CookieSerializer
            and serializer.is_text_serializer
            and (expires is None or isinstance(expires, datetime))
        ):
            # PERF: only the value and the time are new, and signed text needs no quotes.
            header = around[0] + value
            header += around[1].removesuffix("; Expires=") if expires is None else around[1] + http_date(expires)
            header += around[2]
            limit = response.max_cookie_size

            if not limit or len(header) <= limit:
                plain = response._plain_headers
                if plain is not None:
                    plain.append(("Set-Cookie", header))
                else:
                    response.headers.add("Set-Cookie", header)
                return

        response.set_cookie(
            name,
            value,
            expires=expires,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
            partitioned=partitioned,
        )
