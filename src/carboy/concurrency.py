"""The only module that touches threads and event loops.

Sync code may block, so it never runs on an event loop's thread unless its author
said that it does not block; async code runs on exactly one loop: the server's
where there is one, else a loop in a thread of its own that lives as long as the
process (so that connection pools bound to a loop work from request to request).

``asyncio`` is imported only when something async happens: it costs 37 ms.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import sys
import threading
import typing as t
import weakref
from collections import deque
from contextvars import Context, ContextVar, copy_context
from types import CoroutineType, FunctionType, MethodType

if t.TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future
    from queue import SimpleQueue

    _Call = tuple[asyncio.Future[t.Any], "_Returns", Context, t.Callable[..., t.Any], t.Any]
    _Answer = tuple[asyncio.Future[t.Any], t.Any, BaseException | None]
    """What a call returned or raised, and who waits for it."""

T = t.TypeVar("T")
P = t.ParamSpec("P")

_server_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("carboy.server_loop", default=None)
"""The loop that sent the current sync code to its thread, if one did."""

_has_begun: ContextVar[bool] = ContextVar("carboy.has_begun", default=False)
"""Whether something of this context has been in a worker thread before."""

_background_loop: asyncio.AbstractEventLoop | None = None
_workers: WorkerThreads | None = None
_long_lived: LongLivedThreads | None = None
_lock = threading.Lock()
_here = threading.local()
_NOT_ASKED_FURTHER = (FunctionType, MethodType, type)


def is_async(func: t.Callable[..., t.Any]) -> bool:
    """Return whether calling *func* gives something to await."""
    while isinstance(func, functools.partial):
        func = func.func
    if inspect.iscoroutinefunction(func):
        return True
    # PERF: the __call__ of a function, or a method, says nothing more. A class is called to make an instance, whatever
    # its __call__ is.
    return not isinstance(func, _NOT_ASKED_FURTHER) and inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


def is_on_loop() -> bool:
    """Return whether this code runs on an event loop, where it must not block."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def is_in_our_thread() -> bool:
    """Return whether the engine runs sync code in this thread: one piece of a request at a time."""
    return getattr(_here, "is_ours", False)


def step(coroutine: t.Coroutine[t.Any, t.Any, T]) -> T:
    """Run to its end a coroutine that never waits, without a loop.

    Raises:
        RuntimeError: The coroutine waited for something.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    coroutine.close()
    raise RuntimeError("A coroutine that was taken for sync code waited for something; this is a bug in carboy.")


def _forget_after_fork() -> None:
    # Threads do not survive a fork, so neither do the loop and the pool.
    global _background_loop, _workers, _long_lived, _lock, _here
    _background_loop, _workers, _long_lived, _lock, _here = None, None, None, threading.Lock(), threading.local()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def background_loop() -> asyncio.AbstractEventLoop:
    """Return this process's own event loop, started at first use."""
    global _background_loop
    if _background_loop is None:
        import asyncio

        with _lock:
            if _background_loop is None:
                # In an empty context: the loop keeps the one it is made in, which would be the first request's.
                loop = Context().run(asyncio.new_event_loop)
                threading.Thread(target=loop.run_forever, name="carboy-loop", daemon=True).start()
                _background_loop = loop
    return _background_loop


def run_blocking(coroutine: t.Coroutine[t.Any, t.Any, T], loop: asyncio.AbstractEventLoop | None = None) -> T:
    """Run *coroutine* on an event loop and wait for it in this thread.

    It runs in a copy of the current context; variables that it sets are set here
    too when it has ended.

    Args:
        loop: By default, in a thread that a server's loop sent sync code to, that
            loop, so that async resources of the application are used on one loop
            only; elsewhere the process's own.

    Raises:
        RuntimeError: The loop runs in this very thread.
    """
    try:
        loop = _loop_elsewhere(loop)
    except RuntimeError:
        coroutine.close()
        raise
    context = copy_context()
    try:
        return _Awaited(coroutine, loop, context).wait()
    finally:
        adopt(context)


