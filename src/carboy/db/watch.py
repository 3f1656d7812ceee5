"""Watches statements: slow ones, how many there are, one for each row, and those that hold up an event loop."""

from __future__ import annotations

import contextlib
import sys
import typing as t
import warnings
from time import perf_counter
from types import FrameType

from greenlet import getcurrent
from sqlalchemy.engine import Engine
from sqlalchemy.orm import ORMExecuteState, RelationshipProperty
from sqlalchemy.util.concurrency import in_greenlet

from carboy.concurrency import is_on_loop
from carboy.context import has_request_context, innermost_context

from .statements import Send, send_through

if t.TYPE_CHECKING:
    from carboy import Carboy

_ONE_BY_ONE = 5
"""How often the same relationship may be loaded by itself in one request before a warning."""


class BlockingQuery(RuntimeWarning):
    """A sync session or connection was used on an event loop, which waits for it."""


class OneByOne(RuntimeWarning):
    """A relationship was loaded for one row after the other."""


class Statements(list[str]):
    """The statements that were sent while a `count_queries` block ran."""


@contextlib.contextmanager
def count_queries() -> t.Iterator[Statements]:
    """Collect the statements that are sent meanwhile, by requests of a test client too."""
    statements = Statements()
    _everywhere.append(statements)
    try:
        yield statements
    finally:
        # By identity: lists are compared by what they hold.
        _everywhere[:] = [other for other in _everywhere if other is not statements]


@contextlib.contextmanager
def assert_queries(expected: int) -> t.Iterator[Statements]:
    """Fail if the block sends more or fewer statements than *expected*.

    Raises:
        AssertionError: It does; with the statements.
    """
    with count_queries() as statements:
        yield statements
    if len(statements) != expected:
        listed = "".join(f"\n{number}. {text}" for number, text in enumerate(statements, 1))
        raise AssertionError(f"{len(statements)} statements were sent, not {expected}:{listed or ' none at all'}")


# Requests run in threads and tasks of their own, so this is for the process: tests run one after the other.
_everywhere: list[Statements] = []


class Watch:
    """Watches the engines of an application.

    Args:
        app: Its logger tells of slow statements; in debug mode it warns.
        slow: Seconds from which on a statement is slow; None for never.
    """

    def __init__(self, app: Carboy, slow: float | None) -> None:
        self._app = app
        self._slow = slow

    def watch(self, engine: Engine) -> None:
        """Watch one engine."""
        send_through(engine, self._send)

    def _send(self, send: Send, cursor: t.Any, statement: str, *args: t.Any) -> None:
        for statements in _everywhere:
            statements.append(statement)
        if self._app.debug and is_on_loop() and not in_greenlet():
            warnings.warn(
                f"A query holds up the event loop at {_place()}: {_short(statement)}. Await db.session there, or call"
                " the sync code with asyncio.to_thread().",
                BlockingQuery,
                stacklevel=2,
            )
        began = perf_counter()
        send(cursor, statement, *args)
        seconds = perf_counter() - began
        if self._slow is not None and seconds >= self._slow:
            self._app.logger.warning(
                "A statement took %.3f s, %s at %s: %s", seconds, _whose(), _place(), _short(statement)
            )


def note_lazy_load(state: ORMExecuteState) -> None:
    """Warn when a request loads the same relationship for one row after the other."""
    if state.lazy_loaded_from is None or not has_request_context():
        return
    ctx = innermost_context()
    counts: dict[str, int] | None = getattr(ctx, "database_lazy_loads", None)
    if counts is None:
        counts = ctx.database_lazy_loads = {}  # type: ignore[attr-defined]
    path: t.Any = state.loader_strategy_path
    keys = [part.key for part in path.path if isinstance(part, RelationshipProperty)]
    name = ".".join([state.lazy_loaded_from.class_.__name__, *keys[-1:]])
    counts[name] = counts.get(name, 0) + 1
    if counts[name] == _ONE_BY_ONE:
        warnings.warn(
            f"{name} has been loaded {_ONE_BY_ONE} times in this request, one by one, at {_place()}. Load it with the"
            " rows: select(…).options(selectinload(…)).",
            OneByOne,
            stacklevel=2,
        )


def _short(statement: str) -> str:
    text = " ".join(statement.split())
    return text if len(text) <= 300 else f"{text[:300]}…"


def _whose() -> str:
    if has_request_context():
        request = getattr(innermost_context(), "request", None)
        return f"for {getattr(request, 'endpoint', None)!r}"
    return "outside of a request"


def _place() -> str:
    """Return file and line of the innermost code that is neither a library's nor ours."""
    place = _place_above(sys._getframe())
    if place is None and in_greenlet():
        # The frames of a greenlet end where SQLAlchemy began it; the code that awaits it is in the one above.
        parent = getcurrent().parent
        place = None if parent is None else _place_above(parent.gr_frame)
    return place or "an unknown place"


def _place_above(frame: FrameType | None) -> str | None:
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_USERS:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


_NOT_THE_USERS = frozenset("carboy sqlalchemy greenlet contextlib asyncio threading aiosqlite psycopg".split())
