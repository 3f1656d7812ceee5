"""Jobs in a database: SQLite, PostgreSQL, MariaDB or MySQL.

One row a job. A worker claims rows with one statement that passes over those that others are claiming (``SKIP
LOCKED``); SQLite has one writer at a time anyway. What a worker says of a job is written only where its claim is still
the last one. What arrives together is written together: that is where the rate comes from.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Row

from .. import clock
from ..message import Message, decode_message, encode_message, lane_of
from .contract import (
    MAX_LAPSES,
    Claim,
    Outcome,
    Query,
    QueueStats,
    Record,
    Renewed,
    State,
    Wanted,
    WorkerInfo,
)
from .sql_tables import SCHEMA_VERSION, groups, jobs, limits, metadata, results, schema, slots, workers

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = t.TypeVar("T")
P = t.ParamSpec("P")

CHANNEL = "carboy_jobs"
"""PostgreSQL's notifications of new jobs."""

_SQLITE_POLL = 0.01
"""Seconds between looks at a number that SQLite changes with each commit of others; takes no lock and no query."""
_MYSQL_POLL = 0.01, 0.25
"""Seconds between two claims that found nothing, at first and at most: MySQL cannot wake anybody."""
_AT_ONCE = 500
"""How many rows one statement names."""
_SLOTS_KEPT = 7 * 86400.0
_WORKERS_KEPT = 3600.0

_columns = [column for column in jobs.c if column.name not in ("seq", "body", "progress", "result", "error")]