class _Awaited(t.Generic[T]):
    """A coroutine that runs on an event loop while a thread waits for it.

    PERF: a lock, and a task that hands over its result itself, cost half of what
    a future of ``concurrent.futures`` and a task's callback do.
    """

    _error: BaseException | None = None

    def __init__(self, coroutine: t.Coroutine[t.Any, t.Any, T], loop: asyncio.AbstractEventLoop, context: Context):
        self._coroutine = coroutine
        self._loop = loop
        self._context = context
        self._done = threading.Lock()
        self._done.acquire()
        loop.call_soon_threadsafe(self._start)

    def wait(self) -> T:
        """Return what the coroutine returns, or raise what it raises, in another thread than the loop's."""
        try:
            self._done.acquire()
        except BaseException:
            # A signal's. Callbacks run in order, so the task has been made.
            self._loop.call_soon_threadsafe(lambda: self._task.cancel())
            raise
        error, self._error = self._error, None
        if error is None:
            return self._result
        import asyncio
        import concurrent.futures

        if isinstance(error, asyncio.CancelledError):
            # Nobody cancels a thread: for sync code this is an ordinary error.
            error = concurrent.futures.CancelledError(*error.args)
        try:
            raise error
        finally:
            # It holds this frame, which would hold it: a cycle.
            del error

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run(), context=self._context)
        self._task.add_done_callback(self._never_ran)

    async def _run(self) -> None:
        self._task.remove_done_callback(self._never_ran)
        try:
            self._result = await self._coroutine
        except BaseException as e:
            # All of them: SystemExit, raised here, would end the loop.
            self._error = _reported(e)
        finally:
            self._done.release()

    def _never_ran(self, task: asyncio.Task[None]) -> None:
        # Cancelled before its first step.
        from asyncio import CancelledError

        self._coroutine.close()
        self._error = CancelledError()
        self._done.release()


