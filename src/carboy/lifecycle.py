"""Start and end of an application in one process: serving hooks, background tasks, draining.

A server that has events for it (ASGI lifespan, RSGI's ``__rsgi_init__`` and
``__rsgi_del__``) says when. Elsewhere the first request starts the application,
and the end of the event loop or of the process ends it.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
import typing as t
import weakref
from contextvars import Context, ContextVar
from functools import partial

from .background import BackgroundTasks, describe
from .concurrency import at_exit, call, run_detached, run_where, step, wait_for

if t.TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from .app import Carboy

State = t.Literal["new", "starting", "serving", "stopping", "ended"]
Generator = t.Generator[t.Any, t.Any, t.Any] | t.AsyncGenerator[t.Any, t.Any]


class StartupError(RuntimeError):
    """A serving hook failed at the start; the cause is what it raised."""


class ShutdownError(RuntimeError):
    """Serving hooks failed at the end, after which all others ran."""


class LongLived(t.Protocol):
    """What an open WebSocket or event stream is to :attr:`Lifecycle.long_lived`."""

    def end(self) -> None:
        """End it in the way that its protocol has for a server that stops."""


_changing: ContextVar[Lifecycle | None] = ContextVar("carboy.changing", default=None)
"""The lifecycle whose serving hooks the current code is called by."""


class Lifecycle:
    """The start and the end of one application in this process.

    Several may follow each other, as in tests. A forked process has its own.

    Attributes:
        draining: Whether the server is stopping: no new work should begin that
            takes long. Stays true until the next start.
        long_lived: The open WebSockets and event streams, which :meth:`drain` ends.
        state: How far it is.
        tasks: The background tasks of the application.
    """

    def __init__(self, app: Carboy) -> None:
        # Not the application itself, which holds this.
        self._app = weakref.ref(app)
        self._starts = 0
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self.draining = False
        self.long_lived: set[LongLived] = set()
        self.state: State = "new"
        self.tasks = BackgroundTasks(self._app, _watch_exit)
        self._lock = threading.Lock()
        self._pending: Future[BaseException | None] | None = None
        self._was_started = False
        self._generators: list[tuple[t.Callable[..., t.Any], Generator]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_end: t.AsyncGenerator[None, None] | None = None

    # -- The server's side -----------------------------------------------------------

    async def startup(self) -> None:
        """Run the hooks of the start, on the server's event loop; once, however often it is called.

        Raises:
            StartupError: One failed, which was logged. What had been started was
                ended.
        """
        try:
            await self._startup(inline=False)
        except StartupError as e:
            self._log(e)
            raise

    async def shutdown(self) -> None:
        """Drain, wait for background tasks, run the hooks of the end; nothing if not started.

        Raises:
            ShutdownError: Hooks failed, each of which was logged.
        """
        await self._shutdown(inline=False)

    def startup_blocking(self) -> None:
        """Like :meth:`startup`, for a server without an event loop; ends with the process."""
        try:
            step(self._startup(inline=True, at_first_use=None))
        except StartupError as e:
            self._log(e)
            raise

    def shutdown_blocking(self) -> None:
        """Like :meth:`shutdown`, from a thread, if it is to be before the process ends.

        What the first request started on an event loop that still runs is ended there.
        """
        run_where(self._loop, self._shutdown)

    def drain(self) -> None:
        """Set :attr:`draining` and end what is open for long; once."""
        if not self.draining:
            self.draining = True
            for connection in list(self.long_lived):
                try:
                    connection.end()
                except Exception:
                    self._application.logger.exception(f"{connection!r} could not be ended")

    # -- Without such a server: at first use -----------------------------------------

    async def ensure_started(self) -> None:
        """Start the application, or wait until somebody has, for a request on an event loop.

        It ends with the loop or, if that tells nobody of its end, with the process.

        Raises:
            StartupError: A hook failed. The next request tries again.
        """
        import asyncio

        if _changing.get() is not self:
            # Nothing of the request that happens to be the first is visible to the hooks.
            await run_detached(self._startup(inline=False, at_first_use=asyncio.get_running_loop()))

    def ensure_started_blocking(self) -> None:
        """Like :meth:`ensure_started`, for a request in a thread; ends with the process."""
        if _changing.get() is not self:
            Context().run(step, self._startup(inline=True, at_first_use=None))

    # -- Both --------------------------------------------------------------------------

    @property
    def _application(self) -> Carboy:
        return t.cast("Carboy", self._app())

    async def _startup(self, inline: bool, at_first_use: t.Any = False) -> None:
        if _changing.get() is self:
            # One of its own hooks uses the application.
            return
        while not self._claim("starting"):
            if self.state == "serving":
                return
            pending = self._pending
            if pending is None:
                # Just settled.
                continue
            await wait_for([pending], None, inline)
            error = pending.result()
            if error is not None:
                raise StartupError(str(error)) from error.__cause__
        try:
            await self._start(inline)
        except BaseException as e:
            self._settle("new", e if isinstance(e, StartupError) else None)
            raise
        if at_first_use is not False:
            _started.add(self._application)
            _watch_exit()
            self._loop = at_first_use
            if at_first_use is not None:
                self._loop_end = _at_end_of_loop(self, self._starts)
                await anext(self._loop_end)
        self._settle("serving", None)

    async def _shutdown(self, inline: bool) -> None:
        if _changing.get() is self:
            raise RuntimeError("A serving hook called for the shutdown, which would wait for that hook to end.")
        while not self._claim("stopping"):
            if self.state == "ended":
                return
            pending = self._pending
            if pending is not None:
                await wait_for([pending], None, inline)
        errors: list[str] = []
        try:
            self.drain()
            errors = await self._stop(inline, with_hooks=self._was_started)
        finally:
            self.tasks.reopen()
            self._loop = self._loop_end = None
            _started.discard(self._application)
            self._settle("ended", None)
        if errors:
            raise ShutdownError(" ".join(errors))

    def _claim(self, wanted: State) -> bool:
        """Set the state, if it is time for that; else there may be something pending to wait for."""
        from concurrent.futures import Future

        with self._lock:
            if wanted == "starting":
                ready = self.state in {"new", "ended"}
            else:
                # Without hooks requests start nothing, but there may be tasks and connections to end.
                ready = self.state in {"new", "serving"} or (self.state == "ended" and len(self.tasks) > 0)
            if ready:
                self._was_started = self.state == "serving"
                self.state = wanted
                self._pending = Future()
            return ready

    def _settle(self, state: State, error: BaseException | None) -> None:
        with self._lock:
            self.state = state
            pending, self._pending = self._pending, None
        # What plans say of the first request is no longer so.
        self._application._version.number += 1
        t.cast("Future[BaseException | None]", pending).set_result(error)

    async def _start(self, inline: bool) -> None:
        app = self._application
        self.draining = False
        self._starts += 1
        try:
            ctx, error = self._enter(), None
            try:
                # Not a copy: a hook may register others.
                for func in app.before_serving_funcs:
                    await _run("before_serving", func, call(inline, func))
                for make in app.while_serving_funcs:
                    generator = t.cast(Generator, make())
                    if not await _run("while_serving", make, _resume(generator, inline)):
                        raise StartupError(f"The while_serving function {describe(make)} ended without a 'yield'.")
                    self._generators.append((make, generator))
            except BaseException as e:
                error = e
                raise
            finally:
                await self._leave(ctx, error, inline)
        except BaseException:
            await self._stop(inline, with_hooks=False, at_once=True)
            self.tasks.reopen()
            raise

    async def _stop(self, inline: bool, with_hooks: bool, at_once: bool = False) -> list[str]:
        """Run all that there is to run at the end; return what went wrong, which was logged.

        Args:
            with_hooks: Whether the start was complete, so that ``after_serving`` is due.
            at_once: Cancel background tasks instead of waiting for them.
        """
        app = self._application
        errors: list[str] = []
        await self.tasks.finish(inline, at_once)
        generators, self._generators = self._generators, []
        ends: list[tuple[str, t.Callable[..., t.Any], t.Callable[[], t.Awaitable[t.Any]]]]
        ends = [("while_serving", make, partial(_finish, each, inline)) for make, each in reversed(generators)]
        if with_hooks:
            ends += [("after_serving", func, partial(call, inline, func)) for func in reversed(app.after_serving_funcs)]
        if not ends:
            return errors
        ctx = self._enter()
        for kind, func, end in ends:
            try:
                await _run(kind, func, end())
            except StartupError as e:
                errors.append(self._log(e))
        try:
            await self._leave(ctx, None, inline)
        except StartupError as e:
            errors.append(self._log(e))
        return errors

    def _enter(self) -> t.Any:
        token = _changing.set(self)
        ctx = self._application.app_context()
        ctx.push()
        return ctx, token

    async def _leave(self, entered: t.Any, error: BaseException | None, inline: bool) -> None:
        ctx, token = entered
        try:
            await ctx._pop(error, inline)
        except Exception as e:
            raise StartupError(f"A teardown_appcontext function failed after serving hooks: {_reason(e)}") from e
        finally:
            _changing.reset(token)

    def _log(self, error: StartupError) -> str:
        cause = error.__cause__ or error
        self._application.logger.error(str(error), exc_info=(type(cause), cause, cause.__traceback__))
        return str(error)

    def end_with_process(self) -> None:
        """Shut down what nobody did, when the process ends."""
        app = self._application
        try:
            # What failed was logged.
            with contextlib.suppress(ShutdownError):
                run_where(self._loop, self._shutdown)
        except Exception:
            app.logger.exception("The application could not be shut down when the process ended")

    def forget(self) -> None:
        """Begin anew, in a forked process, without ending what belongs to its parent."""
        _of_parent.append((self._generators, self._loop_end, self.tasks))
        self._begin()
        app = self._app()
        if app is not None:
            app._version.number += 1


def _reason(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def _run(kind: str, func: t.Callable[..., t.Any], work: t.Awaitable[t.Any]) -> t.Any:
    try:
        return await work
    except Exception as e:
        raise StartupError(f"The {kind} function {describe(func)} failed: {_reason(e)}") from e


async def _resume(generator: Generator, inline: bool) -> bool:
    """Run *generator* to its next ``yield``; return whether there is one."""
    if inspect.isasyncgen(generator):

        async def resume_async() -> bool:
            # Not to be closed with the others when a loop ends: what stands after its yield has to run.
            hooks = sys.get_asyncgen_hooks()
            sys.set_asyncgen_hooks(None, None)
            try:
                item = anext(generator)
            finally:
                sys.set_asyncgen_hooks(*hooks)
            try:
                await item
            except StopAsyncIteration:
                return False
            return True

        return t.cast(bool, await call(inline, resume_async))

    def resume() -> bool:
        for _ in t.cast("t.Iterable[t.Any]", generator):
            return True
        return False

    return t.cast(bool, await call(inline, resume))


async def _finish(generator: Generator, inline: bool) -> None:
    if await _resume(generator, inline):

        async def close() -> None:
            await t.cast("t.AsyncGenerator[t.Any, t.Any]", generator).aclose()

        await call(inline, close if inspect.isasyncgen(generator) else generator.close)  # type: ignore[union-attr]
        raise RuntimeError("It has more than one 'yield'.")


async def _at_end_of_loop(lifecycle: Lifecycle, start: int) -> t.AsyncGenerator[None, None]:
    """Shut down when an event loop closes its async generators, as ``asyncio.run`` has it do."""
    try:
        yield
    finally:
        if lifecycle.state == "serving" and lifecycle._starts == start:
            # What failed was logged.
            with contextlib.suppress(ShutdownError):
                await lifecycle.shutdown()


# -- The end of the process --------------------------------------------------------

_all: weakref.WeakSet[Lifecycle] = weakref.WeakSet()
_started: set[Carboy] = set()
"""Applications that were started at first use, kept until they are ended."""

_of_parent: list[t.Any] = []
"""Generators of the process that this one was forked from: kept, or they would be closed here."""

_watching = False


def _watch_exit() -> None:
    global _watching
    if not _watching:
        _watching = True
        at_exit(_end_all)


def _end_all() -> None:
    for lifecycle in {app.lifecycle for app in _started} | {each for each in _all if each.tasks}:
        lifecycle.end_with_process()


def _forget_after_fork() -> None:
    _started.clear()
    for lifecycle in list(_all):
        lifecycle.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
