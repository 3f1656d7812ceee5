"""Jobs in this process's memory: for tests. They end with it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import typing as t

import msgspec

from .. import clock
from ..message import Message, encode_message, lane_of
from .contract import MAX_LAPSES, Claim, Limit, Outcome, Query, QueueStats, Record, Renewed, State, Wanted, WorkerInfo

if t.TYPE_CHECKING:
    from collections.abc import Sequence


class _Row:
    """A job, and what only the engine knows of it."""

    def __init__(self, seq: int, message: Message, body: bytes) -> None:
        now = clock.now()
        is_due = message.run_at <= now
        self.seq = seq
        self.message = message
        self.body = body
        self.lane = message.lane
        self.fence = 0
        self.lease_until = 0.0
        self.queued_at = now
        self.expires_at: float | None = None
        self.record = Record(
            id=message.id,
            name=message.name,
            queue=message.queue,
            state="queued" if is_due else "scheduled",
            priority=message.priority,
            message=message,
            run_at=message.run_at,
            created_at=now,
        )

    @property
    def is_active(self) -> bool:
        """Whether it holds its unique key."""
        return self.record.state in ("scheduled", "queued", "running", "parked")


class _Group:
    def __init__(self, size: int, then: tuple[Message, bytes] | None, expires_at: float) -> None:
        self.remaining = size
        self.then = then
        self.expires_at = expires_at
        self.results: dict[int, bytes] = {}


class Memory:
    """What the engines of one application, one for each event loop, have in common."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.seq = 0
        self.rows: dict[str, _Row] = {}
        self.groups: dict[str, _Group] = {}
        self.slots: dict[str, set[float]] = {}
        self.rates: dict[str, tuple[float, int]] = {}
        self.workers: dict[str, WorkerInfo] = {}
        self.engines: set[MemoryEngine] = set()


