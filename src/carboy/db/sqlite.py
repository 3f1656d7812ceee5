"""SQLite set up for a web application, and with transactions that do not fail halfway.

Python's module begins a transaction too late, and SQLite's default upgrades a reading transaction to a writing one,
which fails at once, whatever the timeout, if somebody else has written in between. Here a transaction begins with its
first statement that writes (or locks), and with ``BEGIN IMMEDIATE``, which waits its turn. What is read before that
sees what is committed, as under READ COMMITTED, the default of PostgreSQL.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import typing as t
from sqlite3 import OperationalError
from time import monotonic

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.util.concurrency import await_only, in_greenlet

from .statements import Send, send_through

BUSY_TIMEOUT = 5.0
"""Seconds to wait for whoever is writing."""

_STEPS = 10_000
"""Steps of SQLite's virtual machine between two looks at the clock: some tenths of a millisecond."""

_READS = re.compile(r"\s*(SELECT|VALUES|EXPLAIN|PRAGMA)\b", re.IGNORECASE)


def set_up(engine: Engine, statement_timeout: float | None) -> None:
    """Make the connections of *engine* fit for many users.

    Args:
        engine: Not connected yet. That of an async engine is its ``sync_engine``.
        statement_timeout: In seconds; None for no limit.
    """

    @event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: t.Any) -> None:
        # The driver shall leave transactions alone; begin() is below.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
        _keep_write_ahead_log(cursor)
        for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    # The innermost first: waiting for whoever is writing is not what the limit is for.
    if statement_timeout is not None:
        _limit_statements(engine, statement_timeout)
    send_through(engine, _begin_before_write)


def _keep_write_ahead_log(cursor: t.Any) -> None:
    """Have the file keep one, waiting for others who do so: SQLite does not wait when two open a new file at once."""
    deadline = monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except OperationalError as e:
            if not e.sqlite_errorname.startswith("SQLITE_BUSY") or monotonic() > deadline:
                raise
        sleep(0.005)


def sleep(seconds: float) -> None:
    """Sleep, without holding up the event loop if this is its code."""
    if in_greenlet():
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def _limit_statements(engine: Engine, seconds: float) -> None:
    """Interrupt what takes longer: SQLite has no setting for it, but asks a function every now and then."""

    @event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: t.Any) -> None:
        def is_over() -> bool:
            deadline: float = record.info.get("carboy.deadline", math.inf)
            return monotonic() > deadline

        if hasattr(connection, "run_async"):
            connection.run_async(lambda driver: driver.set_progress_handler(is_over, _STEPS))
        else:
            connection.set_progress_handler(is_over, _STEPS)

    def send(send: Send, cursor: t.Any, statement: str, *args: t.Any) -> None:
        info = args[-1].root_connection.connection.info
        info["carboy.deadline"] = monotonic() + seconds
        try:
            send(cursor, statement, *args)
        finally:
            del info["carboy.deadline"]

    send_through(engine, send)


def _begin_before_write(send: Send, cursor: t.Any, statement: str, *args: t.Any) -> None:
    context: t.Any = args[-1]
    # A SELECT may ask for a lock, for which SQLite has no words.
    selected = getattr(context.compiled, "statement", None)
    if not _READS.match(statement) or getattr(selected, "_for_update_arg", None) is not None:
        begin(context.root_connection)
    send(cursor, statement, *args)


def begin(connection: Connection) -> None:
    """Begin a writing transaction, if *connection* is not in one and not in autocommit mode."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    driver: t.Any = connection.connection.driver_connection
    if not driver.in_transaction:
        cursor = connection.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        cursor.close()