def _loop_elsewhere(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop:
    """Return *loop*, or the one for async work that sync code waits for.

    Raises:
        RuntimeError: It runs in this very thread.
    """
    import asyncio

    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if loop is None:
        loop = _server_loop.get()
        if loop is None or loop is running or not loop.is_running():
            loop = background_loop()
    if loop is running:
        raise RuntimeError(
            "Async code was called through a sync function from the event loop that has to run it, which would wait"
            " for itself. Use 'await' there, or call the sync function in a thread."
        )
    return loop


def adopt(context: Context) -> None:
    """Set here the variables that were set in *context*, a copy."""
    for variable, value in context.items():
        if variable is not _server_loop and variable.get(_missing) is not value:
            variable.set(value)


_missing = object()


def _start(
    loop: asyncio.AbstractEventLoop, coroutine: t.Coroutine[t.Any, t.Any, T], result: Future[T], context: Context
) -> None:
    # asyncio.run_coroutine_threadsafe, with the context to run in.
    from asyncio import futures

    task = loop.create_task(coroutine, context=context)
    futures._chain_future(task, result)  # type: ignore[attr-defined]


def as_sync(func: t.Callable[P, t.Coroutine[t.Any, t.Any, T]]) -> t.Callable[P, T]:
    """Return a sync function that runs the async *func* and waits for it."""

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_blocking(func(*args, **kwargs))

    return call


class WorkerThreads:
    """Threads for sync code that async code waits for: started when there is more to do, ended when long idle.

    PERF: to wake a thread costs more than most views take. So one at a time is
    being woken, goes on with all that waits, and wakes another in case a call
    blocks; what calls return goes to their loop together; and the thread that
    was busy last is busy next. docs/architecture.md has the figures.

    Calls of what has begun go before others. While threads wait for what such a
    call may give back (`lets_others_go_on`), these calls have threads beyond the limit.

    Args:
        limit: How many there are at most.
        patience: Seconds that a thread is kept with nothing to do.

    Raises:
        ValueError: *limit* is less than 1.
    """

    def __init__(self, limit: int, patience: float = 30) -> None:
        import asyncio

        if limit < 1:
            raise ValueError(f"At least one thread is needed for sync code; {limit} were asked for.")
        self.limit = limit
        self._patience = patience
        self._running_loop = asyncio.get_running_loop
        self._lock = threading.Lock()
        self._begun: deque[_Call] = deque()
        self._calls: deque[_Call] = deque()
        self._waiting = 0
        """Of the threads, how many wait for what others give back."""
        self._idle: list[threading.Lock] = []
        """Of each thread with nothing to do, what it waits for; the last one was busy last."""
        self._count = 0
        self._is_waking = False

    def run(self, context: Context, func: t.Callable[..., T], *args: t.Any) -> asyncio.Future[T]:
        """Run ``func(*args)`` inside *context*; called on the loop that waits for it.

        If the future is cancelled, a call that has not begun is left out, and of
        one that has, the result is dropped.

        Raises:
            RuntimeError: There is no thread, and the system has none left.
        """
        loop = self._running_loop()
        context.run(_server_loop.set, loop)
        returns: _Returns | None = getattr(_here, "returns", None)
        if returns is None or returns.loop() is not loop:
            returns = _here.returns = _Returns(loop)
        future: asyncio.Future[T] = loop.create_future()
        if context.get(_has_begun):
            calls = self._begun
        else:
            context.run(_has_begun.set, True)
            calls = self._calls
        with self._lock:
            calls.append((future, returns, context, func, args))
            if not self._is_waking:
                try:
                    self._wake()
                except RuntimeError:
                    calls.pop()
                    raise
        return future

    def begin_wait(self) -> None:
        """Count the current thread, one of these, among those that wait for what others give back."""
        with self._lock:
            self._waiting += 1
            if self._begun and not self._is_waking:
                self._wake()

    def end_wait(self) -> None:
        """Count it no more."""
        with self._lock:
            self._waiting -= 1

    def end(self) -> None:
        """Let each thread end as soon as it has nothing to do, from now on."""
        with self._lock:
            self._patience = 0
            while self._idle:
                self._idle.pop().release()

    def _wake(self) -> None:
        # Called with the lock held, when there is a call to run.
        if self._idle:
            self._idle.pop().release()
        elif self._count >= self.limit + (min(self._waiting, self.limit * _MORE) if self._begun else 0):
            # Each thread looks for another call when it has run its own.
            return
        else:
            try:
                # In an empty context: a thread may keep the one it is started in, which would be some request's.
                Context().run(threading.Thread(target=self._work, name="carboy-worker").start)
            except RuntimeError:
                if self._count:
                    return
                raise
            self._count += 1
        self._is_waking = True

    def _work(self) -> None:
        _here.is_ours = True
        _here.workers = self
        wake = threading.Lock()
        wake.acquire()
        is_woken = True
        is_one_too_many = False
        returns: _Returns | None = None
        answer: t.Any = None
        while True:
            with self._lock:
                if is_woken:
                    self._is_waking = is_woken = False
                call: _Call | None = None
                if self._begun:
                    call = self._begun.popleft()
                elif self._count > self.limit:
                    is_one_too_many = True
                    self._count -= 1
                elif self._calls:
                    call = self._calls.popleft()
                else:
                    self._idle.append(wake)
                if (self._begun or self._calls) and call is not None and not self._is_waking:
                    self._wake()
            if returns is not None:
                # Not before: who waits for it may have another call at once, for this thread.
                returns.add(answer)
                returns = answer = None
            if call is None:
                if is_one_too_many or (not wake.acquire(timeout=self._patience) and self._has_left(wake)):
                    return
                is_woken = True
                continue
            future, returns, context, func, args = call
            result: t.Any = None
            error: BaseException | None = None
            if not future.cancelled():
                try:
                    result = context.run(func, *args)
                except BaseException as e:
                    error = _reported(e)
            answer = future, result, error
            # Not to be kept while there is nothing to do.
            del call, future, context, func, args, result, error

    def _has_left(self, wake: threading.Lock) -> bool:
        with self._lock:
            if wake in self._idle:
                self._idle.remove(wake)
                self._count -= 1
                return True
        # It was woken at that very moment.
        wake.acquire()
        return False


_MORE = 4
"""How many times their limit worker threads may be more, while so many of them wait."""


def lets_others_go_on(func: t.Callable[P, T]) -> t.Callable[P, T]:
    """Decorate what may wait for something that other sync code gives back, such as a connection of a pool.

    If all worker threads wait so, those who would give it back need one more to do it.
    """

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        workers: WorkerThreads | None = getattr(_here, "workers", None)
        if workers is None:
            return func(*args, **kwargs)
        workers.begin_wait()
        try:
            return func(*args, **kwargs)
        finally:
            workers.end_wait()

    return call


def _reported(error: BaseException) -> BaseException:
    """Return *error* as a future takes it, without the frame that caught it.

    SECURITY: that frame goes on to other requests, whose variables would stand in
    a report of the error.
    """
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
    if not isinstance(error, StopIteration):
        return error
    # A coroutine that waits for the future would take it for the end of itself.
    instead = RuntimeError("Sync code that async code waits for raised StopIteration.")
    instead.__cause__ = error
    return instead


class _Returns:
    """What the calls of one loop returned, on its way there."""

    __slots__ = ("_is_due", "_ready", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A weak one: the thread keeps this object until it runs another loop.
        self.loop = weakref.ref(loop)
        self._ready: deque[_Answer] = deque()
        self._is_due = False

    def add(self, answer: _Answer) -> None:
        """Give a future its result soon; called in any thread."""
        self._ready.append(answer)
        if self._is_due:
            return
        self._is_due = True
        loop = self.loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            self._ready.clear()

    def _deliver(self) -> None:
        # In this order: what is added from now on comes with another call.
        self._is_due = False
        for _ in range(len(self._ready)):
            _deliver(*self._ready.popleft())


def worker_threads() -> WorkerThreads:
    """Return this process's threads for sync code that async code waits for, made at first use.

    ``CARBOY_THREADS`` in the environment sets their number; the default is 40.
    """
    global _workers
    if _workers is None:
        with _lock:
            if _workers is None:
                workers = WorkerThreads(int(os.environ.get("CARBOY_THREADS", "40")))
                try:
                    at_exit(_end_workers)
                except RuntimeError:
                    # The process is ending, and sync code is run by one of the functions that are called then.
                    workers.end()
                _workers = workers
    return _workers


def _end_workers() -> None:
    # Not a method: in the child of a fork the parent's threads are not there to be ended.
    if _workers is not None:
        _workers.end()


NO_THREAD_LEFT = (
    "All threads for long-lived connections are taken. CARBOY_LONG_LIVED_THREADS in the environment sets how many there"
    " are; async code needs none."
)


class LongLivedThreads:
    """Threads for sync code that keeps one for as long as its client stays.

    Apart from the others, so that open connections cannot starve ordinary views.
    Such code may wait for something that never comes: its threads do not keep the
    process alive.

    Args:
        limit: How many there are at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = threading.Semaphore(limit)

    def reserve(self) -> bool:
        """Set a thread aside for the next `run` or `start`; return whether there is one."""
        return self._free.acquire(blocking=False)

    def release(self) -> None:
        """Give back a thread that was reserved and not used."""
        self._free.release()

    def start(self, context: Context, func: t.Callable[..., T], *args: t.Any) -> Future[T]:
        """Begin ``func(*args)`` inside *context*, in the thread that was reserved."""
        from concurrent.futures import Future

        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            _here.is_ours = True
            try:
                result = context.run(func, *args)
            except BaseException as e:
                self._free.release()
                future.set_exception(e)
            else:
                self._free.release()
                future.set_result(result)

        threading.Thread(target=work, name="carboy-long-lived", daemon=True).start()
        return future

    async def run(self, context: Context, func: t.Callable[..., T], *args: t.Any) -> T:
        """Run ``func(*args)`` inside *context*, in the thread that was reserved."""
        import asyncio

        context.run(_server_loop.set, asyncio.get_running_loop())
        return await asyncio.wrap_future(self.start(context, func, *args))


def long_lived_threads() -> LongLivedThreads:
    """Return this process's threads for long-lived sync code, made at first use.

    ``CARBOY_LONG_LIVED_THREADS`` in the environment sets their number; the default
    is 200.
    """
    global _long_lived
    if _long_lived is None:
        with _lock:
            if _long_lived is None:
                _long_lived = LongLivedThreads(int(os.environ.get("CARBOY_LONG_LIVED_THREADS", "200")))
    return _long_lived


class IteratorThread:
    """An iterator whose items are made in one thread of its own, read by async code.

    An item is made when it is asked for, not ahead. One that is not made yet when
    the reader gives up does not hold the reader back: the thread closes the
    iterator when it can.

    Args:
        iterable: Iterated and closed in the thread.
        threads: Where a thread was reserved for it, which is released at the end.
    """

    _waiting: asyncio.Future[t.Any] | None = None
    _thread: Future[None] | None = None
    _closed = _abandoned = False

    def __init__(self, iterable: t.Iterable[t.Any], threads: LongLivedThreads) -> None:
        from queue import SimpleQueue

        self._iterable = iterable
        self._threads = threads
        self._asked: SimpleQueue[asyncio.Future[t.Any] | None] = SimpleQueue()

    def __aiter__(self) -> IteratorThread:
        return self

    async def __anext__(self) -> t.Any:
        if self._closed:
            raise StopAsyncIteration
        import asyncio

        loop = asyncio.get_running_loop()
        if self._thread is None:
            context = copy_context()
            context.run(_server_loop.set, loop)
            self._thread = self._threads.start(context, self._work, loop)
        self._waiting = loop.create_future()
        self._asked.put(self._waiting)
        item = await self._waiting
        if item is _missing:
            raise StopAsyncIteration
        return item

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        iterator: t.Iterator[t.Any] | None = None
        item: t.Any = None
        try:
            while item is not _missing and (waiting := self._asked.get()) is not None:
                error: BaseException | None = None
                try:
                    if iterator is None:
                        iterator = iter(self._iterable)
                    item = next(iterator, _missing)
                except BaseException as e:
                    item, error = _missing, e
                loop.call_soon_threadsafe(_deliver, waiting, item, error)
        finally:
            try:
                close_iterable(self._iterable if iterator is None else iterator)
            except Exception as e:
                if not self._abandoned:
                    raise
                message = "An iterator failed when it was closed, after its reader had left."
                loop.call_soon_threadsafe(loop.call_exception_handler, {"message": message, "exception": e})

    async def aclose(self) -> None:
        """Close the iterator, now or as soon as its thread has made what it is making."""
        if self._thread is None:
            self.close()
        elif not self._closed:
            self._closed = True
            waiting = self._waiting
            self._abandoned = waiting is None or waiting.cancelled() or not waiting.done()
            self._asked.put(None)
            if not self._abandoned:
                import asyncio

                await asyncio.wrap_future(self._thread)

    def close(self) -> None:
        """Close an iterator that was never read; one that was is closed by :meth:`aclose`."""
        if self._thread is None and not self._closed:
            self._closed = True
            self._threads.release()
            close_iterable(self._iterable)

    def __del__(self) -> None:
        self.close()


class IteratorTask:
    """An async iterable read by sync code: its items are made in one task on an event loop.

    An item is made when it is asked for, not ahead.

    Args:
        context: What the task runs in.
    """

    def __init__(self, iterable: t.AsyncIterable[t.Any], context: Context) -> None:
        import asyncio
        from concurrent.futures import Future
        from queue import SimpleQueue

        self._iterable = iterable
        self._items: SimpleQueue[tuple[t.Any, BaseException | None]] = SimpleQueue()
        self._asked = asyncio.Event()
        self._is_asked = self._is_making = self._is_closing = self._is_over = False
        self._result: Future[None] = Future()
        self._loop = _loop_elsewhere(None)
        self._loop.call_soon_threadsafe(_start, self._loop, self._run(), self._result, context)

    def next(self, timeout: float | None, default: t.Any) -> t.Any:
        """Return the next item; *default* if it is not there after *timeout* seconds.

        Raises:
            StopAsyncIteration: There are no more.
        """
        from queue import Empty

        if self._is_over:
            raise StopAsyncIteration
        if not self._is_asked:
            self._is_asked = True
            self._loop.call_soon_threadsafe(self._asked.set)
        try:
            item, error = self._items.get(timeout=timeout)
        except Empty:
            return default
        self._is_asked = False
        if error is not None:
            self._is_over = True
            try:
                raise error
            finally:
                # It holds this frame, which would hold it: a cycle.
                del error
        return item

    def end(self) -> None:
        """Let :meth:`next` raise ``StopAsyncIteration``, now if it waits."""
        self._items.put((None, StopAsyncIteration()))

    def close(self) -> None:
        """Close the iterator and wait until it is closed; what it makes is given up."""
        if not self._result.done():
            self._loop.call_soon_threadsafe(self._cancel)
        self._result.result()

    def _cancel(self) -> None:
        self._is_closing = True
        self._asked.set()
        if self._is_making:
            self._task.cancel()

    async def _run(self) -> None:
        import asyncio

        self._task = t.cast("asyncio.Task[None]", asyncio.current_task())
        iterator = aiter(self._iterable)
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                if self._is_closing:
                    return
                self._is_making = True
                item = await anext(iterator)
                self._is_making = False
                self._items.put((item, None))
        except BaseException as e:
            if not self._is_closing:
                self._items.put((None, e))
            if not self._is_closing and isinstance(e, asyncio.CancelledError):
                raise
        finally:
            self._is_making = False
            aclose = getattr(iterator, "aclose", None)
            if aclose is not None:
                await aclose()


def _deliver(waiting: asyncio.Future[t.Any], item: t.Any, error: BaseException | None) -> None:
    if not waiting.done():
        if error is None:
            waiting.set_result(item)
        else:
            waiting.set_exception(error)


def run_in(context: Context, func: t.Callable[[], T]) -> T:
    """Run *func* inside *context*, in this thread."""
    context.run(_server_loop.set, _server_loop.get())
    return context.run(func)


def give_up(iterator: t.Any, close: t.Callable[[], None]) -> None:
    """Close an async iterator that somebody forgot: in a task if a loop runs here, else by *close*."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        close()
    else:
        keep(loop.create_task(iterator.aclose()))


_kept: set[asyncio.Task[t.Any]] = set()


def keep(task: asyncio.Task[t.Any]) -> None:
    """Keep *task* until it is done; its loop alone does not."""
    _kept.add(task)
    task.add_done_callback(_kept.discard)


def close_iterable(iterable: t.Any) -> None:
    """Call ``close()``, if it has it."""
    close = getattr(iterable, "close", None)
    if close is not None:
        close()


def run_in_context(context: Context, func: t.Callable[..., T], *args: t.Any) -> asyncio.Future[T]:
    """Run ``func(*args)`` in a worker thread, inside *context*; await the result."""
    return (_workers or worker_threads()).run(context, func, *args)


async def run_in_thread(func: t.Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a sync function in a worker thread, in a copy of the current context.

    Context variables that *func* sets are set here too when it has returned.
    """
    context = copy_context()
    try:
        if kwargs:
            return await run_in_context(context, functools.partial(func, *args, **kwargs))
        return await run_in_context(context, func, *args)
    finally:
        adopt(context)


async def call(inline: bool, func: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Call a user's function, sync or async, from where the engine runs.

    Args:
        inline: Whether this is a thread in which sync code may block. Elsewhere,
            on a loop, sync functions go to a worker thread.
    """
    if inline:
        result = func(*args)
        return run_blocking(result) if type(result) is CoroutineType else result
    return await (func(*args) if is_async(func) else run_in_thread(func, *args))


# -- Work that outlives a request --------------------------------------------------


def current_loop() -> asyncio.AbstractEventLoop:
    """Return the loop for async work that the current code starts.

    The running one; in sync code the one that sent it to its thread; else the
    process's own.
    """
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        loop = _server_loop.get()
        return background_loop() if loop is None or not loop.is_running() else loop


async def wait_for(futures: t.Collection[Future[t.Any]], seconds: float | None, inline: bool) -> None:
    """Wait until all *futures* are done, or *seconds*; none is cancelled."""
    if inline:
        from concurrent.futures import wait

        wait(futures, seconds)
    elif futures:
        import asyncio

        await asyncio.wait([asyncio.wrap_future(future) for future in futures], timeout=seconds)


async def run_detached(coroutine: t.Coroutine[t.Any, t.Any, T]) -> T:
    """Run *coroutine* in a task and a context of its own, and wait for it.

    It goes on when whoever waits is cancelled, and sees none of its variables.
    """
    import asyncio

    return await asyncio.shield(asyncio.get_running_loop().create_task(coroutine, context=Context()))


def run_where(loop: asyncio.AbstractEventLoop | None, make: t.Callable[[bool], t.Coroutine[t.Any, t.Any, T]]) -> T:
    """Run ``make(inline)`` on *loop*, or in this thread if there is none any more, and wait for it.

    Raises:
        RuntimeError: This is the thread of the loop, which runs.
    """
    if loop is None or loop.is_closed():
        return step(make(True))
    if not loop.is_running():
        return loop.run_until_complete(make(False))
    import asyncio

    if asyncio._get_running_loop() is loop:
        raise RuntimeError("This would wait for the event loop on that loop's own thread. Use the method to await.")
    return asyncio.run_coroutine_threadsafe(make(False), loop).result()


def start_task(
    loop: asyncio.AbstractEventLoop,
    func: t.Callable[[], t.Coroutine[t.Any, t.Any, None]],
    context: Context,
    ended: t.Callable[[bool], None],
) -> t.Callable[[], None]:
    """Run ``func()`` as a task on *loop*; may be called from any thread.

    Args:
        ended: Called on the loop in the end, with whether it was cancelled.

    Returns:
        A function that cancels the task, from any thread.
    """
    tasks: list[asyncio.Task[None]] = []

    def start() -> None:
        task = loop.create_task(func(), context=context)
        tasks.append(task)
        task.add_done_callback(lambda task: ended(task.cancelled()), context=Context())

    def cancel() -> None:
        # Callbacks run in order, so the task has been made.
        loop.call_soon_threadsafe(lambda: tasks[0].cancel())

    loop.call_soon_threadsafe(start, context=Context())
    return cancel


class DaemonThreads:
    """Threads for work that must not keep the process alive, some at a time.

    Those of a ``ThreadPoolExecutor`` would: the interpreter joins them.

    Args:
        limit: Most threads at a time; what is more waits its turn.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._waiting: deque[t.Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def start(self, func: t.Callable[[], None]) -> t.Callable[[], bool]:
        """Run *func*, which must not raise, in a thread when there is one free.

        Returns:
            A function that takes *func* back, and says whether that was in time.

        Raises:
            RuntimeError: The system has no thread left.
        """
        with self._lock:
            if self._count < self._limit:
                threading.Thread(target=self._work, args=(func,), name="carboy-task", daemon=True).start()
                self._count += 1
            else:
                self._waiting.append(func)
        return functools.partial(self._take_back, func)

    def _take_back(self, func: t.Callable[[], None]) -> bool:
        with self._lock:
            try:
                self._waiting.remove(func)
            except ValueError:
                return False
            return True

    def _work(self, func: t.Callable[[], None]) -> None:
        while True:
            func()
            with self._lock:
                if not self._waiting:
                    self._count -= 1
                    return
                func = self._waiting.popleft()


def at_exit(func: t.Callable[[], t.Any]) -> None:
    """Call *func* when the process ends, while threads and executors still work.

    Also in children of :mod:`multiprocessing`, which skip :mod:`atexit`.
    """
    # Imported for its own function of this kind, which stops all executors: the last one registered is called first.
    import concurrent.futures.thread  # noqa: F401

    getattr(threading, "_register_atexit", atexit.register)(func)
