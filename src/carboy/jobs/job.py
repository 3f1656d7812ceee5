"""A function that can be queued, and how it is to be run."""

from __future__ import annotations

import dataclasses
import random
import re
import typing as t
from datetime import UTC, datetime, timedelta

import msgspec

from carboy.concurrency import is_async

from . import clock
from .engines.contract import Limit
from .message import Message, Signature

if t.TYPE_CHECKING:
    from .handles import Queued
    from .jobs import Jobs

P = t.ParamSpec("P")
R = t.TypeVar("R")

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""

Backoff = t.Callable[[int], float] | tuple[float, float]
"""How long to wait after the n-th attempt: a function of n, or the first pause and the longest, in seconds."""

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d*)\s*(second|minute|hour|day)s?\s*")
_NAME = re.compile(r"[\w.:\-]{1,100}")


def seconds_of(duration: Seconds) -> float:
    """Return a duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How a job is run.

    Attributes:
        queue: Where it waits.
        priority: From -100 to 100; the lower is first.
        retries: How many more times it is tried after an error.
        backoff: The pauses between; by default 2 s, doubled each time, at most an hour. Each is shortened at random by
            up to a half, so that what failed together is not tried together.
        timeout: Seconds for one run; None for no limit.
        unique: While a job with the same key waits or runs, no other is queued: True for its name and arguments, or a
            function of the arguments that returns the key.
        max_concurrency: How many run at the same time, in all workers together.
        rate: How many begin in a period, in all workers together: ``"10/minute"``, ``"100/5 seconds"``.
        keep: Seconds for which a job that is done, and its result, can be asked for.
    """

    queue: str = "default"
    priority: int = 0
    retries: int = 3
    backoff: Backoff = (2.0, 3600.0)
    timeout: float | None = None
    unique: bool | t.Callable[..., str] = False
    max_concurrency: int | None = None
    rate: str | None = None
    keep: float = 3600.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.queue):
            raise ValueError(
                f"{self.queue!r} is no name of a queue: up to 100 letters, digits, and any of '_', '-', '.' and ':'."
            )
        if not -100 <= self.priority <= 100:
            raise ValueError(f"The priority is {self.priority}; it is from -100 (first) to 100 (last).")
        if self.retries < 0:
            raise ValueError(f"'retries' is {self.retries}; it is 0 or more.")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise ValueError(f"'max_concurrency' is {self.max_concurrency}; it is 1 or more, or None.")
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"'timeout' is {self.timeout}; it is more than 0 seconds, or None.")
        self.limit()

    def limit(self) -> Limit | None:
        """Return what all workers share, or None.

        Raises:
            ValueError: The rate cannot be read.
        """
        if self.rate is None:
            return None if self.max_concurrency is None else Limit(concurrency=self.max_concurrency)
        match = _RATE.fullmatch(self.rate)
        if match is None or not int(match[1]):
            raise ValueError(f"'rate' is {self.rate!r}; write it like '10/minute' or '100/5 seconds'.")
        period = int(match[2] or 1) * _PERIODS[match[3]]
        return Limit(concurrency=self.max_concurrency, rate=int(match[1]), period=period)

    def pause(self, attempt: int) -> float:
        """Return the seconds to wait after the run number *attempt*."""
        if callable(self.backoff):
            return max(0.0, self.backoff(attempt))
        first, longest = self.backoff
        return float(min(longest, first * 2.0 ** min(attempt - 1, 60)) * random.uniform(0.5, 1.0))


class Prepared(t.Generic[R]):
    """A job with its arguments, not queued yet: for `chain` and `group`."""

    def __init__(self, jobs: Jobs, message: Message) -> None:
        self.jobs = jobs
        self.message = message

    def __repr__(self) -> str:
        return f"<prepared job {self.message.name}>"


