"""A job that was queued, in the hands of who queued it."""

from __future__ import annotations

import asyncio
import typing as t

import msgspec

from .engines.contract import Record, State

if t.TYPE_CHECKING:
    from .job import Job
    from .jobs import Jobs

R = t.TypeVar("R")

_FIRST_LOOK, _LAST_LOOK = 0.01, 0.25
"""Seconds between two looks at whether a job has ended, at first and at most."""


class JobError(Exception):
    """A job whose result was asked for has none."""


class JobFailed(JobError):
    """It is dead; the message is its traceback."""


class JobCancelled(JobError):
    """It was cancelled. Raised also in a running job, where it asks whether it should go on."""


class JobUnknown(JobError, LookupError):
    """There is no such job: it was deleted, or forgotten after its time (the option ``keep``)."""


class Queued(t.Generic[R]):
    """A job that was queued. Its methods are awaited in async code.

    Attributes:
        id: The job's id.
        is_new: False if a job with the same unique key waits or runs: this one is that.
    """

    def __init__(self, jobs: Jobs, job_id: str, *, is_new: bool = True) -> None:
        self.id = job_id
        self.is_new = is_new
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"<queued job {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queued) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def record(self) -> Record:
        """Return everything that is known of it.

        Raises:
            JobUnknown: There is nothing, or nothing any more.
        """
        record: Record = self._jobs.either(self._record())
        return record

    def state(self) -> State:
        """Return its state.

        Raises:
            JobUnknown: There is no such job any more.
        """
        state: State = self._jobs.either(self._state())
        return state

    def progress(self) -> t.Any:
        """Return what it has last said of its progress, or None."""
        return self._jobs.either(self._progress())

    def result(self, timeout: float | None = None) -> R:
        """Wait until it is done, and return what it returned.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            JobFailed: It is dead.
            JobCancelled: It was cancelled.
            JobUnknown: There is no such job any more.
            TimeoutError: It has not ended in time.
        """
        result: R = self._jobs.either(self._result(timeout))
        return result

    def cancel(self) -> bool:
        """Cancel it: at once if it waits; if it runs, its worker is told.

        Returns:
            Whether it had not ended.
        """
        done: bool = self._jobs.either(self._cancel())
        return done

    async def _record(self) -> Record:
        engine = await self._jobs.engine()
        record = await engine.get(self.id)
        if record is None:
            raise JobUnknown(f"There is no job {self.id}, or none any more.")
        return record

    async def _state(self) -> State:
        return (await self._record()).state

    async def _progress(self) -> t.Any:
        progress = (await self._record()).progress
        return None if progress is None else msgspec.json.decode(progress)

    async def _result(self, seconds: float | None) -> R:
        pause = _FIRST_LOOK
        try:
            async with asyncio.timeout(seconds):
                while True:
                    record = await self._record()
                    if record.state in ("done", "dead", "cancelled"):
                        break
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _LAST_LOOK)
        except TimeoutError:
            raise TimeoutError(
                f"The job {self.id} has not ended within {seconds} s. Is a worker running? Start one with:"
                " carboy jobs worker"
            ) from None
        return self._value(record)

    def _value(self, record: Record) -> R:
        if record.state == "dead":
            raise JobFailed(record.error or "")
        if record.state == "cancelled":
            raise JobCancelled(f"The job {self.id} was cancelled.")
        value = None if record.result is None else msgspec.json.decode(record.result)
        job: Job[..., t.Any] | None = self._jobs.registry.get(record.name)
        return t.cast(R, value if job is None or value is None else job.signature.result(value))

    async def _cancel(self) -> bool:
        engine = await self._jobs.engine()
        return await engine.cancel(self.id) in ("queued", "scheduled", "running", "parked")
