"""Where an application's log records go when nobody configured logging.

Owns the logger of an application and its fall-back handler. Whoever configures
:mod:`logging` before the first use of ``app.logger`` is left alone.
"""

from __future__ import annotations

import logging
import sys
import typing as t

from werkzeug.local import LocalProxy

from .context import _cv_request

if t.TYPE_CHECKING:
    from .app import Carboy


def _current_errors_stream() -> t.TextIO:
    ctx = _cv_request.get(None)
    return sys.stderr if ctx is None else ctx.request.environ["wsgi.errors"]


wsgi_errors_stream: t.Any = LocalProxy(_current_errors_stream)
"""The current request's ``wsgi.errors``, outside a request ``sys.stderr``.

A stream for handlers of your own; ``ext://flask.logging.wsgi_errors_stream`` in
a ``dictConfig``.
"""

default_handler: logging.StreamHandler[t.Any] = logging.StreamHandler(wsgi_errors_stream)
"""Writes ``[time] LEVEL in module: message`` to :data:`wsgi_errors_stream`."""

default_handler.setFormatter(logging.Formatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s"))


def has_level_handler(logger: logging.Logger) -> bool:
    """Return whether some handler would get records of the logger's own level.

    Handlers of the loggers above count as far as the records propagate.
    """
    level = logger.getEffectiveLevel()
    current: logging.Logger | None = logger
    while current is not None:
        if any(handler.level <= level for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def create_logger(app: Carboy) -> logging.Logger:
    """Return the application's logger, ready for use; it is named like *app*.

    In debug mode a logger without a level gets DEBUG. A logger whose records no
    handler would get is given :data:`default_handler`.
    """
    logger = logging.getLogger(app.name)
    if app.debug and not logger.level:
        logger.setLevel(logging.DEBUG)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)
    return logger
