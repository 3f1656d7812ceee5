"""Sync code that waits for async code: it gets what comes, whatever that is, and nothing is kept or left running."""

import asyncio
import concurrent.futures
import gc
import signal
import threading
import weakref

import pytest

import carboy
from carboy.concurrency import background_loop, run_blocking

WAIT = 10


@pytest.fixture
def app():
    return carboy.Carboy("waiting")


def test_each_thread_gets_its_own_result():
    async def double(n):
        await asyncio.sleep(n % 3 * 0.001)
        return 2 * n

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert [*threads.map(lambda n: run_blocking(double(n)), range(200))] == [2 * n for n in range(200)]


def test_async_code_sees_its_task_and_its_loop():
    async def look():
        return asyncio.current_task() is not None, asyncio.get_running_loop()

    assert run_blocking(look()) == (True, background_loop())


@pytest.mark.parametrize("error", [LookupError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_exceptions_of_all_kinds_are_raised_here_and_leave_the_loop_running(app, error):
    @app.get("/fail")
    async def fail():
        await asyncio.sleep(0)
        raise error("why")

    @app.get("/")
    async def index():
        return "still there"

    app.testing = True
    with pytest.raises(error, match="why"):
        app.test_client().get("/fail")
    assert app.test_client().get("/").text == "still there"


@pytest.mark.parametrize("started", [False, True])
def test_a_task_that_somebody_cancels_is_an_ordinary_error_here(started):
    """Of asyncio's own kind it would go past ``except Exception``."""

    async def cancel_itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(WAIT)

    def make_and_cancel(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        task.cancel()
        return task

    loop = background_loop()
    loop.call_soon_threadsafe(loop.set_task_factory, None if started else make_and_cancel)
    try:
        with pytest.raises(concurrent.futures.CancelledError):
            run_blocking(cancel_itself())
    finally:
        loop.call_soon_threadsafe(loop.set_task_factory, None)


def test_what_cannot_be_awaited_is_a_type_error(app):
    with pytest.raises(TypeError, match="await"):
        app.async_to_sync(lambda: 7)()


def test_a_signal_ends_the_wait_and_cancels_the_work():
    cancelled = threading.Event()

    async def work():
        try:
            await asyncio.sleep(WAIT)
        finally:
            cancelled.set()

    def stop(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_blocking(work())
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert cancelled.wait(WAIT)


class Thing:
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_kept_when_it_is_over(fails):
    """Without the garbage collector's help."""

    async def work(thing):
        if fails:
            raise LookupError(thing)
        return thing

    thing = Thing()
    alive = weakref.ref(thing)
    gc.disable()
    try:
        try:
            run_blocking(work(thing))
        except LookupError:
            pass
        del thing
        # The loop has let go of the work before it does other work.
        run_blocking(asyncio.sleep(0))
        assert alive() is None
    finally:
        gc.enable()
