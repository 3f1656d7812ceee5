"""One run of a job: inside the application's context, with its time limit, and what comes of it."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import traceback
import typing as t
from contextvars import ContextVar, copy_context
from urllib.parse import urlsplit

from werkzeug.local import LocalProxy

from carboy import Carboy
from carboy.concurrency import LongLivedThreads, is_on_loop

from . import clock
from .engines.contract import Claim, Engine, Outcome, State
from .handles import JobCancelled
from .message import Message, PayloadError, encode_message, encode_value

if t.TYPE_CHECKING:
    from carboy.context import AppContext

    from .job import Job
    from .settings import Settings

_ERROR_LENGTH = 32 * 1024
_DEAD_WEIGHT = 5.0
"""Seconds that a thread has to end after it was told that its job's time is over."""


class JobTimeout(Exception):
    """A run took longer than its job's ``timeout``. Raised in the job, which may tidy up."""


class Retry(Exception):
    """Raised by a job to be tried again: after *after* seconds, or after the pause of its ``backoff``."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__(after)
        self.after = after


class GiveUp(Exception):
    """Raised by a job that is not worth another try: it is dead at once. The arguments say why."""


class Run:
    """A job while it runs; ``current_job`` in its code.

    Attributes:
        id: The job's id, the same for each attempt.
        name: Its name.
        queue: The queue that it came from.
        attempt: Which attempt this is, from 1 on.
        retries: How many more there may be after the first.
        headers: What was stored with it: ``request_id``, ``base_url``, ``traceparent``, where there was one.
    """

    def __init__(
        self, app: Carboy, job: Job[..., t.Any], claim: Claim, message: Message, engine: Engine, settings: Settings
    ) -> None:
        self.id = message.id
        self.name = message.name
        self.queue = message.queue
        self.attempt = claim.attempt
        self.retries = message.retries
        self.headers = message.headers
        self.claim = claim
        self.message = message
        self.job = job
        self.is_cancelled = False
        self.is_given_back = False
        self.task: asyncio.Task[t.Any] | None = None
        self._app = app
        self._engine = engine
        self._settings = settings
        self._thread: int | None = None
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<job {self.name} {self.id}, attempt {self.attempt}>"

    def progress(self, value: t.Any) -> t.Any:
        """Store how far the job is: a number, a text, or whatever JSON has. To be awaited in async code.

        Raises:
            JobCancelled: Somebody has cancelled the job, or another worker has it.
            PayloadError: It cannot be stored.
        """
        coroutine = self._set_progress(value)
        if is_on_loop():
            return coroutine
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _set_progress(self, value: t.Any) -> None:
        body = encode_value(value, f"The progress of the job {self.name!r}", self._settings.max_payload)
        if not await self._engine.set_progress(self.claim, body):
            raise JobCancelled(f"The job {self.id} was cancelled.")

    # -- The worker's side -----------------------------------------------------------

    def stop(self) -> None:
        """Interrupt it: in async code at its next ``await``, in sync code at its next line of Python."""
        if self._thread is not None:
            self._interrupt(JobCancelled)
        elif self.task is not None:
            self.task.cancel()

    async def execute(self, threads: LongLivedThreads) -> Outcome:
        """Run it, and return how it ended."""
        try:
            bound = self.job.signature.convert(self.message.args, self.message.kwargs)
            if self.job.is_async:
                result = await self._in_task(bound)
            else:
                result = await self._in_thread(bound, threads)
            return self._done(result)
        except asyncio.CancelledError:
            if not (self.is_cancelled or self.is_given_back):
                raise
            return self._stopped()
        except JobCancelled:
            return self._stopped()
        except GiveUp:
            return self._failed(is_final=True, log=False)
        except Retry as e:
            return self._failed(after=e.after, log=False)
        except PayloadError:
            # Another try would have the same arguments, and the same result.
            return self._failed(is_final=True)
        except BaseException:
            return self._failed()

    async def _in_task(self, bound: t.Any) -> t.Any:
        try:
            async with asyncio.timeout(self.job.options.timeout) as limit:
                async with self._app.app_context() as ctx:
                    self._enter(ctx)
                    return await self.job.func(*bound.args, **bound.kwargs)
        except TimeoutError:
            if limit.expired():
                raise JobTimeout(self._over()) from None
            raise

    async def _in_thread(self, bound: t.Any, threads: LongLivedThreads) -> t.Any:
        if not threads.reserve():
            raise RuntimeError(
                "No thread is free: jobs that do not end have taken them all. Give sync code that waits for others a"
                " time limit of its own."
            )
        running = asyncio.ensure_future(threads.run(copy_context(), self._call, bound))
        timeout = self.job.options.timeout
        done, _ = await asyncio.wait({running}, timeout=timeout)
        if not done:
            self._interrupt(JobTimeout)
            done, _ = await asyncio.wait({running}, timeout=_DEAD_WEIGHT)
            if not done:
                running.add_done_callback(lambda future: future.cancelled() or future.exception())
                self._app.logger.error(
                    "%r does not end, and keeps a thread: it waits for something without a time limit", self
                )
                raise JobTimeout(self._over())
        return await running

    def _call(self, bound: t.Any) -> t.Any:
        with self._lock:
            self._thread = threading.get_ident()
        try:
            with self._app.app_context() as ctx:
                self._enter(ctx)
                return self.job.func(*bound.args, **bound.kwargs)
        except JobTimeout as e:
            raise JobTimeout(self._over()) from e
        finally:
            # After this, nothing is raised here any more that was meant for the job.
            with self._lock:
                self._thread = None

    def _interrupt(self, error: type[Exception]) -> None:
        with self._lock:
            if self._thread is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(error))

    def _over(self) -> str:
        return f"The job {self.name!r} has run for longer than its {self.job.options.timeout} s."

    def _enter(self, ctx: AppContext) -> None:
        _current.set(self)
        base = self.headers.get("base_url")
        if base:
            parts = urlsplit(base)
            ctx.url_adapter = self._app.url_map.bind(
                parts.netloc, script_name=parts.path or "/", url_scheme=parts.scheme
            )

    # -- Outcomes ------------------------------------------------------------------------

    def _done(self, result: t.Any) -> Outcome:
        stored = None
        if result is not None:
            stored = encode_value(result, f"What {self.name!r} returned", self._settings.max_payload)
        follow = None
        if self.message.then:
            follow = self._next(result)
        return Outcome(
            claim=self.claim,
            state="done",
            result=stored,
            then=follow,
            expires_at=clock.now() + self.job.options.keep,
        )

    def _next(self, result: t.Any) -> tuple[Message, bytes]:
        first, *rest = self.message.then
        first.args = [result, *first.args]
        first.then = rest
        first.member = self.message.member
        first.headers = self.headers | first.headers
        first.run_at = max(first.run_at, clock.now())
        return first, encode_message(first, self._settings.max_payload)

    def _stopped(self) -> Outcome:
        if self.is_given_back and not self.is_cancelled:
            return Outcome(claim=self.claim, state="queued", is_attempt=False)
        return Outcome(claim=self.claim, state="cancelled", expires_at=clock.now() + 86400)

    def _failed(self, *, is_final: bool = False, after: float | None = None, log: bool = True) -> Outcome:
        error = traceback.format_exc()[-_ERROR_LENGTH:]
        if is_final or self.attempt > self.retries:
            self._app.logger.error("%r has failed for good", self, exc_info=log)
            return Outcome(claim=self.claim, state="dead", error=error)
        pause = self.job.options.pause(self.attempt) if after is None else after
        self._app.logger.warning("%r has failed, and is tried again in %.1f s", self, pause, exc_info=log)
        state: State = "scheduled" if pause > 0 else "queued"
        return Outcome(claim=self.claim, state=state, run_at=clock.now() + pause, error=error)


_current: ContextVar[Run] = ContextVar("carboy.job")

current_job: Run = LocalProxy(  # type: ignore[assignment]
    _current,
    unbound_message="No job is running here: this code was called outside of a worker.",
)
"""The job that is running."""
