"""Jobs that are queued at certain times."""

from __future__ import annotations

import itertools
import math
import typing as t
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from . import clock
from .job import Job, Seconds, seconds_of

Misfire = t.Literal["latest", "all", "skip"]

_MOST = 1000
"""How many missed times are made up for at most."""


class Schedule:
    """When a job is queued; see `Jobs.schedule`.

    Attributes:
        job: Which.
        name: Of the schedule.
    """

    def __init__(
        self,
        job: Job[..., t.Any],
        name: str,
        cron: str | None,
        every: Seconds | None,
        tz: str,
        misfire: Misfire,
        args: tuple[t.Any, ...],
        kwargs: dict[str, t.Any],
    ) -> None:
        if (cron is None) == (every is None):
            raise ValueError("A schedule has either times, '*/5 * * * *', or a duration, every=300.")
        if misfire not in ("latest", "all", "skip"):
            raise ValueError(f"'misfire' is {misfire!r}; it is 'latest', 'all' or 'skip'.")
        self.job = job
        self.name = name
        self.cron = cron
        self.every = None if every is None else seconds_of(every)
        self.tz = tz
        self.misfire = misfire
        self.args = args
        self.kwargs = kwargs
        if self.every is not None and self.every < 1:
            raise ValueError(f"'every' is {self.every} seconds; it is 1 or more.")
        try:
            self._zone = ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError) as e:
            raise ValueError(f"There is no time zone {tz!r}. Write it like 'Europe/Paris'.") from e
        if cron is not None:
            try:
                CronSim(cron, datetime.now(self._zone))
            except CronSimError as e:
                raise ValueError(f"{cron!r} cannot be read ({e}). Write it like '*/5 * * * *'.") from e
        job.signature.check(args, kwargs)

    def __repr__(self) -> str:
        return f"<schedule {self.name}: {self.description}>"

    @property
    def description(self) -> str:
        """When, in words."""
        return f"every {self.every:g} s" if self.every is not None else f"{self.cron} ({self.tz})"

    def times(self, after: float) -> t.Iterator[float]:
        """Give its times later than *after*, in seconds since 1970."""
        if self.every is not None:
            first = math.floor(after / self.every) + 1
            return (number * self.every for number in itertools.count(first))
        moments = CronSim(t.cast(str, self.cron), datetime.fromtimestamp(after, UTC).astimezone(self._zone))
        return (moment.timestamp() for moment in moments)

    def next(self, after: float) -> float | None:
        """Return its first time later than *after*; None if there is none."""
        return next(self.times(after), None)

    def due(self, last: float, now: float) -> list[float]:
        """Return its times later than *last* that are to be made up for, and the one that is now."""
        found = list(itertools.islice(itertools.takewhile(lambda slot: slot <= now, self.times(last)), _MOST))
        if self.misfire == "latest":
            return found[-1:]
        return found


class ScheduleClock:
    """Queues what is due. Any number of workers may have one: an engine takes each time once.

    Args:
        schedules: What to watch.
        take: Puts the job for a time, unless another clock has done so.
        last: Returns the last time of a schedule for which a job was put.
    """

    def __init__(
        self,
        schedules: t.Mapping[str, Schedule],
        take: t.Callable[[Schedule, float], t.Awaitable[bool]],
        last: t.Callable[[str], t.Awaitable[float | None]],
    ) -> None:
        self._schedules = schedules
        self._take = take
        self._last = last
        self._began_at = clock.now()
        self._seen: dict[str, float] = {}

    async def tick(self) -> float:
        """Queue what is due now; return when something is due next, at the latest in a minute."""
        now = clock.now()
        upcoming = now + 60.0
        for schedule in self._schedules.values():
            seen = self._seen.get(schedule.name)
            if seen is None:
                before = None if schedule.misfire == "skip" else await self._last(schedule.name)
                seen = self._began_at if before is None else before
            for slot in schedule.due(seen, now):
                await self._take(schedule, slot)
                seen = slot
            self._seen[schedule.name] = seen
            following = schedule.next(max(seen, now))
            if following is not None:
                upcoming = min(upcoming, following)
        return upcoming
