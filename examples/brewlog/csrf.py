"""Forms of other sites must not act for our user: each form carries a token that the session knows.

The API is left out: it takes no cookie, only a bearer token that another site does not have.
"""

from __future__ import annotations

import hmac
import secrets

from carboy import Carboy, abort, request, session


def init_app(app: Carboy) -> None:
    """Check every form sent to *app* and give templates ``csrf_token()``."""
    app.before_request(check_token)
    app.jinja_env.globals["csrf_token"] = csrf_token


def csrf_token() -> str:
    """Return the token of this session, made when the first form needs it."""
    if "csrf_token" not in session:
        session["csrf_token"] = secrets.token_urlsafe(24)
    token: str = session["csrf_token"]
    return token


def check_token() -> None:
    """Refuse a form without the session's token."""
    if request.method in ("GET", "HEAD", "OPTIONS") or request.url_rule is None or request.blueprint == "api":
        return
    sent = request.form.get("csrf_token", "")
    if not hmac.compare_digest(sent.encode(), session.get("csrf_token", "").encode()) or not sent:
        abort(400, "This form has expired. Go back, reload the page and send it again.")
