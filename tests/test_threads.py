"""The threads that run sync code for event loops: no call is lost, kept or run twice, however loops and threads end."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from contextvars import Context, ContextVar, copy_context

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.concurrency import WorkerThreads, lets_others_go_on, run_in_context, worker_threads

WAIT = 10

on_each_loop = pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])


@pytest.fixture
def workers():
    """Two threads at most."""
    threads = WorkerThreads(2)
    yield threads
    threads.end()


def call(workers, func, *args):
    return workers.run(Context(), func, *args)


def run_loop(make_loop, work):
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(asyncio.wait_for(work, WAIT))


def python(code):
    """What *code* prints as a program of its own, which has to end by itself."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=WAIT
    ).stdout.split()


# -- Every call is run, once, and answered -------------------------------------------


@on_each_loop
def test_calls_from_many_loops_at_once_are_all_answered(make_loop):
    """A wake-up that is lost would leave its caller waiting."""
    workers = WorkerThreads(4)
    running, most, seen = Counter(), [], Counter()

    def view(loop, n):
        running[threading.get_ident()] = 1
        most.append(sum(running.values()))
        if n % 40 == 0:
            time.sleep(0.001)
        seen[loop, n] += 1
        running[threading.get_ident()] = 0
        return loop, n

    async def client(loop, start):
        for n in range(start, start + 100):
            assert await call(workers, view, loop, n) == (loop, n)
            if n % 7 == 0:
                await asyncio.sleep(0)

    async def clients(loop):
        await asyncio.gather(*(client(loop, start) for start in range(0, 2000, 100)))

    threads = [threading.Thread(target=run_loop, args=(make_loop, clients(loop))) for loop in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workers.end()
    assert seen == Counter((loop, n) for loop in range(3) for n in range(2000))
    assert max(most) <= 4


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 3),
    kinds=st.lists(st.sampled_from(["returns", "raises", "blocks", "is given up"]), max_size=12),
)
def test_each_call_has_its_own_result_in_any_mixture(limit, kinds):
    begun = []
    release = threading.Event()

    def view(n, kind):
        begun.append(n)
        if kind == "blocks":
            assert release.wait(WAIT)
        if kind == "raises":
            raise LookupError(n)
        return n

    async def serve():
        futures = [call(workers, view, n, kind) for n, kind in enumerate(kinds)]
        for future, kind in zip(futures, kinds, strict=True):
            if kind == "is given up":
                future.cancel()
        asyncio.get_running_loop().call_later(0.001, release.set)
        return await asyncio.gather(*futures, return_exceptions=True)

    workers = WorkerThreads(limit)
    results = run_loop(asyncio.new_event_loop, serve())
    workers.end()
    for n, (kind, result) in enumerate(zip(kinds, results, strict=True)):
        if kind == "raises":
            assert type(result) is LookupError
            assert result.args == (n,)
        elif kind == "is given up":
            assert type(result) is asyncio.CancelledError
        else:
            assert result == n
    assert set(begun) >= {n for n, kind in enumerate(kinds) if kind != "is given up"}
    assert len(begun) == len(set(begun))
    if limit == 1:
        assert begun == sorted(begun)


@on_each_loop
def test_one_thread_serves_calls_that_come_one_by_one(workers, make_loop):
    async def serve():
        return {await call(workers, threading.get_ident) for _ in range(100)}

    assert len(run_loop(make_loop, serve())) == 1


def test_a_call_that_blocks_holds_up_none_behind_it(workers):
    release = threading.Event()

    async def serve():
        slow = call(workers, release.wait, WAIT)
        assert await call(workers, int, "7") == 7
        release.set()
        assert await slow

    run_loop(asyncio.new_event_loop, serve())


def test_calls_behind_a_full_house_are_run_as_threads_get_free(workers):
    release = threading.Event()

    async def serve():
        slow = [call(workers, release.wait, WAIT) for _ in range(2)]
        queued = [call(workers, int, n) for n in range(5)]
        await asyncio.sleep(0.01)
        assert not any(future.done() for future in queued)
        release.set()
        return await asyncio.gather(*slow, *queued)

    assert run_loop(asyncio.new_event_loop, serve()) == [True, True, *range(5)]


