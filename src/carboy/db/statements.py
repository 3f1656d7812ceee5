"""The one place between SQLAlchemy and a driver: what sends the statements of an engine."""

from __future__ import annotations

import functools
import typing as t

from sqlalchemy.engine import Engine

Send = t.Callable[..., None]
"""Sends a statement: called with cursor, text, parameters unless there can be none, and SQLAlchemy's context."""


def send_through(engine: Engine, through: t.Callable[t.Concatenate[Send, ...], None]) -> None:
    """Call *through* for each statement of *engine*, with the function that sends it and that one's arguments.

    PERF: not by an event. With a listener for events of its connections, an engine prepares all those events for each
    connection that is taken from the pool; that takes as long as sending a statement.
    """
    dialect = engine.dialect
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        setattr(dialect, name, functools.partial(through, getattr(dialect, name)))
