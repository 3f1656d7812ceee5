"""Transactions that are committed as one, and tried again where that is right."""

from __future__ import annotations

import asyncio
import functools
import random
import typing as t

from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from carboy.concurrency import is_async

from . import sqlite
from .sessions import RequestSession

if t.TYPE_CHECKING:
    from .database import Database

T = t.TypeVar("T")
P = t.ParamSpec("P")

# Serialization failure and deadlock (SQL standard class 40), as PostgreSQL reports them.
_SQLSTATES = frozenset({"40001", "40P01"})
# The same by MySQL and MariaDB: deadlock; lock wait timeout; a record has changed since it was read.
_MYSQL_ERRORS = frozenset({1213, 1205, 1020})
_FIRST_PAUSE = 0.02
"""Seconds before the second try, at most; each pause is up to twice as long as the one before."""


def is_worth_another_try(error: BaseException) -> bool:
    """Return whether the database gave a transaction up for others' sake, so that it may succeed now."""
    if not isinstance(error, DBAPIError):
        return False
    original: t.Any = error.orig
    if getattr(original, "sqlstate", None) in _SQLSTATES:
        return True
    if getattr(original, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
        return True
    return bool(original is not None and original.args and original.args[0] in _MYSQL_ERRORS)


class Transaction:
    """What `Database.transaction` returns: a context manager, or a decorator."""

    def __init__(self, database: Database, isolation: str | None, retries: int) -> None:
        self._database = database
        self._isolation = isolation
        self._retries = retries
        # A transaction object that was kept may be entered again inside itself.
        self._entered: list[_Work] = []

    # -- Context managers ------------------------------------------------------------

    def __enter__(self) -> Session:
        session = self._database.session
        if isinstance(session, AsyncSession):
            raise RuntimeError("This is async code: write 'async with db.transaction():'.")
        work = _Work(t.cast(RequestSession, session), self._isolation)
        work.begin()
        self._entered.append(work)
        return session

    def __exit__(self, exc_type: t.Any, exc: BaseException | None, traceback: t.Any) -> None:
        self._entered.pop().end(exc)

    async def __aenter__(self) -> AsyncSession:
        session = self._database.aio.session
        work = _Work(t.cast(RequestSession, session.sync_session), self._isolation)
        await session.run_sync(lambda _: work.begin())
        self._entered.append(work)
        return session

    async def __aexit__(self, exc_type: t.Any, exc: BaseException | None, traceback: t.Any) -> None:
        work = self._entered.pop()
        await asyncio.shield(self._database.aio.session.run_sync(lambda _: work.end(exc)))

    # -- Decorator -------------------------------------------------------------------

    def __call__(self, func: t.Callable[P, T]) -> t.Callable[P, T]:
        """Return *func* as a transaction of its own."""
        if is_async(func):

            @functools.wraps(func)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> t.Any:
                attempt = 0
                work: _Work | None = None
                while True:
                    try:
                        async with self._again() as session:
                            work = session.sync_session.transaction  # type: ignore[attr-defined]
                            return await func(*args, **kwargs)  # type: ignore[misc]
                    except Exception as e:
                        attempt += 1
                        if work is None or attempt > self._retries or not work.may_be_repeated(e):
                            raise
                    await asyncio.sleep(_pause(attempt))

            return t.cast(t.Callable[P, T], run_async)

        @functools.wraps(func)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            attempt = 0
            work: _Work | None = None
            while True:
                try:
                    with self._again() as session:
                        work = session.transaction  # type: ignore[attr-defined]
                        return func(*args, **kwargs)
                except Exception as e:
                    attempt += 1
                    if work is None or attempt > self._retries or not work.may_be_repeated(e):
                        raise
                sqlite.sleep(_pause(attempt))

        return run

    def _again(self) -> Transaction:
        # One for each call: the decorated function may run in many places at once.
        return Transaction(self._database, self._isolation, self._retries)


def _pause(attempt: int) -> float:
    return random.uniform(0, _FIRST_PAUSE * 2**attempt)


class _Work:
    """One transaction, or savepoint, of a session."""

    def __init__(self, session: RequestSession, isolation: str | None) -> None:
        self._session = session
        self._isolation = isolation
        self._outer: _Work | None = session.transaction
        self._savepoint: t.Any = None
        self._joined = False
        self._committing = False

    def begin(self) -> None:
        session = self._session
        if self._outer is not None:
            if self._isolation is not None:
                raise RuntimeError(
                    f"A transaction inside another one cannot have an isolation level of its own ({self._isolation!r})."
                )
            self._savepoint = session.begin_nested()
        else:
            if session.in_transaction():
                # What was written before belongs to it. What was only read has its own snapshot, which ends here.
                self._joined = session.is_pending
                if not self._joined:
                    session.commit()
            if not self._joined:
                self._begin()
        session.transaction = self

    def _begin(self) -> None:
        options = {} if self._isolation is None else {"isolation_level": self._isolation}
        connection = self._session.connection(execution_options=options)
        if connection.dialect.name == "sqlite":
            # What it reads first, it may write later.
            sqlite.begin(connection)

    def end(self, exc: BaseException | None) -> None:
        session = self._session
        session.transaction = self._outer
        if self._savepoint is not None:
            if exc is None:
                self._savepoint.commit()
            elif self._savepoint.is_active:
                self._savepoint.rollback()
        elif exc is None:
            self._committing = True
            try:
                session.commit()
            except BaseException:
                session.rollback()
                raise
        else:
            session.rollback()

    def may_be_repeated(self, error: BaseException) -> bool:
        """Return whether the whole of it may be tried again after *error*."""
        if self._outer is not None or self._joined:
            return False
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            # A commit whose answer was lost may have been done.
            return not self._committing
        return is_worth_another_try(error) or isinstance(error, PendingRollbackError)
