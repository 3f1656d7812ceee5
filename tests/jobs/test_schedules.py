"""Jobs that are queued at certain times."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from carboy.jobs import current_job, frozen


def moments(schedule, after, count):
    """The next times of a schedule, in its time zone."""
    zone = ZoneInfo(schedule.tz)
    times = schedule.times(after.timestamp())
    return [datetime.fromtimestamp(next(times), zone).isoformat() for _ in range(count)]


class TestTimes:
    def schedule(self, jobs, *args, **options):
        @jobs.schedule(*args, **options)
        @jobs.job
        def measure(): ...

        (found,) = jobs.schedules.values()
        return found

    def test_a_time_that_exists_twice_is_taken_once(self, jobs):
        schedule = self.schedule(jobs, "30 2 * * *", tz="Europe/Paris")
        assert moments(schedule, datetime(2026, 10, 24, tzinfo=UTC), 3) == [
            "2026-10-24T02:30:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-26T02:30:00+01:00",
        ]

    def test_a_time_that_does_not_exist_is_the_next_that_does(self, jobs):
        schedule = self.schedule(jobs, "30 2 * * *", tz="Europe/Paris")
        assert moments(schedule, datetime(2026, 3, 28, 3, tzinfo=UTC), 2) == [
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:30:00+02:00",
        ]

    def test_every_hour_is_every_hour_when_clocks_change(self, jobs):
        schedule = self.schedule(jobs, "0 * * * *", tz="Europe/Paris")
        assert moments(schedule, datetime(2026, 10, 24, 23, 30, tzinfo=UTC), 3) == [
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T03:00:00+01:00",
        ]

    def test_an_interval_has_the_same_times_everywhere(self, jobs):
        schedule = self.schedule(jobs, every=timedelta(minutes=15))
        assert moments(schedule, datetime(2026, 1, 1, 0, 7, tzinfo=UTC), 2) == [
            "2026-01-01T00:15:00+00:00",
            "2026-01-01T00:30:00+00:00",
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"cron": "61 * * * *"}, "cannot be read"),
            ({"cron": "* * * * *", "tz": "Europe/Atlantis"}, "no time zone"),
            ({"every": 0.1}, "1 or more"),
            ({}, "either"),
        ],
    )
    def test_mistakes_are_told_at_once(self, jobs, options, message):
        with pytest.raises(ValueError, match=message):
            self.schedule(jobs, **options)


def test_each_time_is_taken_once_by_whoever(jobs, run):
    slots = []

    @jobs.schedule("* * * * *")
    @jobs.job
    async def measure():
        slots.append(current_job.headers["slot"])

    async def body():
        engine = await jobs.engine()
        with frozen(datetime(2026, 11, 23, 12, 0, 30)) as clock:
            clocks = [jobs.of_app.clock_for(engine) for _ in range(6)]
            for _ in range(20):
                clock.advance(60)
                await asyncio.gather(*(one.tick() for one in clocks))
            await jobs.aio.drain()

    run(body)
    assert sorted(slots) == [f"2026-11-23T12:{minute:02}:00+00:00" for minute in range(1, 21)]


@pytest.mark.parametrize(("misfire", "missed"), [("latest", 1), ("all", 60), ("skip", 0)])
def test_what_nobody_was_there_for(jobs, run, misfire, missed):
    slots = []

    @jobs.schedule("* * * * *", misfire=misfire)
    @jobs.job
    async def measure():
        slots.append(current_job.headers["slot"])

    async def body():
        engine = await jobs.engine()
        with frozen(datetime(2026, 11, 23, 12, 0, 30)) as clock:
            one = jobs.of_app.clock_for(engine)
            await one.tick()
            clock.advance(60)
            await one.tick()
            clock.advance(3600)
            await jobs.of_app.clock_for(engine).tick()
            await jobs.aio.drain()

    run(body)
    assert len(slots) == 1 + missed
