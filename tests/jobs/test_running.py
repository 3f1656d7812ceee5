"""Jobs that are queued, run by a worker, and asked for."""

import asyncio
import threading
import time
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from carboy import current_app, g, has_request_context, url_for
from carboy.jobs import GiveUp, JobCancelled, JobFailed, JobTimeout, PayloadError, Query, Retry, current_job


async def until(condition, seconds=10):
    """Wait until *condition* holds."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


def test_runs_sync_and_async_functions(jobs, run, working):
    @jobs.job
    async def add(a, b):
        return a + b

    @jobs.job
    def multiply(a, *, by):
        assert threading.current_thread() is not threading.main_thread()
        return a * by

    async def body():
        async with working():
            first, second = await add.enqueue(1, 2), await multiply.enqueue(3, by=4)
            assert (await first.result(10), await second.result(10)) == (3, 12)
            assert await first.state() == "done"

    run(body)
    assert asyncio.run(add(1, 1)) == 2


def test_sync_code_queues_without_awaiting(jobs, app, run, working):
    @jobs.job
    def brew(name):
        return name.upper()

    @app.get("/<name>")
    def view(name):
        queued = brew.enqueue(name)
        assert queued.state() == "queued"
        return queued.id

    ids = [app.test_client(protocol=protocol).get(f"/{protocol}").text for protocol in ("wsgi", "asgi", "rsgi")]

    async def body():
        async with working():
            assert [await jobs.get(job_id).result(10) for job_id in ids] == ["WSGI", "ASGI", "RSGI"]

    run(body)


def test_async_views_await_it(jobs, app, run):
    @jobs.job
    async def brew(name): ...

    @app.get("/")
    async def view():
        return (await brew.enqueue("stout")).id

    for protocol in ("wsgi", "asgi", "rsgi"):
        assert app.test_client(protocol=protocol).get("/").status_code == 200

    async def body():
        engine = await jobs.engine()
        assert [record.state for record in await engine.find(Query())] == ["queued"] * 3

    run(body)


def test_a_job_is_in_the_context_of_its_application(jobs, app, run, working):
    app.add_url_rule("/beers/<name>", "beer", lambda name: name)

    @jobs.job
    def tell():
        g.used = True
        assert not has_request_context()
        return [current_app.name, url_for("beer", name="stout"), current_job.headers["request_id"]]

    @app.get("/")
    def view():
        return tell.enqueue().id

    client = app.test_client()
    job_id = client.get("/", base_url="https://pub.example/bar/", headers={"X-Request-ID": "r1"}).text

    async def body():
        async with working():
            found = await jobs.get(job_id).result(10)
            assert found == ["brewery", "https://pub.example/bar/beers/stout", "r1"]

    run(body)


def test_arguments_are_what_the_annotations_say(jobs, run, working):
    seen = []

    @jobs.job
    async def brew(day: date, key: uuid.UUID, *pauses: timedelta, plain=None) -> date:
        seen.append((day, key, pauses, plain))
        return day

    day, key = date(2026, 11, 23), uuid.uuid4()

    async def body():
        async with working():
            queued = await brew.enqueue(day, key, timedelta(seconds=1.5), plain=[1, {"a": None}])
            assert await queued.result(10) == day

    run(body)
    assert seen == [(day, key, (timedelta(seconds=1.5),), [1, {"a": None}])]


def test_what_cannot_be_stored_is_refused_at_once(jobs, app, run):
    @jobs.job
    async def brew(name): ...

    async def body():
        with pytest.raises(PayloadError, match="cannot be stored as JSON"):
            await brew.enqueue(object())
        with pytest.raises(PayloadError, match="JOBS_MAX_PAYLOAD is 262,144"):
            await brew.enqueue("x" * 300_000)
        with pytest.raises(TypeError, match="brew"):
            await brew.enqueue()
        assert await (await jobs.engine()).find(Query()) == []

    run(body)


def test_a_failure_is_tried_again_and_then_dead(jobs, run, working):
    attempts = []

    @jobs.job(retries=2, backoff=lambda attempt: 0)
    def spill():
        attempts.append(current_job.attempt)
        raise ValueError("spilled")

    async def body():
        async with working():
            queued = await spill.enqueue()
            with pytest.raises(JobFailed, match="ValueError: spilled"):
                await queued.result(10)
            record = await queued.record()
            assert (record.state, record.attempts) == ("dead", 3)
            assert await (await jobs.engine()).retry(Query(ids=(queued.id,))) == 1
            await until(lambda: len(attempts) == 6)

    run(body)
    assert attempts == [1, 2, 3] * 2


def test_a_job_says_when_to_try_again_or_not(jobs, run, working):
    seen = []

    @jobs.job
    async def wait():
        seen.append(current_job.attempt)
        if current_job.attempt == 1:
            raise Retry(after=0)

    @jobs.job
    async def stop():
        raise GiveUp("no hops")

    async def body():
        async with working():
            first, second = await wait.enqueue(), await stop.enqueue()
            await first.result(10)
            with pytest.raises(JobFailed, match="no hops"):
                await second.result(10)
            assert (await second.record()).attempts == 1

    run(body)
    assert seen == [1, 2]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_run_has_a_time_limit(jobs, run, working, is_async):
    tidied = []

    if is_async:

        @jobs.job(timeout=0.05, retries=0)
        async def boil():
            try:
                await asyncio.sleep(10)
            finally:
                tidied.append(True)
    else:

        @jobs.job(timeout=0.05, retries=0)
        def boil():
            try:
                while True:
                    time.sleep(0.01)
            finally:
                tidied.append(True)

    async def body():
        async with working():
            queued = await boil.enqueue()
            with pytest.raises(JobFailed, match=JobTimeout.__name__):
                await queued.result(10)

    run(body)
    assert tidied == [True]


def test_a_delay_is_kept(jobs, run, working):
    ran = []

    @jobs.job
    async def drink(what):
        ran.append((what, time.time()))

    async def body():
        began = time.time()
        later = await drink.enqueue_in(0.4, "later")
        await drink.enqueue_at(datetime.now(UTC), "now")
        async with working():
            await later.result(10)
            await until(lambda: len(ran) == 2)
        assert dict(ran)["later"] - began >= 0.4

    run(body)


def test_the_first_by_priority_then_by_age(jobs, run, working):
    order = []

    @jobs.job
    async def pour(name):
        order.append(name)

    async def body():
        await pour.map(["a", "b"])
        await pour.with_options(priority=-1).enqueue("first")
        await pour.with_options(priority=1).enqueue("last")
        async with working(concurrency=1):
            await until(lambda: len(order) == 4)

    run(body)
    assert order == ["first", "a", "b", "last"]


def test_a_unique_job_waits_or_runs_once(jobs, run, working):
    ran = []

    @jobs.job(unique=True)
    async def index(what):
        ran.append(what)

    @jobs.job(unique=lambda user, what: str(user))
    async def mail(user, what):
        ran.append(what)

    async def body():
        first, again, other = [await index.enqueue(what) for what in ("ale", "ale", "stout")]
        assert again == first and not again.is_new and other != first
        assert await mail.enqueue(1, "one") == await mail.enqueue(1, "two")
        async with working():
            await until(lambda: len(ran) == 3)
            await first.result(10)
            assert (await index.enqueue("ale")).is_new

    run(body)
    assert sorted(ran)[:3] == ["ale", "one", "stout"] or sorted(ran) == ["ale", "ale", "one", "stout"]


def test_cancelling(jobs, run, working):
    started, ended = asyncio.Event(), []

    @jobs.job
    async def ferment():
        started.set()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def body():
        waiting = await ferment.enqueue_in(100)
        assert await waiting.cancel()
        with pytest.raises(JobCancelled):
            await waiting.result(1)
        async with working():
            queued = await ferment.enqueue()
            await started.wait()
            assert await queued.cancel()
            await until(lambda: ended)
            with pytest.raises(JobCancelled):
                await queued.result(10)
            assert not await queued.cancel()

    run(body)


def test_progress(jobs, run, working):
    go_on = threading.Event()

    @jobs.job
    def fill():
        current_job.progress({"bottles": 3})
        go_on.wait(10)

    async def body():
        async with working():
            queued = await fill.enqueue()
            await until(queued._progress)
            assert await queued.progress() == {"bottles": 3}
            go_on.set()
            await queued.result(10)

    run(body)


def test_a_function_that_nobody_knows_waits_for_one_who_does(jobs, run, working):
    @jobs.job(name="bottle")
    async def bottle(): ...

    async def body():
        del jobs.registry["bottle"]
        async with working():
            queued = await bottle.enqueue()
            await until(lambda: _is(queued, "parked"))
        jobs.registry["bottle"] = bottle
        async with working():
            await queued.result(10)
            assert (await queued.record()).attempts == 1

    run(body)


async def _is(queued, state):
    return await queued.state() == state


def test_no_more_at_the_same_time_than_said(jobs, run, working):
    running, most = [], []

    @jobs.job(max_concurrency=2)
    async def cask(number):
        running.append(number)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.remove(number)

    async def body():
        async with working(), working():
            queued = await cask.map(range(10))
            for one in queued:
                await one.result(20)

    run(body)
    assert max(most) == 2 and len(most) == 10


def test_no_more_in_a_period_than_said(jobs, run, working):
    began = []

    @jobs.job(rate="3/second")
    async def call(number):
        began.append(time.time())

    async def body():
        await call.map(range(7))
        async with working(), working():
            await until(lambda: len(began) == 7)

    run(body)
    began.sort()
    assert all(later - earlier > 0.9 for earlier, later in zip(began, began[3:], strict=False))


def test_one_after_the_other(jobs, run, working):
    @jobs.job
    async def add(a, b):
        return a + b

    @jobs.job
    def store(total, where):
        return f"{where}: {total}"

    async def body():
        async with working():
            first = await jobs.chain(add.prepare(1, 2), add.prepare(10), store.prepare("cellar"))
            engine = await jobs.engine()

            async def last():
                return await engine.find(Query(names=(store.name,), states=("done",)))

            (record,) = await until(last)
            assert await jobs.get(record.id).result() == "cellar: 13"
            assert await first.result() == 3

    run(body)


def test_side_by_side_and_then_one(jobs, run, working):
    sums = []

    @jobs.job
    async def square(number):
        return number * number

    @jobs.job
    async def total(results, name):
        sums.append((name, results))

    async def body():
        async with working(), working():
            await jobs.group([square.prepare(n) for n in range(20)], then=total.prepare("squares"))
            await until(lambda: sums)

    run(body)
    assert sums == [("squares", [n * n for n in range(20)])]