class MemoryEngine:
    """The engine in memory; see `Engine`."""

    lacks: t.Mapping[str, str] = {}

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()

    async def open(self) -> None:
        """See `Engine.open`."""
        self._loop = asyncio.get_running_loop()
        self._memory.engines.add(self)

    async def close(self) -> None:
        """See `Engine.close`."""
        self._memory.engines.discard(self)

    async def put(self, messages: Sequence[tuple[Message, bytes]]) -> list[str]:
        """See `Engine.put`."""
        return self.put_now(messages)

    def put_now(self, messages: Sequence[tuple[Message, bytes]]) -> list[str]:
        """The same from sync code."""
        memory, ids = self._memory, []
        with memory.lock:
            for message, body in messages:
                holder = None if message.unique is None else self._holder(message.unique)
                if holder is None and message.id not in memory.rows:
                    memory.seq += 1
                    memory.rows[message.id] = _Row(memory.seq, message, body)
                ids.append(message.id if holder is None else holder)
        self._wake()
        return ids

    def _holder(self, key: str) -> str | None:
        for row in self._memory.rows.values():
            if row.message.unique == key and row.is_active:
                return row.record.id
        return None

    def _wake(self) -> None:
        for engine in list(self._memory.engines):
            if engine._loop is not None:
                with contextlib.suppress(RuntimeError):  # That loop has ended.
                    engine._loop.call_soon_threadsafe(engine._woken.set)

    async def claim(self, wanted: Wanted, count: int) -> list[Claim]:
        """See `Engine.claim`."""
        claims: list[Claim] = []
        with self._memory.lock:
            for queue in wanted.queues:
                claims += self._claim_lane(wanted, queue, count - len(claims))
                for name, limit in wanted.limits.items():
                    free = self._free(name, limit, count - len(claims))
                    taken = self._claim_lane(wanted, lane_of(queue, name), free)
                    claims += taken
                    began_at, begun = self._memory.rates.get(name, (clock.now(), 0))
                    self._memory.rates[name] = began_at, begun + len(taken)
        return claims

    def _free(self, name: str, limit: Limit, count: int) -> int:
        memory, now = self._memory, clock.now()
        if limit.concurrency is not None:
            running = sum(row.record.name == name and row.record.state == "running" for row in memory.rows.values())
            count = min(count, limit.concurrency - running)
        if limit.rate is not None:
            began_at, begun = memory.rates.get(name, (now, 0))
            if now - began_at >= limit.period:
                began_at, begun = now, 0
            memory.rates[name] = began_at, begun
            count = min(count, limit.rate - begun)
        return count

    def _claim_lane(self, wanted: Wanted, lane: str, count: int) -> list[Claim]:
        if count <= 0:
            return []
        now = clock.now()
        waiting = [row for row in self._memory.rows.values() if row.record.state == "queued" and row.lane == lane]
        waiting.sort(key=lambda row: (row.record.priority, row.seq))
        claims = []
        for row in waiting[:count]:
            record = row.record
            record.state, record.worker, record.started_at = "running", wanted.worker, now
            record.attempts += 1
            row.fence += 1
            row.lease_until = now + wanted.lease
            claims.append(Claim(id=record.id, fence=row.fence, attempt=record.attempts, body=row.body))
        return claims

    async def wait(self, seconds: float) -> None:
        """See `Engine.wait`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    def _held(self, claim: Claim) -> _Row | None:
        row = self._memory.rows.get(claim.id)
        is_held = row is not None and row.record.state == "running" and row.fence == claim.fence
        return row if is_held else None

    async def renew(self, wanted: Wanted, claims: Sequence[Claim]) -> Renewed:
        """See `Engine.renew`."""
        renewed = Renewed(set(), set())
        with self._memory.lock:
            for claim in claims:
                row = self._held(claim)
                if row is None:
                    renewed.lost.add(claim.id)
                    continue
                row.lease_until = clock.now() + wanted.lease
                if row.record.cancel_requested:
                    renewed.cancelled.add(claim.id)
        return renewed

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `Engine.settle`."""
        with self._memory.lock:
            return [self._settle(outcome) for outcome in outcomes]

    def _settle(self, outcome: Outcome) -> bool:
        row = self._held(outcome.claim)
        if row is None:
            return False
        record, now = row.record, clock.now()
        record.state = outcome.state
        record.attempts -= not outcome.is_attempt
        record.result = None if outcome.result is None else msgspec.Raw(outcome.result)
        record.error = outcome.error
        if outcome.state == "scheduled":
            record.run_at = outcome.run_at
        elif outcome.state == "queued":
            row.queued_at = now
            self._wake()
        elif outcome.state != "parked":
            record.finished_at, row.expires_at = now, outcome.expires_at
        follow = [] if outcome.then is None else [outcome.then]
        member = row.message.member
        if outcome.state == "done" and member is not None and not row.message.then:
            follow += self._add_to_group(member.group, member.index, outcome.result)
        if follow:
            self.put_now(follow)
        return True

    def _add_to_group(self, name: str, index: int, result: bytes | None) -> list[tuple[Message, bytes]]:
        group = self._memory.groups.get(name)
        if group is None:
            return []
        group.results[index] = result or b"null"
        group.remaining -= 1
        if group.remaining:
            return []
        del self._memory.groups[name]
        if group.then is None:
            return []
        message = group.then[0]
        message.args = [[msgspec.json.decode(group.results[n]) for n in sorted(group.results)], *message.args]
        message.run_at = clock.now()
        return [(message, encode_message(message, 1 << 40))]

    async def set_progress(self, claim: Claim, progress: bytes) -> bool:
        """See `Engine.set_progress`."""
        with self._memory.lock:
            row = self._held(claim)
            if row is None:
                return False
            row.record.progress = msgspec.Raw(progress)
            return not row.record.cancel_requested

    async def sweep(self, wanted: Wanted) -> float | None:
        """See `Engine.sweep`."""
        memory, now, count = self._memory, clock.now(), 0
        with memory.lock:
            for row in list(memory.rows.values()):
                if row.expires_at is not None and row.expires_at < now:
                    del memory.rows[row.record.id]
                else:
                    count += self._sweep_row(row, wanted, now)
            for name, group in list(memory.groups.items()):
                if group.expires_at < now:
                    del memory.groups[name]
            due = [row.record.run_at for row in memory.rows.values() if row.record.state == "scheduled"]
        if count:
            self._wake()
        return min(due, default=None)

    def _sweep_row(self, row: _Row, wanted: Wanted, now: float) -> bool:
        record = row.record
        if record.state == "running" and row.lease_until < now:
            record.lapses += 1
            if record.lapses >= MAX_LAPSES:
                record.state, record.finished_at = "dead", now
                record.error = f"{MAX_LAPSES} workers have vanished while they ran it: it may be the reason."
                return False
            if record.cancel_requested:
                record.state, record.finished_at, row.expires_at = "cancelled", now, now + 86400
                return False
            record.attempts -= 1
        elif not (record.state == "scheduled" and record.run_at <= now) and not (
            record.state == "parked" and record.name in wanted.names
        ):
            if record.state in ("queued", "scheduled") and record.name in wanted.names:
                is_limited = record.name in wanted.limits
                row.lane = lane_of(record.queue, record.name) if is_limited else record.queue
            return False
        record.state, row.queued_at = "queued", now
        return True

    async def open_group(self, group: str, size: int, then: tuple[Message, bytes] | None, expires_at: float) -> None:
        """See `Engine.open_group`."""
        with self._memory.lock:
            self._memory.groups[group] = _Group(size, then, expires_at)

    async def take_slot(self, name: str, slot: float, put: tuple[Message, bytes]) -> bool:
        """See `Engine.take_slot`."""
        with self._memory.lock:
            taken = self._memory.slots.setdefault(name, set())
            if slot in taken:
                return False
            taken.add(slot)
            self.put_now([put])
            return True

    async def last_slot(self, name: str) -> float | None:
        """See `Engine.last_slot`."""
        return max(self._memory.slots.get(name, ()), default=None)

    async def get(self, job_id: str) -> Record | None:
        """See `Engine.get`."""
        row = self._memory.rows.get(job_id)
        return None if row is None else _copy(row.record)

    async def find(self, query: Query) -> list[Record]:
        """See `Engine.find`."""
        with self._memory.lock:
            return [_copy(row.record) for row in self._found(query)]

    def _found(self, query: Query) -> list[_Row]:
        rows = [row for row in self._memory.rows.values() if _fits(row.record, query)]
        return sorted(rows, key=lambda row: row.record.id, reverse=True)[: query.limit]

    async def stats(self) -> list[QueueStats]:
        """See `Engine.stats`."""
        found: dict[str, QueueStats] = {}
        with self._memory.lock:
            for row in self._memory.rows.values():
                record = row.record
                stats = found.setdefault(record.queue, QueueStats(queue=record.queue, counts={}))
                stats.counts[record.state] = stats.counts.get(record.state, 0) + 1
                if record.state == "queued":
                    stats.oldest = row.queued_at if stats.oldest is None else min(stats.oldest, row.queued_at)
        return [found[queue] for queue in sorted(found)]

    async def cancel(self, job_id: str) -> State | None:
        """See `Engine.cancel`."""
        with self._memory.lock:
            row = self._memory.rows.get(job_id)
            if row is None:
                return None
            state, now = row.record.state, clock.now()
            if state == "running":
                row.record.cancel_requested = True
            elif row.is_active:
                row.record.state, row.record.finished_at, row.expires_at = "cancelled", now, now + 86400
            return state

    async def retry(self, query: Query) -> int:
        """See `Engine.retry`."""
        count, now = 0, clock.now()
        with self._memory.lock:
            for row in reversed(self._found(query)):
                record = row.record
                if record.state not in ("dead", "parked", "cancelled"):
                    continue
                key = row.message.unique
                if key is not None and self._holder(key) not in (None, record.id):
                    continue
                record.state, record.run_at, row.queued_at, row.expires_at = "queued", now, now, None
                record.attempts, record.lapses = 0, 0
                record.finished_at, record.cancel_requested = None, False
                count += 1
        self._wake()
        return count

    async def delete(self, query: Query) -> int:
        """See `Engine.delete`."""
        with self._memory.lock:
            rows = [row for row in self._found(query) if row.record.state != "running"]
            for row in rows:
                del self._memory.rows[row.record.id]
        return len(rows)

    async def beat(self, info: WorkerInfo) -> None:
        """See `Engine.beat`."""
        with self._memory.lock:
            if info.concurrency:
                self._memory.workers[info.id] = info
            else:
                self._memory.workers.pop(info.id, None)

    async def workers(self) -> list[WorkerInfo]:
        """See `Engine.workers`."""
        return [self._memory.workers[worker] for worker in sorted(self._memory.workers)]


def _copy(record: Record) -> Record:
    return msgspec.structs.replace(record)


def _fits(record: Record, query: Query) -> bool:
    pairs = ((query.ids, record.id), (query.states, record.state), (query.names, record.name))
    return (
        all(not wanted or value in wanted for wanted, value in (*pairs, (query.queues, record.queue)))
        and (query.before is None or record.id < query.before)
        and (
            query.finished_before is None
            or (record.finished_at is not None and record.finished_at < query.finished_before)
        )
    )
