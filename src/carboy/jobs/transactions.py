"""Jobs that are queued with an application's data, or not at all.

Where jobs and data are in one database, a job is a row of the same transaction. Elsewhere it is a row of an *outbox*
beside the data; after the commit it is handed to the engine, by who committed or, if that process has died, by any
worker. An engine puts a job once, however often it is handed over.
"""

from __future__ import annotations

import asyncio
import typing as t

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.util.concurrency import await_only, greenlet_spawn, in_greenlet

from carboy import Carboy
from carboy.concurrency import run_blocking

from . import clock
from .message import Message, decode_message

if t.TYPE_CHECKING:
    from carboy.db.sessions import RequestSession

    from .engines import Engine
    from .jobs import Encoded, Group, JobsState

_LEFT_BEHIND = 5.0
"""Seconds after which a job in the outbox is anybody's to hand over."""
_AT_ONCE = 500

metadata = sa.MetaData()
outbox = sa.Table(
    "carboy_job_outbox",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("body", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
)


def pending_session(app: Carboy) -> RequestSession | None:
    """Return the current session of the application's database, if it has something to commit."""
    session: RequestSession | None = app.extensions["carboy.db"].database.pending_session()
    return session


async def put_async(
    state: JobsState, session: RequestSession, messages: list[Encoded], group: Group | None
) -> list[str]:
    """`put` for async code."""
    ids: list[str] = await greenlet_spawn(put, state, session, messages, group)
    return ids


def put(state: JobsState, session: RequestSession, messages: list[Encoded], group: Group | None) -> list[str]:
    """Queue jobs in the transaction of *session*."""
    engine = state.blocking_engine()
    connection = session.connection()
    session.wrote = True
    if _is_same(getattr(engine, "url", None), connection.engine.url):
        ids: list[str] = t.cast(t.Any, engine).insert_with(connection, messages, group)
        return ids
    _make_outbox(connection)
    now = clock.now()
    connection.execute(
        sa.insert(outbox), [{"id": message.id, "created_at": now, "body": body} for message, body in messages]
    )
    if group is not None:
        # At once: without its members it is nothing, and is forgotten after its time.
        _wait_for(_open_group(state, group))
    session.call_after_commit(lambda: _wait_for(_hand_over(state, messages)))
    return [message.id for message, _ in messages]


def _wait_for(coroutine: t.Coroutine[t.Any, t.Any, None]) -> None:
    if in_greenlet():
        await_only(coroutine)
    else:
        run_blocking(coroutine)


async def _open_group(state: JobsState, group: Group) -> None:
    await (await state.engine()).open_group(*group)


def _is_same(one: sa.URL | None, other: sa.URL) -> bool:
    if one is None:
        return False
    parts = [(url.get_backend_name(), url.host, url.port, url.database) for url in (one, other)]
    return parts[0] == parts[1]


def _make_outbox(connection: sa.Connection) -> None:
    if connection.engine in _has_outbox:
        return
    if sa.inspect(connection).has_table(outbox.name):
        _has_outbox.add(connection.engine)
    elif connection.dialect.name in ("mysql", "mariadb"):
        # Making a table would commit the transaction; so by another connection.
        metadata.create_all(connection.engine)
    else:
        metadata.create_all(connection)


_has_outbox: set[sa.Engine] = set()


async def _hand_over(state: JobsState, messages: list[Encoded]) -> None:
    engine = await state.engine()
    await engine.put(messages)
    database: sa.Engine = state.app.extensions["carboy.db"].engines.sync()
    await asyncio.to_thread(_forget, database, [message.id for message, _ in messages])


def _forget(database: sa.Engine, ids: t.Sequence[str]) -> None:
    with database.begin() as connection:
        connection.execute(sa.delete(outbox).where(outbox.c.id.in_(ids)))


async def hand_over_rest(state: JobsState, engine: Engine) -> int:
    """Hand over what was left behind, and return how much that was: any worker, now and then."""
    database = state.app.extensions.get("carboy.db")
    if database is None or _is_same(getattr(engine, "url", None), database.engines.urls(None).sync):
        return 0
    sync_engine: sa.Engine = database.engines.sync()
    rows: list[tuple[str, bytes]] = await asyncio.to_thread(_left_behind, sync_engine)
    if rows:
        encoded: list[tuple[Message, bytes]] = [(decode_message(body), body) for _, body in rows]
        await engine.put(encoded)
        await asyncio.to_thread(_forget, sync_engine, [job_id for job_id, _ in rows])
    return len(rows)


def _left_behind(database: sa.Engine) -> list[tuple[str, bytes]]:
    with database.connect() as connection:
        if database not in _has_outbox and not sa.inspect(connection).has_table(outbox.name):
            return []
        o = outbox.c
        statement = sa.select(o.id, o.body).where(o.created_at < clock.now() - _LEFT_BEHIND)
        return [(row.id, row.body) for row in connection.execute(statement.order_by(o.id).limit(_AT_ONCE))]
