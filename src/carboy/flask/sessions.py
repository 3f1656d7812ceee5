"""``flask.sessions``."""

# What Flask's module happens to import: some code takes it from there.
import hashlib as hashlib
from collections.abc import MutableMapping as MutableMapping
from datetime import datetime as datetime
from datetime import timezone as timezone

from itsdangerous import BadSignature as BadSignature
from itsdangerous import URLSafeTimedSerializer as URLSafeTimedSerializer
from werkzeug.datastructures import CallbackDict as CallbackDict

from carboy.json.tag import TaggedJSONSerializer as TaggedJSONSerializer
from carboy.sessions import NullSession as NullSession
from carboy.sessions import SecureCookieSession as SecureCookieSession
from carboy.sessions import SecureCookieSessionInterface as SecureCookieSessionInterface
from carboy.sessions import SessionInterface as SessionInterface
from carboy.sessions import SessionMixin as SessionMixin
from carboy.sessions import _lazy_sha1 as _lazy_sha1
from carboy.sessions import session_json_serializer as session_json_serializer

from .patching import forward_patches

forward_patches(__name__, "carboy.sessions")