def test_what_has_begun_goes_before_what_has_not():
    one, order = WorkerThreads(1), []
    release = threading.Event()

    async def serve():
        context = Context()
        await one.run(context, int)
        slow = one.run(context, release.wait, WAIT)
        calls = [call(one, order.append, n) for n in range(3)]
        calls.append(one.run(context, order.append, "goes on"))
        release.set()
        await asyncio.gather(slow, *calls)

    run_loop(asyncio.new_event_loop, serve())
    one.end()
    assert order == ["goes on", 0, 1, 2]


def test_what_has_begun_has_threads_more_while_others_wait_for_it(workers):
    """As bodies that hold the connections of a pool, for which other requests wait."""
    given_back = threading.Semaphore(0)

    @lets_others_go_on
    def wait():
        return given_back.acquire(timeout=WAIT)

    async def serve():
        contexts = [Context() for _ in range(20)]
        for context in contexts:
            await workers.run(context, int)
        waiting = [workers.run(context, wait) for context in contexts[:6]]
        waiting += [call(workers, wait) for _ in range(6)]
        for context in contexts[6:18]:
            await workers.run(context, given_back.release)
        assert all(await asyncio.gather(*waiting))

        # Only while they wait, and not for what has not begun.
        release, both = threading.Event(), threading.Barrier(3)
        slow = [call(workers, lambda: [both.wait(WAIT), release.wait(WAIT)]) for _ in range(2)]
        await asyncio.to_thread(both.wait, WAIT)
        queued = [workers.run(contexts[18], int), call(workers, int)]
        await asyncio.sleep(0.01)
        assert not any(future.done() for future in queued)
        release.set()
        await asyncio.gather(*slow, *queued)

    run_loop(asyncio.new_event_loop, serve())


def test_variables_are_those_of_the_given_context():
    variable = ContextVar("variable", default=0)

    async def serve():
        variable.set(1)
        context = copy_context()
        await run_in_context(context, lambda: variable.set(variable.get() + 1))
        assert (variable.get(), context[variable]) == (1, 2)
        assert await run_in_context(Context(), variable.get) == 0

    run_loop(asyncio.new_event_loop, serve())


# -- What is raised, and given up ------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_exceptions_of_all_kinds_reach_who_waits_and_leave_the_thread_alive(workers, error):
    def fail():
        raise error("why")

    async def serve():
        thread = await call(workers, threading.get_ident)
        with pytest.raises(error, match="why") as caught:
            await call(workers, fail)
        assert [entry.name for entry in caught.traceback] == [serve.__name__, "fail"]
        assert await call(workers, threading.get_ident) == thread

    run_loop(asyncio.new_event_loop, serve())


def test_stop_iteration_comes_as_an_error(workers):
    async def serve():
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await call(workers, next, iter(()))
        assert isinstance(caught.value.__cause__, StopIteration)

    run_loop(asyncio.new_event_loop, serve())


class Thing:
    pass


@on_each_loop
@pytest.mark.parametrize("ending", ["returns", "raises", "is cancelled"])
def test_nothing_of_a_call_is_kept_when_it_is_over(workers, make_loop, ending):
    """Without the garbage collector's help."""
    begun, release = threading.Event(), threading.Event()

    def view(thing):
        begun.set()
        assert release.wait(WAIT)
        if ending == "raises":
            raise LookupError(thing)
        return thing

    async def serve():
        thing = Thing()
        alive = weakref.ref(thing)
        future = call(workers, view, thing)
        del thing
        while not begun.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0)
        if ending == "is cancelled":
            future.cancel()
        release.set()
        try:
            await future
        except (LookupError, asyncio.CancelledError):
            pass
        del future
        # The thread's answer to another call comes after it has let go of this one.
        await call(workers, int)
        return alive

    gc.disable()
    try:
        alive = run_loop(make_loop, serve())
        # On a busy machine another thread may have answered that call.
        wait_until(lambda: alive() is None)
    finally:
        gc.enable()


def test_a_call_given_up_in_the_queue_is_never_run():
    workers = WorkerThreads(1)
    release = threading.Event()
    ran = []

    async def serve():
        slow = call(workers, release.wait, WAIT)
        given_up = call(workers, ran.append, 1)
        given_up.cancel()
        release.set()
        await slow
        await call(workers, ran.append, 2)

    run_loop(asyncio.new_event_loop, serve())
    workers.end()
    assert ran == [2]


