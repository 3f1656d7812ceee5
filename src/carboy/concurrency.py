"""The only module that touches threads and event loops.

Sync code may block, so it never runs on an event loop's thread unless its author
said that it does not block; async code runs on exactly one loop: the server's
where there is one, else a loop in a thread of its own that lives as long as the
process (so that connection pools bound to a loop work from request to request).

``asyncio`` is imported only when something async happens: it costs 37 ms.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import typing as t
from contextvars import Context, ContextVar, copy_context

if t.TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future, ThreadPoolExecutor

T = t.TypeVar("T")
P = t.ParamSpec("P")

_server_loop: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("carboy.server_loop", default=None)
"""The loop that sent the current sync code to its thread, if one did."""

_background_loop: asyncio.AbstractEventLoop | None = None
_executor: ThreadPoolExecutor | None = None
_long_lived: LongLivedThreads | None = None
_lock = threading.Lock()


def is_async(func: t.Callable[..., t.Any]) -> bool:
    """Return whether calling *func* gives something to await."""
    while isinstance(func, functools.partial):
        func = func.func
    if inspect.iscoroutinefunction(func):
        return True
    # A class is called to make an instance, whatever its __call__ is.
    return not inspect.isclass(func) and inspect.iscoroutinefunction(getattr(func, "__call__", None))  # noqa: B004


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
    global _background_loop, _executor, _long_lived, _lock
    _background_loop, _executor, _long_lived, _lock = None, None, None, threading.Lock()


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


def run_blocking(
    coroutine: t.Coroutine[t.Any, t.Any, T],
    context: Context | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> T:
    """Run *coroutine* on an event loop and wait for it in this thread.

    Args:
        context: To run in; by default a copy of the current one.
        loop: By default, in a thread that a server's loop sent sync code to, that
            loop, so that async resources of the application are used on one loop
            only; elsewhere the process's own.

    Raises:
        RuntimeError: The loop runs in this very thread.
    """
    import asyncio
    from concurrent.futures import Future

    try:
        running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if loop is None:
        loop = _server_loop.get()
        if loop is None or loop is running or not loop.is_running():
            loop = background_loop()
    if loop is running:
        coroutine.close()
        raise RuntimeError(
            "Async code was called through a sync function from the event loop that has to run it, which would wait"
            " for itself. Use 'await' there, or call the sync function in a thread."
        )
    result: Future[T] = Future()
    copy = copy_context() if context is None else context
    loop.call_soon_threadsafe(_start, loop, coroutine, result, copy)
    try:
        return result.result()
    except BaseException:
        result.cancel()
        raise
    finally:
        # An exception in the future holds this frame, which would hold the future: a cycle.
        del result
        if context is None:
            _adopt(copy)


def _adopt(context: Context) -> None:
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


def thread_limit() -> int:
    """Return how many threads run sync code under ASGI and RSGI.

    ``CARBOY_THREADS`` in the environment sets it; the default is 40.
    """
    return int(os.environ.get("CARBOY_THREADS", "40"))


def executor() -> ThreadPoolExecutor:
    """Return the pool of threads for sync code, made at first use."""
    global _executor
    if _executor is None:
        from concurrent.futures import ThreadPoolExecutor

        with _lock:
            if _executor is None:
                _executor = ThreadPoolExecutor(thread_limit(), thread_name_prefix="carboy")
    return _executor


class LongLivedThreads:
    """Threads for sync code that keeps one for as long as its client stays.

    Apart from the others, so that open connections cannot starve ordinary views.

    Args:
        limit: How many there are at most.
    """

    def __init__(self, limit: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.limit = limit
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="carboy-long-lived")
        self._free = threading.Semaphore(limit)

    def reserve(self) -> bool:
        """Set a thread aside for the next `run`; return whether there is one."""
        return self._free.acquire(blocking=False)

    async def run(self, context: Context, func: t.Callable[..., T], *args: t.Any) -> T:
        """Run ``func(*args)`` inside *context*, in the thread that was reserved."""
        import asyncio

        loop = asyncio.get_running_loop()
        context.run(_server_loop.set, loop)
        future = self._executor.submit(context.run, func, *args)
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)


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


async def run_in_context(context: Context, func: t.Callable[..., T], *args: t.Any) -> T:
    """Run ``func(*args)`` in a worker thread, inside *context*."""
    import asyncio

    loop = asyncio.get_running_loop()
    context.run(_server_loop.set, loop)
    return await loop.run_in_executor(executor(), context.run, func, *args)


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
        _adopt(context)


async def call(inline: bool, func: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Call a user's function, sync or async, from where the engine runs.

    Args:
        inline: Whether this is a thread in which sync code may block. Elsewhere,
            on a loop, sync functions go to a worker thread.
    """
    if is_async(func):
        return run_blocking(func(*args)) if inline else await func(*args)
    return func(*args) if inline else await run_in_thread(func, *args)