class Job(t.Generic[P, R]):
    """A function that workers can run. Called like the function, it runs here and now.

    Made with ``@app.job`` or ``@jobs.job``; see `Options`.
    """

    def __init__(self, jobs: Jobs, func: t.Callable[P, t.Any], name: str, options: Options) -> None:
        self.jobs = jobs
        self.func = func
        self.name = name
        self.options = options
        self.is_async = is_async(func)
        self.signature = Signature(func)
        self.aio: AsyncJob[P, R] = AsyncJob(self)
        self.__doc__ = func.__doc__
        self.__name__ = getattr(func, "__name__", name)
        self.__module__ = func.__module__
        self.__wrapped__ = func

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        result: R = self.func(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<job {self.name}>"

    def with_options(self, **options: t.Any) -> Job[P, R]:
        """Return the same job to be queued with other options: ``report.with_options(priority=-10).enqueue(7)``.

        Only what is stored with a job can differ: queue, priority, retries and unique.

        Raises:
            TypeError: Another option is given.
        """
        fixed = sorted(options.keys() - {"queue", "priority", "retries", "unique"})
        if fixed:
            raise TypeError(
                f"{', '.join(fixed)}: these options belong to the function; give them where it is declared."
            )
        return Job(self.jobs, self.func, self.name, dataclasses.replace(self.options, **options))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """Queue the job; to be awaited in async code (for type checkers: ``job.aio.enqueue``).

        Inside ``db.transaction()`` it is queued when the transaction is committed, and only then.

        Raises:
            TypeError: The function does not take these arguments.
            PayloadError: They cannot be stored.
        """
        return self.jobs.enqueue(self.prepare(*args, **kwargs))

    def enqueue_in(self, delay: Seconds, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """Queue the job for later: in so many seconds, or a timedelta."""
        return self.jobs.enqueue(self._prepared(args, kwargs, clock.now() + seconds_of(delay)))

    def enqueue_at(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """Queue the job for a time; one without time zone is UTC."""
        return self.jobs.enqueue(self._prepared(args, kwargs, _timestamp(when)))

    def map(self, arguments: t.Iterable[t.Any]) -> list[Queued[R]]:
        """Queue one job for each of *arguments*, all together; a tuple has several arguments of one job."""
        return self.jobs.enqueue_all(self._prepared_each(arguments))

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> Prepared[R]:
        """Return the job with its arguments, for `chain` and `group`."""
        return self._prepared(args, kwargs)

    def _prepared_each(self, arguments: t.Iterable[t.Any]) -> list[Prepared[R]]:
        return [self._prepared(one if isinstance(one, tuple) else (one,), {}) for one in arguments]

    def _prepared(self, args: t.Any, kwargs: t.Any, run_at: float | None = None) -> Prepared[R]:
        options = self.options
        message = Message(
            name=self.name,
            args=list(args),
            kwargs=kwargs,
            queue=options.queue,
            priority=options.priority,
            retries=options.retries,
            unique=self._key(args, kwargs),
            limited=options.limit() is not None,
            run_at=clock.now() if run_at is None else run_at,
        )
        return Prepared(self.jobs, message)

    def _key(self, args: t.Any, kwargs: t.Any) -> str | None:
        unique = self.options.unique
        if unique is False:
            return None
        if unique is True:
            key = f"{self.name}:{msgspec.json.encode([args, kwargs], order='sorted').decode()}"
        else:
            key = f"{self.name}:{unique(*args, **kwargs)}"
        if len(key) > 200:
            import hashlib

            key = f"{self.name[:100]}:{hashlib.sha256(key.encode()).hexdigest()}"
        return key


class AsyncJob(t.Generic[P, R]):
    """The methods of a `Job` as async code uses them, for type checkers: ``await job.aio.enqueue(…)``."""

    def __init__(self, job: Job[P, R]) -> None:
        self._job = job

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """See `Job.enqueue`."""
        return await self._job.jobs.aio.enqueue(self._job.prepare(*args, **kwargs))

    async def enqueue_in(self, delay: Seconds, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """See `Job.enqueue_in`."""
        return await self._job.jobs.aio.enqueue(self._job._prepared(args, kwargs, clock.now() + seconds_of(delay)))

    async def enqueue_at(self, when: datetime, *args: P.args, **kwargs: P.kwargs) -> Queued[R]:
        """See `Job.enqueue_at`."""
        return await self._job.jobs.aio.enqueue(self._job._prepared(args, kwargs, _timestamp(when)))

    async def map(self, arguments: t.Iterable[t.Any]) -> list[Queued[R]]:
        """See `Job.map`."""
        return await self._job.jobs.aio.enqueue_all(self._job._prepared_each(arguments))


def _timestamp(when: datetime) -> float:
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
