"""What the client is told when the database is not there, or has no connection free: 503, come again."""

from __future__ import annotations

import typing as t

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import ServiceUnavailable

if t.TYPE_CHECKING:
    from carboy import Carboy

RETRY_AFTER = 5
"""Seconds after which the client may try again."""

# What PostgreSQL says when it starts, stops, or has no connection left (class 57P, 53300).
_SQLSTATES = frozenset({"57P01", "57P02", "57P03", "53300"})
# The same by MySQL and MariaDB, and what their driver says when nobody answers.
_MYSQL_ERRORS = frozenset({1040, 1053, 1077, 2002, 2003, 2006, 2013, 2055})


def is_unavailable(error: BaseException) -> bool:
    """Return whether *error* says that the database cannot be used just now, whatever it was asked."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    original: t.Any = error.orig
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate in _SQLSTATES or sqlstate.startswith("08")
    if type(original).__module__.startswith("psycopg"):
        # No answer of the server's has a state: it could not be connected to.
        return isinstance(error, (OperationalError, InterfaceError))
    return bool(original is not None and original.args and original.args[0] in _MYSQL_ERRORS)


def told(error: BaseException, url: URL) -> str:
    """Return what *error* of the database at *url* says, in one line, without the password."""
    original = (isinstance(error, DBAPIError) and error.orig) or error
    lines = str(original).splitlines() or [""]
    text = f"{type(original).__name__}: {lines[0]}"
    return text.replace(str(url.password), "***") if url.password else text


def answer(app: Carboy) -> None:
    """Make *app* answer 503 with ``Retry-After`` to such errors, unless it has handlers of its own for them."""

    def unavailable(error: Exception) -> t.Any:
        if not is_unavailable(error):
            raise error
        app.logger.error("The database is not available: %s", error.__class__.__name__, exc_info=error)
        return app.handle_http_exception(
            ServiceUnavailable("The database is not available just now.", retry_after=RETRY_AFTER)
        )

    for kind in (PoolTimeout, OperationalError, InterfaceError):
        app.register_error_handler(kind, unavailable)
