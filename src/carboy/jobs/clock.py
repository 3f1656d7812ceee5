"""The time that jobs go by, so that tests can stop it."""

from __future__ import annotations

import contextlib
import time
import typing as t
from datetime import UTC, datetime, timedelta


class FrozenClock:
    """A clock that moves when it is told to.

    Attributes:
        time: What it shows; seconds since 1970.
    """

    def __init__(self, at: float) -> None:
        self.time = at

    def advance(self, by: float | timedelta) -> None:
        """Move it on, by seconds or a timedelta."""
        self.time += by.total_seconds() if isinstance(by, timedelta) else by


_frozen: FrozenClock | None = None


def now() -> float:
    """Return the time, in seconds since 1970."""
    return time.time() if _frozen is None else _frozen.time


@contextlib.contextmanager
def frozen(at: float | datetime | None = None) -> t.Iterator[FrozenClock]:
    """Stop the clock of jobs in this process: for tests.

    Args:
        at: When; a datetime without time zone is UTC. Now, by default.
    """
    global _frozen
    if isinstance(at, datetime):
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    before, _frozen = _frozen, FrozenClock(now() if at is None else at)
    try:
        yield _frozen
    finally:
        _frozen = before