@on_each_loop
def test_a_loop_that_is_closed_meanwhile_does_no_harm(workers, make_loop):
    release = threading.Event()

    async def leave():
        for _ in range(2):
            call(workers, release.wait, WAIT)

    run_loop(make_loop, leave())
    release.set()

    async def serve():
        return await asyncio.gather(*(call(workers, int, n) for n in range(5)))

    assert run_loop(make_loop, serve()) == [*range(5)]


@on_each_loop
def test_a_loop_that_is_closed_is_not_kept(workers, make_loop):
    loop = make_loop()
    loop.run_until_complete(asyncio.wait_for(_once(workers), WAIT))
    loop.close()
    alive = weakref.ref(loop)
    asyncio.set_event_loop(None)
    del loop
    gc.collect()
    assert alive() is None


async def _once(workers):
    assert await call(workers, int) == 0


# -- The threads ----------------------------------------------------------------------


def names():
    return Counter(thread.name for thread in threading.enumerate())["carboy-worker"]


def wait_until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_threads_end_when_there_is_nothing_to_do_and_come_back():
    before = names()
    workers = WorkerThreads(3, patience=0.02)

    async def burst():
        threads = await asyncio.gather(*(call(workers, time.sleep, 0.01) for _ in range(3)))
        assert len(threads) == 3

    for _ in range(2):
        run_loop(asyncio.new_event_loop, burst())
        assert names() > before
        # Threads of other tests may end meanwhile, too.
        wait_until(lambda: names() <= before)


def test_calls_at_the_moment_when_a_thread_ends_are_run():
    workers = WorkerThreads(2, patience=0.0005)

    async def serve():
        for n in range(300):
            assert await call(workers, int, n) == n
            await asyncio.sleep(0.0004 + n % 10 * 0.00003)

    run_loop(asyncio.new_event_loop, serve())


def test_where_the_system_has_no_thread_left_the_caller_is_told(workers, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    async def serve():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                call(workers, int)
        assert await call(workers, int) == 0
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert await asyncio.gather(call(workers, time.sleep, 0.01), call(workers, int)) == [None, 0]

    run_loop(asyncio.new_event_loop, serve())


def test_a_limit_of_no_threads_is_refused():
    with pytest.raises(ValueError, match="At least one thread"):
        WorkerThreads(0)


# -- The process ------------------------------------------------------------------------

SERVED = """
import asyncio, os, sys, time
from contextvars import Context
from carboy.concurrency import run_in_context

def run(func, *args):
    async def serve():
        return await asyncio.wait_for(run_in_context(Context(), func, *args), 5)
    return asyncio.run(serve())
"""


def test_a_process_ends_at_once_while_threads_are_idle():
    begin = time.monotonic()
    assert python(f"{SERVED}\nprint(run(int))") == ["0"]
    assert time.monotonic() - begin < WAIT / 2


def test_a_process_ends_when_what_was_begun_is_done():
    code = f"""{SERVED}
async def leave():
    run_in_context(Context(), lambda: (time.sleep(0.1), print("done", flush=True)))
    await asyncio.sleep(0.01)
asyncio.run(leave())
print("over", flush=True)
"""
    assert python(code) == ["over", "done"]


def test_threads_can_first_be_needed_while_the_process_ends():
    code = f"""{SERVED}
from carboy.concurrency import at_exit
at_exit(lambda: print(run(int, "3"), flush=True))
"""
    assert python(code) == ["3"]


def test_the_child_of_a_fork_has_threads_of_its_own():
    code = f"""{SERVED}
print(run(int, "1"), flush=True)
if os.fork():
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    print(run(int, "3"), flush=True)
else:
    print(run(int, "2"), flush=True)
"""
    assert python(code) == ["1", "2", "3"]


def test_the_number_of_threads_is_set_by_the_environment():
    code = f"import os; os.environ['CARBOY_THREADS'] = '3'\n{SERVED}" + (
        "from carboy.concurrency import worker_threads\nprint(worker_threads().limit)"
    )
    assert python(code) == ["3"]
    assert worker_threads() is worker_threads()
