"""Whose a job is: nobody's for long if its worker is gone, and nobody's twice."""

import asyncio

import msgspec
import pytest

from carboy.jobs import Query, Worker, frozen
from carboy.jobs.engines.contract import MAX_LAPSES, Outcome


def wanted(jobs):
    """What a worker asks for."""
    return msgspec.structs.replace(Worker(jobs.of_app).wanted, lease=10.0)


@pytest.fixture
def brew(jobs):
    @jobs.job
    async def brew(): ...

    return brew


def test_a_vanished_worker_loses_its_job_and_cannot_end_it(jobs, run, brew):
    async def body(clock):
        engine = await jobs.engine()
        queued = await brew.enqueue()
        one, other = wanted(jobs), wanted(jobs)
        (claim,) = await engine.claim(one, 5)
        assert await engine.claim(other, 5) == []
        clock.advance(11)
        await engine.sweep(other)
        (again,) = await engine.claim(other, 5)
        assert (again.id, again.attempt, again.fence) == (queued.id, 1, 2)

        late = Outcome(claim=claim, state="done", result=b'"late"')
        assert await engine.settle([late]) == [False]
        assert (await engine.renew(one, [claim])).lost == {queued.id}
        assert not await engine.set_progress(claim, b"1")
        assert await queued.state() == "running"
        assert await engine.settle([Outcome(claim=again, state="done", result=b'"right"', expires_at=9e9)]) == [True]
        assert await queued.result() == "right"

    with frozen() as clock:
        run(body, clock)


def test_a_worker_that_renews_keeps_its_job(jobs, run, brew):
    async def body(clock):
        engine = await jobs.engine()
        await brew.enqueue()
        one = wanted(jobs)
        (claim,) = await engine.claim(one, 5)
        for _ in range(4):
            clock.advance(6)
            assert await engine.renew(one, [claim]) == (set(), set())
            await engine.sweep(one)
            assert await engine.claim(one, 5) == []

    with frozen() as clock:
        run(body, clock)


def test_a_job_that_ends_its_workers_is_dead(jobs, run, brew):
    async def body(clock):
        engine = await jobs.engine()
        queued = await brew.enqueue()
        one = wanted(jobs)
        for _ in range(MAX_LAPSES):
            assert len(await engine.claim(one, 5)) == 1
            clock.advance(11)
            await engine.sweep(one)
        record = await queued.record()
        assert record.state == "dead" and "vanished" in record.error
        assert await engine.claim(one, 5) == []

    with frozen() as clock:
        run(body, clock)


def test_a_job_is_put_once(jobs, run, brew):
    async def body():
        engine = await jobs.engine()
        prepared = brew.prepare()
        encoded = jobs.of_app._encode([prepared.message])
        assert await engine.put(encoded) == await engine.put(encoded) == [prepared.message.id]
        assert len(await engine.claim(wanted(jobs), 5)) == 1

    run(body)


def test_many_workers_share_without_repeating(jobs, run, brew):
    async def body():
        engine = await jobs.engine()
        await brew.map([()] * 200)
        claims = await asyncio.gather(*(engine.claim(wanted(jobs), 30) for _ in range(8)))
        ids = [claim.id for some in claims for claim in some]
        assert len(ids) == len(set(ids)) == 200
        outcomes = [Outcome(claim=claim, state="done", expires_at=9e9) for some in claims for claim in some]
        assert all(await engine.settle(outcomes))
        (stats,) = await engine.stats()
        assert stats.counts == {"done": 200}

    run(body)


def test_finding_and_deleting(jobs, run, brew):
    @jobs.job(queue="mail")
    async def write(): ...

    async def body():
        engine = await jobs.engine()
        ids = [queued.id for queued in await brew.map([()] * 3)]
        mail = await write.enqueue()
        assert [record.id for record in await engine.find(Query(queues=("default",), limit=2))] == ids[:0:-1]
        assert [record.id for record in await engine.find(Query(before=ids[1]))] == ids[:1]
        assert [record.id for record in await engine.find(Query(names=(write.name,)))] == [mail.id]
        assert [(one.queue, one.counts) for one in await engine.stats()] == [
            ("default", {"queued": 3}),
            ("mail", {"queued": 1}),
        ]
        await engine.claim(wanted(jobs), 1)
        assert await engine.delete(Query(queues=("default",))) == 2
        assert len(await engine.find(Query())) == 2

    run(body)


def test_what_is_done_is_forgotten_after_its_time(jobs, run, brew):
    async def body():
        engine = await jobs.engine()
        queued = await brew.enqueue()
        (claim,) = await engine.claim(wanted(jobs), 1)
        await engine.settle([Outcome(claim=claim, state="done", expires_at=1.0)])
        await engine.sweep(wanted(jobs))
        assert await engine.get(queued.id) is None

    run(body)
