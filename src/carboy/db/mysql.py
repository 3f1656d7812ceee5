"""MySQL and MariaDB set up for a web application: statements that end, and streams that may be left in the middle.

A server that has begun to send rows sends them all. Before the next statement, or a ROLLBACK, the drivers read what is
left, and so keep a connection and a worker busy for a client that has gone; to open another connection costs less.
"""

from __future__ import annotations

import typing as t

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

_STREAM = "carboy.stream"


def set_up(engine: Engine, statement_timeout: float | None) -> None:
    """Make the connections of *engine* fit for many users.

    Args:
        engine: Not connected yet. That of an async engine is its ``sync_engine``.
        statement_timeout: In seconds; None for no limit.
    """
    event.listen(engine, "after_cursor_execute", _keep_stream)
    event.listen(engine, "rollback", _leave_stream)
    if statement_timeout is not None:
        _limit_statements(engine, statement_timeout)


def _keep_stream(
    connection: Connection, cursor: t.Any, statement: str, parameters: t.Any, context: t.Any, many: bool
) -> None:
    if context.execution_options.get("stream_results"):
        # PyMySQL's cursor reads what is left, too, as soon as nobody refers to it.
        connection.connection.info[_STREAM] = cursor


def _leave_stream(connection: Connection) -> None:
    if connection.invalidated or _STREAM not in connection.connection.info:
        return
    result = connection.connection.driver_connection._result  # type: ignore[union-attr]
    if result is not None and result.unbuffered_active:
        # Or it would read on from the closed socket when it is deleted.
        result.unbuffered_active = False
        connection.invalidate()
    else:
        del connection.connection.info[_STREAM]


def _limit_statements(engine: Engine, seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: t.Any) -> None:
        cursor = connection.cursor()
        if engine.dialect.is_mariadb:  # type: ignore[attr-defined]
            cursor.execute(f"SET SESSION max_statement_time = {seconds}")
        else:
            cursor.execute(f"SET SESSION max_execution_time = {round(seconds * 1000)}")
        cursor.close()
