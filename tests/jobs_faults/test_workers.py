"""What workers do to jobs when they are killed, stopped, or many."""

import signal
import sys

from carboy.jobs import Query

JOBS = 2000
LEASE = 3


async def counts(brewery):
    engine = await brewery.jobs.engine()
    found = {}
    for stats in await engine.stats():
        for state, number in stats.counts.items():
            found[state] = found.get(state, 0) + number
    return found


def test_nothing_is_lost_when_workers_are_killed(brewery, capsys):
    """2,000 jobs of 20 ms; the worker's process group is killed five times."""

    async def fill(module):
        await module.brew.map([(number, 0.02) for number in range(JOBS)])

    brewery.call(fill)
    unsettled = 0
    for kill in range(1, 6):
        worker = brewery.start("--concurrency", "50")
        brewery.until(lambda began, ended: len(ended) >= kill * 250, 60)  # noqa: B023
        brewery.kill(worker)
        worker.wait()
        # What it had in hand, and what had ended without having been settled: the next one has to do it again.
        unsettled += brewery.call(counts).get("running", 0)
    brewery.start("--concurrency", "50")
    brewery.until(lambda began, ended: len(ended) == JOBS, 60)
    took = brewery.until(lambda began, ended: brewery.call(counts) == {"done": JOBS}, LEASE + 10)
    began, _ = brewery.runs()
    reruns = sum(began.values()) - JOBS
    capsys.readouterr()
    with capsys.disabled():
        sys.stdout.write(f" {reruns} of {unsettled} in flight ran again, 0 lost, {took:.1f} s for the last ")
    assert reruns <= unsettled


def test_a_stopped_worker_loses_and_repeats_nothing(brewery):
    """SIGTERM, six times, in the middle of jobs."""

    async def fill(module):
        await module.brew.map([(number, 0.05) for number in range(600)])

    brewery.call(fill)
    for stop in range(6):
        worker = brewery.start("--concurrency", "20")
        brewery.until(lambda began, ended: len(ended) >= (stop + 1) * 60, 60)  # noqa: B023
        brewery.kill(worker, signal.SIGTERM)
        assert worker.wait(20) == 0, brewery.story()
    brewery.start("--concurrency", "50")
    brewery.until(lambda began, ended: len(ended) == 600, 60)
    began, ended = brewery.runs()
    assert set(began.values()) == set(ended.values()) == {1}


def test_an_idle_queue_gets_back_what_a_dead_worker_had(brewery):
    """Nothing new arrives: the lease alone brings the job back."""

    async def fill(module):
        await module.brew.enqueue(1, 1.0)

    brewery.call(fill)
    first = brewery.start()
    brewery.until(lambda began, ended: began, 30)
    other = brewery.start()
    brewery.kill(first)
    waited = brewery.until(lambda began, ended: ended[1] == 1, LEASE + 10)
    assert waited >= 1
    assert other.poll() is None


def test_a_job_longer_than_its_lease_runs_once(brewery):
    """Two workers live; the one that has the job renews its lease."""

    async def fill(module):
        await module.brew.enqueue(1, 3 * LEASE)
        await module.bottle.enqueue(2, 3 * LEASE)

    brewery.call(fill)
    brewery.start()
    brewery.start()
    brewery.until(lambda began, ended: len(ended) == 2, 4 * LEASE + 15)
    began, _ = brewery.runs()
    assert began == {1: 1, 2: 1}


def test_a_worker_that_hangs_cannot_end_what_another_has(brewery):
    """Stopped by SIGSTOP for longer than its lease, it comes back and is refused."""

    async def fill(module):
        await module.brew.enqueue(1, 1.0)

    brewery.call(fill)
    first = brewery.start()
    brewery.until(lambda began, ended: began, 30)
    brewery.kill(first, signal.SIGSTOP)
    brewery.start()
    brewery.until(lambda began, ended: ended[1] == 1, LEASE + 15)
    brewery.kill(first, signal.SIGCONT)
    brewery.until(lambda began, ended: ended[1] == 2 or first.poll() is not None, 10)

    async def look(module):
        (record,) = await (await module.jobs.engine()).find(Query())
        return record.state, record.lapses

    assert brewery.call(look) == ("done", 1)