class SQLEngine:
    """The engine on a database; see `Engine`.

    Args:
        url: For SQLAlchemy's sync side; the driver is known.
        durable: On SQLite, whether a commit has reached the disk before it counts; without, what a power cut takes is
            the last moment's, and nothing else can.
    """

    lacks: t.Mapping[str, str] = {}

    def __init__(self, url: URL, *, durable: bool = False) -> None:
        self.url = url
        self._kind = url.get_backend_name()
        self._engine = _engine(url, durable)
        # One writer: what is claimed and what is settled takes turns, and batches grow while it works.
        self._thread = ThreadPoolExecutor(1, "carboy-jobs-sql")
        self._listener = _LISTENERS.get(self._kind, _Polling)(self)
        self._ready = False

    # -- Opening -----------------------------------------------------------------------

    async def open(self) -> None:
        """See `Engine.open`."""
        await self._run(self.open_now)

    def open_now(self) -> None:
        """The same for who only puts jobs, from sync code."""
        if self._ready:
            return
        with self._begin() as connection:
            self._make_tables(connection)
        self._ready = True

    def _make_tables(self, connection: Connection) -> bool:
        """Make the tables that are missing; return whether they were there."""
        with _locked(connection, "carboy_jobs_schema"):
            if not sa.inspect(connection).has_table(schema.name):
                metadata.create_all(connection)
                connection.execute(sa.insert(schema).values(version=SCHEMA_VERSION))
                return False
        found = connection.scalar(sa.select(schema.c.version))
        if found != SCHEMA_VERSION:
            raise RuntimeError(
                f"The tables of jobs in {self.url!r} have version {found}; this carboy has {SCHEMA_VERSION}. Let the"
                " jobs end, drop the tables 'carboy_job…', and start again."
            )
        return True

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._listener.close()
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    def _run(self, func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, functools.partial(func, *args, **kwargs))

    def _write(self, func: Callable[t.Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> t.Any:
        def work() -> T:
            with self._begin() as connection:
                return func(connection, *args, **kwargs)

        return self._run(work)

    def _begin(self) -> contextlib.AbstractContextManager[Connection]:
        return self._engine.begin()

    # -- Putting ---------------------------------------------------------------------------

    async def put(self, messages: Sequence[tuple[Message, bytes]]) -> list[str]:
        """See `Engine.put`."""
        found: list[str] = await self._write(self.insert, messages)
        return found

    def put_now(self, messages: Sequence[tuple[Message, bytes]]) -> list[str]:
        """The same from sync code."""
        self.open_now()
        with self._begin() as connection:
            return self.insert(connection, messages)

    def insert_with(
        self,
        connection: Connection,
        messages: Sequence[tuple[Message, bytes]],
        group: tuple[str, int, tuple[Message, bytes] | None, float] | None = None,
    ) -> list[str]:
        """Put jobs, or a group of them, in an application's own transaction on this database."""
        if not self._ready:
            if self._kind in ("mysql", "mariadb"):
                # There, making a table would commit the transaction; and nobody else's is in its way.
                self.open_now()
            else:
                # Not so on SQLite, where no other connection can write now. If it is rolled back, so are the tables.
                self._ready = self._make_tables(connection)
        if group is not None:
            self._insert_group(connection, *group)
        return self.insert(connection, messages)

    def insert(self, connection: Connection, messages: Sequence[tuple[Message, bytes]]) -> list[str]:
        """Put jobs in a transaction."""
        now = clock.now()
        connection.execute(_or_ignore(sa.insert(jobs), self._kind), [_row(m, body, now) for m, body in messages])
        if self._kind == "postgresql":
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
        keys = [m.unique for m, _ in messages if m.unique is not None]
        if not keys:
            return [m.id for m, _ in messages]
        j = jobs.c
        holders: dict[str | None, str] = {}
        for some in _parts(keys):
            holders |= {
                row[0]: row[1]
                for row in connection.execute(sa.select(j.active_key, j.id).where(j.active_key.in_(some)))
            }
        return [m.id if m.unique is None else holders.get(m.unique, m.id) for m, _ in messages]

    # -- Claiming ----------------------------------------------------------------------------

    async def claim(self, wanted: Wanted, count: int) -> list[Claim]:
        """See `Engine.claim`."""
        claims: list[Claim] = await self._write(self._claim, wanted, count)
        self._listener.found(bool(claims))
        return claims

    def _claim(self, connection: Connection, wanted: Wanted, count: int) -> list[Claim]:
        now = clock.now()
        claims: list[Claim] = []
        for queue in wanted.queues:
            if len(claims) < count:
                claims += self._claim_lane(connection, wanted, queue, count - len(claims), now)
            for name, limit in wanted.limits.items():
                if len(claims) >= count:
                    break
                lane = lane_of(queue, name)
                if self._is_waiting(connection, lane):
                    free = _take_from_limit(connection, name, limit, count - len(claims), now)
                    if free:
                        claims += self._claim_lane(connection, wanted, lane, free, now)
        return claims

    def _is_waiting(self, connection: Connection, lane: str) -> bool:
        j = jobs.c
        return connection.scalar(sa.select(j.seq).where(j.lane == lane, _QUEUED).limit(1)) is not None

    def _claim_lane(self, connection: Connection, wanted: Wanted, lane: str, count: int, now: float) -> list[Claim]:
        values = {"by": wanted.worker, "until": now + wanted.lease, "now": now}
        rows: t.Sequence[t.Any]
        if self._kind in ("mysql", "mariadb"):
            rows = connection.execute(_select_due, {"of_lane": lane, "count": count}).all()
            if rows:
                connection.execute(_take, {"taken": [row.seq for row in rows]} | values)
        else:
            statement = _claim_postgresql if self._kind == "postgresql" else _claim_sqlite
            rows = sorted(
                connection.execute(statement, {"of_lane": lane, "count": count} | values),
                key=lambda row: (row.priority, row.seq),
            )
        return [
            Claim(id=row.id, fence=row.fence + 1, attempt=row.attempts + 1, body=row.body, key=row.seq) for row in rows
        ]

    async def wait(self, seconds: float) -> None:
        """See `Engine.wait`."""
        await self._listener.wait(seconds)

    # -- Running -------------------------------------------------------------------------------

    async def renew(self, wanted: Wanted, claims: Sequence[Claim]) -> Renewed:
        """See `Engine.renew`."""
        renewed: Renewed = await self._write(self._renew, wanted, claims)
        return renewed

    def _renew(self, connection: Connection, wanted: Wanted, claims: Sequence[Claim]) -> Renewed:
        j = jobs.c
        held = self._held(connection, claims)
        for some in _parts(sorted(held)):
            connection.execute(sa.update(jobs).where(j.seq.in_(some)).values(lease_until=clock.now() + wanted.lease))
        return Renewed(
            lost={claim.id for claim in claims if claim.key not in held},
            cancelled={claim.id for claim in claims if held.get(claim.key)},
        )

    def _held(self, connection: Connection, claims: Sequence[Claim]) -> dict[int, bool]:
        """Return which rows are still theirs, locked, with whether somebody wants to cancel them."""
        j = jobs.c
        fences = {claim.key: claim.fence for claim in claims}
        found: dict[int, bool] = {}
        # In one order, so that two workers never wait for each other.
        for some in _parts(sorted(fences)):
            statement = sa.select(j.seq, j.fence, j.cancel_requested).where(j.seq.in_(some), j.state == "running")
            for seq, fence, cancel in connection.execute(statement.order_by(j.seq).with_for_update()):
                if fences[seq] == fence:
                    found[seq] = bool(cancel)
        return found

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `Engine.settle`."""
        settled: list[bool] = await self._write(self._settle, outcomes)
        return settled

    def _settle(self, connection: Connection, outcomes: Sequence[Outcome]) -> list[bool]:
        held = self._held(connection, [outcome.claim for outcome in outcomes])
        now = clock.now()
        ours = [outcome for outcome in outcomes if outcome.claim.key in held]
        if ours:
            connection.execute(_end, [_ended(outcome, now) for outcome in ours])
        follow = [outcome.then for outcome in ours if outcome.then is not None]
        for outcome in ours:
            message = decode_message(outcome.claim.body) if outcome.state == "done" else None
            if message is not None and message.member is not None and not message.then:
                closing = _add_to_group(connection, message.member.group, message.member.index, outcome.result)
                if closing is not None:
                    follow.append(closing)
        if follow:
            self.insert(connection, follow)
        if self._kind == "postgresql" and any(outcome.state == "queued" for outcome in ours):
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
        return [outcome.claim.key in held for outcome in outcomes]

    async def set_progress(self, claim: Claim, progress: bytes) -> bool:
        """See `Engine.set_progress`."""

        def write(connection: Connection) -> bool:
            held = self._held(connection, [claim])
            if claim.key in held:
                connection.execute(sa.update(jobs).where(jobs.c.seq == claim.key).values(progress=progress))
            return held.get(claim.key) is False

        is_wanted: bool = await self._write(write)
        return is_wanted

    # -- What becomes due ------------------------------------------------------------------------

    async def sweep(self, wanted: Wanted) -> float | None:
        """See `Engine.sweep`."""
        due: float | None = await self._write(self._sweep, wanted)
        return due

    def _sweep(self, connection: Connection, wanted: Wanted) -> float | None:
        j, now = jobs.c, clock.now()
        count = self._update(connection, (j.state == "scheduled", j.run_at <= now), state="queued", queued_at=j.run_at)
        lapsed = (j.state == "running", j.lease_until < now)
        self._update(
            connection,
            (*lapsed, j.lapses + 1 >= MAX_LAPSES),
            state="dead",
            active_key=None,
            finished_at=now,
            lapses=j.lapses + 1,
            error=f"{MAX_LAPSES} workers have vanished while they ran it: it may be the reason.",
        )
        self._update(
            connection,
            (*lapsed, j.cancel_requested.is_(True)),
            state="cancelled",
            active_key=None,
            finished_at=now,
            expires_at=now + 86400,
        )
        count += self._update(
            connection, lapsed, state="queued", queued_at=now, lapses=j.lapses + 1, attempts=j.attempts - 1
        )
        if wanted.names:
            known = (j.state == "parked", j.name.in_(sorted(wanted.names)))
            count += self._update(connection, known, state="queued", queued_at=now)
        self._correct_lanes(connection, wanted)
        for table in (jobs, groups):
            connection.execute(sa.delete(table).where(table.c.expires_at < now))
        connection.execute(sa.delete(results).where(results.c.group_id.not_in(sa.select(groups.c.id))))
        connection.execute(sa.delete(slots).where(slots.c.slot < now - _SLOTS_KEPT, ~slots.c.is_last))
        connection.execute(sa.delete(workers).where(workers.c.seen_at < now - _WORKERS_KEPT))
        if count and self._kind == "postgresql":
            connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
        due: float | None = connection.scalar(sa.select(sa.func.min(j.run_at)).where(j.state == "scheduled"))
        return due

    def _update(self, connection: Connection, where: t.Iterable[t.Any], **values: t.Any) -> int:
        """Update rows that nobody else is updating."""
        j = jobs.c
        if self._kind == "sqlite":
            return connection.execute(sa.update(jobs).where(*where).values(**values)).rowcount
        seqs = connection.scalars(
            sa.select(j.seq).where(*where).order_by(j.seq).with_for_update(skip_locked=True)
        ).all()
        for some in _parts(seqs):
            connection.execute(sa.update(jobs).where(j.seq.in_(some)).values(**values))
        return len(seqs)

    def _correct_lanes(self, connection: Connection, wanted: Wanted) -> None:
        """Move jobs that were queued before their function got, or lost, its limit."""
        j = jobs.c
        waiting = j.state.in_(("queued", "scheduled"))
        for name in wanted.limits:
            for queue in wanted.queues:
                self._update(connection, (waiting, j.name == name, j.lane == queue), lane=lane_of(queue, name))
        free = sorted(wanted.names - wanted.limits.keys())
        self._update(connection, (waiting, j.lane != j.queue, j.name.in_(free)), lane=j.queue)

    # -- Groups and schedules ---------------------------------------------------------------------

    async def open_group(self, group: str, size: int, then: tuple[Message, bytes] | None, expires_at: float) -> None:
        """See `Engine.open_group`."""
        await self._write(self._insert_group, group, size, then, expires_at)

    def _insert_group(
        self, connection: Connection, group: str, size: int, then: tuple[Message, bytes] | None, expires_at: float
    ) -> None:
        body = None if then is None else then[1]
        connection.execute(sa.insert(groups).values(id=group, remaining=size, body=body, expires_at=expires_at))

    async def take_slot(self, name: str, slot: float, put: tuple[Message, bytes]) -> bool:
        """See `Engine.take_slot`."""

        def write(connection: Connection) -> bool:
            s = slots.c
            taken = connection.execute(
                _or_ignore(sa.insert(slots), self._kind).execution_options(preserve_rowcount=True),
                {"name": name, "slot": slot},
            )
            if not taken.rowcount:
                return False
            connection.execute(sa.update(slots).where(s.name == name, s.slot < slot).values(is_last=False))
            self.insert(connection, [put])
            return True

        is_ours: bool = await self._write(write)
        return is_ours

    async def last_slot(self, name: str) -> float | None:
        """See `Engine.last_slot`."""
        slot: float | None = await self._write(
            lambda connection: connection.scalar(sa.select(sa.func.max(slots.c.slot)).where(slots.c.name == name))
        )
        return slot

    # -- For people ----------------------------------------------------------------------------------

    async def get(self, job_id: str) -> Record | None:
        """See `Engine.get`."""
        found = await self.find(Query(ids=(job_id,)))
        return found[0] if found else None

    async def find(self, query: Query) -> list[Record]:
        """See `Engine.find`."""
        statement = sa.select(jobs).where(*_conditions(query)).order_by(jobs.c.id.desc()).limit(query.limit)
        rows: Sequence[Row[t.Any]] = await self._write(lambda connection: connection.execute(statement).all())
        return [_record(row) for row in rows]

    async def stats(self) -> list[QueueStats]:
        """See `Engine.stats`."""
        j = jobs.c
        count = sa.func.count()
        oldest = sa.func.min(sa.case((j.state == "queued", j.queued_at)))
        statement = sa.select(j.queue, j.state, count, oldest).group_by(j.queue, j.state).order_by(j.queue)
        found: dict[str, QueueStats] = {}
        for queue, state, number, since in await self._write(lambda connection: connection.execute(statement).all()):
            stats = found.setdefault(queue, QueueStats(queue=queue, counts={}))
            stats.counts[state] = number
            stats.oldest = since if state == "queued" else stats.oldest
        return list(found.values())

    async def cancel(self, job_id: str) -> State | None:
        """See `Engine.cancel`."""

        def write(connection: Connection) -> State | None:
            j, now = jobs.c, clock.now()
            state: State | None = connection.scalar(sa.select(j.state).where(j.id == job_id).with_for_update())
            this = sa.update(jobs).where(j.id == job_id)
            if state in ("queued", "scheduled", "parked"):
                connection.execute(
                    this.values(state="cancelled", active_key=None, finished_at=now, expires_at=now + 86400)
                )
            elif state == "running":
                connection.execute(this.values(cancel_requested=True))
            return state

        state: State | None = await self._write(write)
        return state

    async def retry(self, query: Query) -> int:
        """See `Engine.retry`."""

        def write(connection: Connection) -> int:
            j, now = jobs.c, clock.now()
            found = connection.execute(
                sa.select(j.seq, j.unique_key)
                .where(*_conditions(query), j.state.in_(("dead", "parked", "cancelled")))
                .order_by(j.id)
                .limit(query.limit)
                .with_for_update()
            ).all()
            keys = [key for _, key in found if key is not None]
            taken = set(connection.scalars(sa.select(j.active_key).where(j.active_key.in_(keys)))) if keys else set()
            count = 0
            for seq, key in found:
                if key is not None and key in taken:
                    continue  # Another one with the same key is there by now.
                taken.add(key)
                connection.execute(
                    sa.update(jobs)
                    .where(j.seq == seq)
                    .values(
                        state="queued",
                        queued_at=now,
                        run_at=now,
                        attempts=0,
                        lapses=0,
                        active_key=key,
                        cancel_requested=False,
                        finished_at=None,
                        expires_at=None,
                    )
                )
                count += 1
            if count and self._kind == "postgresql":
                connection.exec_driver_sql(f"NOTIFY {CHANNEL}")
            return count

        count: int = await self._write(write)
        return count

    async def delete(self, query: Query) -> int:
        """See `Engine.delete`."""

        def write(connection: Connection) -> int:
            j = jobs.c
            seqs = connection.scalars(
                sa.select(j.seq).where(*_conditions(query), j.state != "running").order_by(j.id).limit(query.limit)
            ).all()
            return sum(
                connection.execute(sa.delete(jobs).where(j.seq.in_(some), j.state != "running")).rowcount
                for some in _parts(seqs)
            )

        count: int = await self._write(write)
        return count

    async def beat(self, info: WorkerInfo) -> None:
        """See `Engine.beat`."""

        def write(connection: Connection) -> None:
            connection.execute(sa.delete(workers).where(workers.c.id == info.id))
            if info.concurrency:
                body = msgspec.json.encode(info)
                connection.execute(sa.insert(workers).values(id=info.id, seen_at=info.seen_at, body=body))

        await self._write(write)

    async def workers(self) -> list[WorkerInfo]:
        """See `Engine.workers`."""
        bodies = await self._write(
            lambda connection: connection.scalars(sa.select(workers.c.body).order_by(workers.c.id)).all()
        )
        return [msgspec.json.decode(body, type=WorkerInfo) for body in bodies]


# -- Statements ------------------------------------------------------------------------------------------

_j = jobs.c
# PERF: not a parameter: databases use a partial index only where they see that it fits.
_QUEUED = _j.state == sa.literal_column("'queued'")
_select_due = (
    sa.select(_j.seq, _j.id, _j.fence, _j.attempts, _j.body, _j.priority)
    .where(_j.lane == sa.bindparam("of_lane"), _QUEUED)
    .order_by(_j.priority, _j.seq)
    .limit(sa.bindparam("count"))
    .with_for_update(skip_locked=True)
)
_taken = {
    "state": "running",
    "worker": sa.bindparam("by"),
    "lease_until": sa.bindparam("until"),
    "started_at": sa.bindparam("now"),
    "fence": _j.fence + 1,
    "attempts": _j.attempts + 1,
}
_take = sa.update(jobs).where(_j.seq.in_(sa.bindparam("taken", expanding=True))).values(_taken)


def _claim_statement(due: t.Any) -> t.Any:
    # What is returned is what was before, so that one piece of code reads all databases' rows.
    return (
        sa.update(jobs)
        .where(_j.seq.in_(due))
        .values(_taken)
        .returning(
            _j.seq,
            _j.id,
            (_j.fence - 1).label("fence"),
            (_j.attempts - 1).label("attempts"),
            _j.body,
            _j.priority,
        )
    )


_claim_postgresql = _claim_statement(_select_due.with_only_columns(_j.seq))
_claim_sqlite = _claim_statement(_select_due.with_only_columns(_j.seq).with_for_update(read=True))

_end = (
    sa.update(jobs)
    .where(_j.seq == sa.bindparam("of"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in "state active_key queued_at run_at result error finished_at expires_at lease_until".split()
        }
        | {"attempts": _j.attempts - sa.bindparam("back")}
    )
)


def _or_ignore(statement: t.Any, kind: str) -> t.Any:
    if kind in ("mysql", "mariadb"):
        return statement.prefix_with("IGNORE")
    if kind == "sqlite":
        return statement.prefix_with("OR IGNORE")
    from sqlalchemy.dialects.postgresql import insert

    return insert(statement.table).on_conflict_do_nothing()


def _row(message: Message, body: bytes, now: float) -> dict[str, t.Any]:
    is_due = message.run_at <= now
    return {
        "id": message.id,
        "name": message.name,
        "queue": message.queue,
        "lane": message.lane,
        "state": "queued" if is_due else "scheduled",
        "priority": message.priority,
        "run_at": message.run_at,
        "queued_at": now if is_due else None,
        "unique_key": message.unique,
        "active_key": message.unique,
        "body": body,
        "created_at": now,
    }


def _ended(outcome: Outcome, now: float) -> dict[str, t.Any]:
    is_over = outcome.state in ("done", "dead", "cancelled")
    message = decode_message(outcome.claim.body)
    return {
        "of": outcome.claim.key,
        "new_state": outcome.state,
        "new_active_key": None if is_over else message.unique,
        "new_queued_at": now if outcome.state == "queued" else None,
        "new_run_at": outcome.run_at or message.run_at,
        "new_result": outcome.result,
        "new_error": outcome.error,
        "new_finished_at": now if is_over else None,
        "new_expires_at": outcome.expires_at if is_over else None,
        "new_lease_until": None,
        "back": 0 if outcome.is_attempt else 1,
    }


def _take_from_limit(connection: Connection, name: str, limit: t.Any, count: int, now: float) -> int:
    """Return how many jobs of a function may begin now; what is taken of its rate is written down."""
    lim, j = limits.c, jobs.c
    kind = connection.dialect.name
    connection.execute(_or_ignore(sa.insert(limits), kind), [{"name": name, "began_at": now, "begun": 0}])
    # Locked until the commit: workers ask one after the other.
    row = connection.execute(sa.select(limits).where(lim.name == name).with_for_update()).one()
    free = count
    if limit.concurrency is not None:
        running = connection.scalar(
            sa.select(sa.func.count()).select_from(jobs).where(j.name == name, j.state == "running")
        )
        free = min(free, limit.concurrency - (running or 0))
    if limit.rate is not None:
        is_new = now - row.began_at >= limit.period
        begun, began_at = (0, now) if is_new else (row.begun, row.began_at)
        free = min(free, limit.rate - begun)
        if free > 0:
            # As many as there are: a period must not be charged for jobs that do not exist.
            waiting = sa.select(j.seq).where(j.lane.like(f"%/{name}"), j.name == name, j.state == "queued")
            there = connection.scalar(sa.select(sa.func.count()).select_from(waiting.limit(free).subquery())) or 0
            free = min(free, there)
            connection.execute(sa.update(limits).where(lim.name == name).values(begun=begun + free, began_at=began_at))
    return max(0, free)


def _add_to_group(connection: Connection, group: str, index: int, result: bytes | None) -> tuple[Message, bytes] | None:
    """Add a result; return the group's last job if it was the one that was missing."""
    g, r = groups.c, results.c
    row = connection.execute(sa.select(groups).where(g.id == group).with_for_update()).one_or_none()
    if row is None:
        return None
    connection.execute(sa.insert(results).values(group_id=group, index=index, result=result or b"null"))
    if row.remaining > 1:
        connection.execute(sa.update(groups).where(g.id == group).values(remaining=row.remaining - 1))
        return None
    found = connection.scalars(sa.select(r.result).where(r.group_id == group).order_by(r.index)).all()
    connection.execute(sa.delete(results).where(r.group_id == group))
    connection.execute(sa.delete(groups).where(g.id == group))
    if row.body is None:
        return None
    message = decode_message(row.body)
    message.args = [[msgspec.json.decode(one) for one in found], *message.args]
    message.run_at = clock.now()
    return message, encode_message(message, 1 << 40)


def _conditions(query: Query) -> list[t.Any]:
    j = jobs.c
    found: list[t.Any] = []
    for column, values in ((j.id, query.ids), (j.state, query.states), (j.name, query.names), (j.queue, query.queues)):
        if values:
            found.append(column.in_(values))
    if query.before is not None:
        found.append(j.id < query.before)
    if query.finished_before is not None:
        found.append(j.finished_at < query.finished_before)
    return found


def _record(row: Row[t.Any]) -> Record:
    values = {name: getattr(row, name) for name in Record.__struct_fields__ if name != "message"}
    for name in ("progress", "result"):
        values[name] = None if values[name] is None else msgspec.Raw(values[name])
    values["cancel_requested"] = bool(values["cancel_requested"])
    return Record(message=decode_message(row.body), **values)


def _parts(values: Sequence[T]) -> t.Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


# -- Connections ----------------------------------------------------------------------------------------


def _engine(url: URL, durable: bool) -> sa.Engine:
    options: dict[str, t.Any] = {"hide_parameters": True, "pool_size": 2, "max_overflow": 20}
    if url.get_backend_name() != "sqlite":
        # Otherwise a reader of MySQL would see what was there when it last looked.
        return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED", **options)
    engine = sa.create_engine(url, connect_args={"timeout": 30.0, "check_same_thread": False}, **options)

    @sa.event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: t.Any) -> None:
        # Transactions are begun below, and take the right to write at once: there is nothing here that only reads.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextlib.contextmanager
def _locked(connection: Connection, name: str) -> t.Iterator[None]:
    """Hold a lock that one connection has at a time; SQLite's transaction is one."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))
    if kind not in ("mysql", "mariadb"):
        yield
        return
    connection.execute(sa.select(sa.func.get_lock(name, 60)))
    try:
        yield
    finally:
        connection.execute(sa.select(sa.func.release_lock(name)))


# -- Who wakes a worker ------------------------------------------------------------------------------------


class _Polling:
    """Looks again, less and less often."""

    def __init__(self, engine: SQLEngine) -> None:
        self._engine = engine
        self._pause = _MYSQL_POLL[0]

    async def close(self) -> None:
        """Let go of what `wait` has opened."""

    def found(self, anything: bool) -> None:
        self._pause = _MYSQL_POLL[0] if anything else min(self._pause * 2, _MYSQL_POLL[1])

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, self._pause))


class _DataVersion(_Polling):
    """Watches SQLite's counter of other connections' commits."""

    _connection: t.Any = None
    _seen: int | None = None

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def wait(self, seconds: float) -> None:
        if self._connection is None:
            import sqlite3

            # Read on the loop: it is a look at shared memory, without a lock.
            self._connection = sqlite3.connect(
                self._engine.url.database or "", check_same_thread=False, isolation_level=None
            )
        end = time.monotonic() + seconds
        while True:
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen:
                self._seen = version
                return
            left = end - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, _SQLITE_POLL))


class _Notifications(_Polling):
    """Hears PostgreSQL's notifications."""

    def __init__(self, engine: SQLEngine) -> None:
        super().__init__(engine)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        import psycopg

        address = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    # What came before nobody has told us.
                    self._woken.set()
                    async for _ in connection.notifies():
                        self._woken.set()
            except psycopg.Error:
                await asyncio.sleep(0.2)

    async def wait(self, seconds: float) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()


_LISTENERS: dict[str, type[_Polling]] = {"sqlite": _DataVersion, "postgresql": _Notifications}
