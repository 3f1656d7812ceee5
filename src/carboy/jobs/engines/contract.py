"""What an engine does: keeps jobs, hands each to one worker at a time, and knows their state.

Every engine passes the same suite, tests/jobs. Times are seconds since 1970, durations seconds.

A job is *scheduled* until its time has come, *queued*, *running*, and in the end *done*, *dead* (its retries are used
up; it is kept until somebody decides) or *cancelled*. It is *parked* while no worker knows its function: after a
deployment one will.
"""

from __future__ import annotations

import typing as t

import msgspec

from ..message import Message

State = t.Literal["scheduled", "queued", "running", "done", "dead", "cancelled", "parked"]

MAX_LAPSES = 5
"""How many workers a job may take down with it before it is taken to be the reason, and is dead."""


class Claim(msgspec.Struct, kw_only=True, frozen=True):
    """A job that was given to a worker for a while.

    Attributes:
        id: The job's.
        fence: The number of this claim: what a worker says with an older one is refused.
        attempt: Which run it is, from 1 on.
        body: The `Message` as bytes.
        key: What the engine itself needs to find the job.
    """

    id: str
    fence: int
    attempt: int
    body: bytes
    key: t.Any = None


class Limit(msgspec.Struct, kw_only=True, frozen=True):
    """How much of one job's runs all workers together may do.

    Attributes:
        concurrency: At the same time.
        rate: How many begin in each *period*.
        period: In seconds.
    """

    concurrency: int | None = None
    rate: int | None = None
    period: float = 1.0


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """What a worker takes.

    Attributes:
        worker: Its id.
        queues: In which.
        names: The functions that it knows.
        limits: Of some of them.
        lease: For how long it has a job without saying anything.
    """

    worker: str
    queues: tuple[str, ...]
    names: frozenset[str]
    limits: dict[str, Limit]
    lease: float


class Outcome(msgspec.Struct, kw_only=True):
    """How a run ended.

    Attributes:
        claim: Which.
        state: What the job is now: any but *running*.
        is_attempt: Whether it counts as one; not so for a job that is given back.
        run_at: If it is *scheduled*: not before.
        result: As JSON.
        error: The traceback.
        expires_at: When it may be forgotten.
        then: The job that follows.
        member: Its group, if the run was the last; *result* goes there too.
    """

    claim: Claim
    state: State
    is_attempt: bool = True
    run_at: float = 0.0
    result: bytes | None = None
    error: str | None = None
    expires_at: float | None = None
    then: tuple[Message, bytes] | None = None


class Renewed(t.NamedTuple):
    """What a worker learns when it renews its leases: ids of jobs that are no longer its own, or to be stopped."""

    lost: set[str]
    cancelled: set[str]


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A job as people see it.

    Attributes:
        attempts: Runs that have begun and were not given back.
        lapses: How many of its workers have vanished.
        worker: Who runs it, or ran it last.
        progress: JSON.
        result: JSON.
        error: The last traceback.
    """

    id: str
    name: str
    queue: str
    state: State
    priority: int
    message: Message
    run_at: float
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    attempts: int = 0
    lapses: int = 0
    worker: str | None = None
    progress: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    error: str | None = None
    cancel_requested: bool = False


class Query(msgspec.Struct, kw_only=True, frozen=True):
    """Which jobs. Newest first.

    Attributes:
        states: All, if empty.
        before: The id of the last one seen.
        finished_before: Only those that have ended before.
        limit: How many at most.
    """

    ids: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    names: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    before: str | None = None
    finished_before: float | None = None
    limit: int = 50


class QueueStats(msgspec.Struct, kw_only=True):
    """One queue.

    Attributes:
        counts: Jobs in each state; those that have ended only until they are forgotten.
        oldest: When the one was queued that waits longest.
    """

    queue: str
    counts: dict[State, int]
    oldest: float | None = None


class WorkerInfo(msgspec.Struct, kw_only=True):
    """A worker that lives, or did so a moment ago.

    Attributes:
        running: How many jobs it has in hand.
        seen_at: When it was last heard of.
    """

    id: str
    host: str
    pid: int
    queues: list[str]
    concurrency: int
    running: int
    started_at: float
    seen_at: float


class Engine(t.Protocol):
    """Keeps jobs and hands them out. Belongs to one event loop.

    Attributes:
        lacks: What it cannot do: a part of ``{"priorities", "limits"}``, with the reason.
    """

    lacks: t.Mapping[str, str]

    # -- For who queues ---------------------------------------------------------

    async def open(self) -> None:
        """Connect, and make ready what is missing."""

    async def close(self) -> None:
        """Let go of connections."""

    async def put(self, messages: t.Sequence[tuple[Message, bytes]]) -> list[str]:
        """Keep jobs durably, and wake a worker.

        A job whose id is there already is not put a second time. One whose unique key is taken is not put either.

        Returns:
            For each the id of the job that is there now: its own, or that of the one with its unique key.
        """

    # -- For workers --------------------------------------------------------------

    async def claim(self, wanted: Wanted, count: int) -> list[Claim]:
        """Take up to *count* jobs that are due, the first of each queue by priority, then by age. Does not wait."""

    async def wait(self, seconds: float) -> None:
        """Return when there may be something to claim, at the latest after *seconds*."""

    async def renew(self, wanted: Wanted, claims: t.Sequence[Claim]) -> Renewed:
        """Keep jobs for another lease."""

    async def settle(self, outcomes: t.Sequence[Outcome]) -> list[bool]:
        """Say how runs ended, and put what follows, as one.

        Returns:
            For each whether it was still the worker's to say; if not, nothing was changed.
        """

    async def sweep(self, wanted: Wanted) -> float | None:
        """Do what has become due: queue what was scheduled, what dead workers had, and what was parked and is known to
        *wanted*; forget what has expired. Any worker may, at any time.

        Returns:
            When the next scheduled job is due, if there is one.
        """

    async def set_progress(self, claim: Claim, progress: bytes) -> bool:
        """Store what a running job says of itself.

        Returns:
            Whether it is still the worker's, and nobody wants to cancel it.
        """

    async def open_group(self, group: str, size: int, then: tuple[Message, bytes] | None, expires_at: float) -> None:
        """Begin a group of *size* jobs; when all are done, *then* is put, with their results as its first argument."""

    async def take_slot(self, name: str, slot: float, put: tuple[Message, bytes]) -> bool:
        """Put a job for a slot of a schedule, unless somebody has done so; False then."""

    async def last_slot(self, name: str) -> float | None:
        """Return the last slot of a schedule for which a job was put."""

    # -- For people -----------------------------------------------------------------

    async def get(self, job_id: str) -> Record | None:
        """Return a job, or None if there is none of this id, or none any more."""

    async def find(self, query: Query) -> list[Record]:
        """Return jobs."""

    async def stats(self) -> list[QueueStats]:
        """Return the queues in which there is something."""

    async def cancel(self, job_id: str) -> State | None:
        """Cancel a job that waits, or ask the worker of one that runs.

        Returns:
            The state in which it was found; None if there is none.
        """

    async def retry(self, query: Query) -> int:
        """Queue jobs again that are dead, parked or cancelled, with all their retries; return how many."""

    async def delete(self, query: Query) -> int:
        """Forget jobs that do not run; return how many."""

    async def beat(self, info: WorkerInfo) -> None:
        """Tell of a worker; one with ``concurrency`` 0 has ended."""

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers that were heard of lately."""
