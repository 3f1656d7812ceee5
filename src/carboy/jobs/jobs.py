"""``Jobs``: what an application's code has in hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import typing as t
import weakref
from datetime import UTC, datetime
from pathlib import Path

from carboy import Carboy, current_app, has_request_context, request
from carboy.concurrency import is_on_loop, run_blocking
from carboy.lazy import lazy

from . import clock
from .embedded import EmbeddedWorker, is_wanted
from .engines import Engine, Open, engine_for
from .engines.contract import Limit, Query, Record
from .handles import JobFailed, Queued
from .identity import new_id
from .job import Job, Options, Prepared, Seconds, seconds_of
from .message import Member, Message, encode_message
from .running import _current
from .schedules import Misfire, Schedule, ScheduleClock
from .settings import Settings

P = t.ParamSpec("P")
R = t.TypeVar("R")
T = t.TypeVar("T")

EXTENSION = "carboy.jobs"
"""The key of an application's engines in ``app.extensions``."""

_GROUP_KEPT = 7 * 86400.0

Encoded = tuple[Message, bytes]
Group = tuple[str, int, Encoded | None, float]
"""What `Engine.open_group` is given."""


class Jobs:
    """The background jobs of an application.

    Args:
        app: Given to `init_app`.

    Example::

        jobs = Jobs(app)

        @jobs.job(retries=5)
        def send_welcome(user_id: int) -> None: ...

        @app.post("/users")
        def register():
            …
            send_welcome.enqueue(user.id)

    Attributes:
        registry: The functions that can be queued, by name.
        schedules: What is queued at certain times.
    """

    def __init__(self, app: Carboy | None = None) -> None:
        self.registry: dict[str, Job[..., t.Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self.aio = AsyncJobs(self)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Carboy) -> None:
        """Give *app* its jobs, and at the first use the engine that its configuration names.

        Raises:
            RuntimeError: The application has jobs already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError(f"{app!r} has jobs already. Make one Jobs for an application.")
        from .commands import jobs_command

        state = app.extensions[EXTENSION] = JobsState(self, app)
        app.shell_context_processor(lambda: {"jobs": self})
        app.cli.add_command(jobs_command)
        app.while_serving(state.serve)

    @property
    def of_app(self) -> JobsState:
        """What belongs to the current application.

        Raises:
            RuntimeError: No application is active, or these jobs were not given to it.
        """
        state = current_app.extensions.get(EXTENSION)
        if not isinstance(state, JobsState) or state.jobs is not self:
            raise RuntimeError(
                f"These Jobs were not connected to {current_app.name!r}. Call jobs.init_app(app) when you make the"
                " application."
            )
        return state

    async def engine(self) -> Engine:
        """Return the current application's engine on the running event loop, connected."""
        return await self.of_app.engine()

    def either(self, coroutine: t.Coroutine[t.Any, t.Any, T]) -> t.Any:
        """Return what *coroutine* returns; in async code the coroutine, to be awaited."""
        if not is_on_loop():
            return run_blocking(coroutine)
        return coroutine

    # -- Declaring ---------------------------------------------------------------------

    @t.overload
    def job(self, func: t.Callable[P, t.Coroutine[t.Any, t.Any, R]], /) -> Job[P, R]: ...
    @t.overload
    def job(self, func: t.Callable[P, R], /) -> Job[P, R]: ...
    @t.overload
    def job(self, /, *, name: str | None = None, **options: t.Any) -> _Decorator: ...
    def job(self, func: t.Any = None, /, *, name: str | None = None, **options: t.Any) -> t.Any:
        """Make a job of a function, sync or async; with or without parentheses.

        Args:
            func: The function.
            name: What workers know it by; its module and name by default. Keep it when you move the function: jobs that
                wait have it.
            **options: See `Options`.

        Raises:
            ValueError: An option cannot be, or the name is taken.
            TypeError: There is no such option.
        """
        found = Options(**{key: _in_seconds(key, value) for key, value in options.items()})

        def decorate(func: t.Callable[..., t.Any]) -> Job[..., t.Any]:
            return self._register(func, name, found)

        return decorate if func is None else decorate(func)

    def _register(self, func: t.Callable[..., t.Any], name: str | None, options: Options) -> Job[..., t.Any]:
        called = name or f"{func.__module__}.{func.__qualname__}".replace(".<locals>", "")
        if len(called) > 200 or "/" in called:
            raise ValueError(f"{called!r} is no name of a job: it has at most 200 characters, none of them '/'.")
        before = self.registry.get(called)
        if before is not None and before.func.__code__ is not getattr(func, "__code__", None):
            raise ValueError(f"There is a job {called!r} already. Give one of them another name: @jobs.job(name=…).")
        job: Job[..., t.Any] = Job(self, func, called, options)
        self.registry[called] = job
        return job

    def schedule(
        self,
        cron: str | None = None,
        *,
        every: Seconds | None = None,
        tz: str = "UTC",
        misfire: Misfire = "latest",
        args: tuple[t.Any, ...] = (),
        kwargs: dict[str, t.Any] | None = None,
        name: str | None = None,
    ) -> t.Callable[[T], T]:
        """Queue a job at certain times. Every worker may watch the clock: each time is taken once.

        Args:
            cron: Five fields (minute, hour, day of the month, month, day of the week), or six with seconds first.
            every: A duration instead, in seconds or as a timedelta; its times are multiples since 1970.
            tz: The time zone of *cron*. Where clocks are put back or forward, a time that exists twice is taken once,
                and one that does not exist is taken at the next moment that does.
            misfire: What becomes of times when no worker was there: the ``"latest"`` is made up for, ``"all"`` are, or
                none (``"skip"``).
            args: What the job is given.
            kwargs: The same by name.
            name: Tells it from other schedules of the same job; the job's name by default.

        Raises:
            ValueError: The times cannot be read, or the time zone is unknown.
        """

        def decorate(target: T) -> T:
            job = target if isinstance(target, Job) else self.job(t.cast(t.Any, target))
            schedule = Schedule(job, name or job.name, cron, every, tz, misfire, args, kwargs or {})
            if schedule.name in self.schedules and self.schedules[schedule.name].job.name != job.name:
                raise ValueError(f"There is a schedule {schedule.name!r} already. Give one of them another name.")
            self.schedules[schedule.name] = schedule
            return t.cast(T, job)

        return decorate

    def limits(self) -> dict[str, Limit]:
        """Return the limits that workers share, by the name of the job."""
        found = {name: job.options.limit() for name, job in self.registry.items()}
        return {name: limit for name, limit in found.items() if limit is not None}

    def queues(self) -> list[str]:
        """Return the queues of all jobs that are declared, ``default`` first."""
        return ["default", *sorted({job.options.queue for job in self.registry.values()} - {"default"})]

    # -- Queueing ------------------------------------------------------------------------

    def enqueue(self, prepared: Prepared[R]) -> Queued[R]:
        """Queue one job; to be awaited in async code."""
        if is_on_loop():
            return t.cast("Queued[R]", self._enqueue_one(prepared))
        return self.of_app.put_blocking([prepared.message])[0]

    async def _enqueue_one(self, prepared: Prepared[R]) -> Queued[R]:
        return (await self.of_app.put([prepared.message]))[0]

    def enqueue_all(self, prepared: t.Iterable[Prepared[R]]) -> list[Queued[R]]:
        """Queue several jobs, all or none; to be awaited in async code."""
        messages = [one.message for one in prepared]
        if is_on_loop():
            return t.cast("list[Queued[R]]", self.of_app.put(messages))
        return self.of_app.put_blocking(messages)

    def drain(self) -> list[Record]:
        """Run here what is due, one job after the other, until there is nothing: for tests.

        To be awaited in async code.

        Returns:
            The jobs, in the order in which they ran; one that was tried again stands there once for each run.
        """
        found: list[Record] = self.either(self.of_app.drain())
        return found

    def queued(self, job: Job[..., t.Any] | None = None) -> list[Record]:
        """Return what waits, the oldest first: for tests. To be awaited in async code.

        Args:
            job: Only of this function.
        """
        found: list[Record] = self.either(self.of_app.waiting(None if job is None else job.name))
        return found

    def get(self, job_id: str) -> Queued[t.Any]:
        """Return the job of an id that you have kept; whether it exists, its methods say."""
        return Queued(self, job_id)

    def chain(self, *steps: Prepared[t.Any]) -> Queued[t.Any]:
        """Queue jobs that run one after the other, each with the result of the one before as its first argument.

        To be awaited in async code.

        Returns:
            The first; the others have ids of their own.

        Raises:
            ValueError: There is none.
        """
        if not steps:
            raise ValueError("A chain has at least one job.")
        first, *rest = [step.message for step in steps]
        first.then = [*first.then, *rest]
        return self.enqueue(Prepared(self, first))

    def group(self, members: t.Iterable[Prepared[t.Any]], then: Prepared[t.Any] | None = None) -> list[Queued[t.Any]]:
        """Queue jobs that run side by side, and then one that is given the list of their results, in their order.

        To be awaited in async code. While a member is dead, the last one waits: it is queued when that was retried with
        success.

        Raises:
            ValueError: There is no member.
        """
        messages = [member.message for member in members]
        if not messages:
            raise ValueError("A group has at least one job.")
        name = new_id()
        for index, message in enumerate(messages):
            message.member = Member(name, index)
        last = None if then is None else then.message
        if is_on_loop():
            return t.cast("list[Queued[t.Any]]", self.of_app.put(messages, group=(name, last)))
        return self.of_app.put_blocking(messages, group=(name, last))


class _Decorator(t.Protocol):
    """What ``@jobs.job(…)`` is, for type checkers."""

    @t.overload
    def __call__(self, func: t.Callable[P, t.Coroutine[t.Any, t.Any, R]], /) -> Job[P, R]: ...
    @t.overload
    def __call__(self, func: t.Callable[P, R], /) -> Job[P, R]: ...


class AsyncJobs:
    """The async side of `Jobs`, under the same names: for type checkers, and for code that is async only."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def enqueue(self, prepared: Prepared[R]) -> Queued[R]:
        """See `Jobs.enqueue`."""
        return (await self._jobs.of_app.put([prepared.message]))[0]

    async def enqueue_all(self, prepared: t.Iterable[Prepared[R]]) -> list[Queued[R]]:
        """See `Jobs.enqueue_all`."""
        return await self._jobs.of_app.put([one.message for one in prepared])

    async def drain(self) -> list[Record]:
        """See `Jobs.drain`."""
        return await self._jobs.of_app.drain()

    async def queued(self, job: Job[..., t.Any] | None = None) -> list[Record]:
        """See `Jobs.queued`."""
        return await self._jobs.of_app.waiting(None if job is None else job.name)

    async def chain(self, *steps: Prepared[t.Any]) -> Queued[t.Any]:
        """See `Jobs.chain`."""
        return await t.cast("t.Awaitable[Queued[t.Any]]", self._jobs.chain(*steps))

    async def group(
        self, members: t.Iterable[Prepared[t.Any]], then: Prepared[t.Any] | None = None
    ) -> list[Queued[t.Any]]:
        """See `Jobs.group`."""
        return await t.cast("t.Awaitable[list[Queued[t.Any]]]", self._jobs.group(members, then))


class JobsState:
    """The jobs of one application: its settings, and an engine for each event loop.

    Attributes:
        jobs: Whose.
    """

    def __init__(self, jobs: Jobs, app: Carboy) -> None:
        self.jobs = jobs
        self._app = weakref.ref(app)
        self._make: Open | None = None
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        """Begin anew, leaving connections to whom they belong."""
        self._engines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Engine]] = (
            weakref.WeakKeyDictionary()
        )
        self._putters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Putter] = weakref.WeakKeyDictionary()
        self._blocking: t.Any = None

    @property
    def app(self) -> Carboy:
        """The application."""
        return t.cast(Carboy, self._app())

    @lazy
    def settings(self) -> Settings:
        """What the configuration said at the first use.

        Raises:
            ValueError: A setting cannot be used.
        """
        return Settings.of(self.app)

    async def serve(self) -> t.AsyncGenerator[None, None]:
        """Run the jobs in the process that serves, if that is wanted; close the engine in the end."""
        worker = EmbeddedWorker(self) if is_wanted(self) else None
        if worker is not None:
            worker.start()
        yield
        if worker is not None:
            await worker.stop()
        await self.close()

    def make_engine(self) -> Engine:
        """Return a new engine, not connected yet.

        Raises:
            JobsURLError: JOBS_URL cannot be used.
            ValueError: It cannot do what a job asks for.
        """
        if self._make is None:
            self._make = engine_for(self._url(), Path(self.app.instance_path))
        engine = self._make()
        for job in self.jobs.registry.values():
            self._check(job, engine)
        return engine

    def _url(self) -> str:
        if self.settings.url is not None:
            return self.settings.url
        url = self.database_url()
        return "sqlite:///" if url is None else url.render_as_string(hide_password=False)

    def _check(self, job: Job[..., t.Any], engine: Engine) -> None:
        wants = {"priorities": job.options.priority != 0, "limits": job.options.limit() is not None}
        for what, reason in engine.lacks.items():
            if wants[what]:
                raise ValueError(f"The job {job.name!r} asks for {what}, which this engine does not have: {reason}")

    async def engine(self) -> Engine:
        """Return the engine of the running event loop, connected at the first use."""
        loop = asyncio.get_running_loop()
        task = self._engines.get(loop)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._engines[loop] = loop.create_task(self._open())
        return await asyncio.shield(task)

    async def _open(self) -> Engine:
        engine = self.make_engine()
        await engine.open()
        return engine

    async def close(self) -> None:
        """Close the running event loop's engine, and the one for sync code."""
        loop = asyncio.get_running_loop()
        self._putters.pop(loop, None)
        task = self._engines.pop(loop, None)
        if task is not None:
            with contextlib.suppress(Exception):  # It could not be opened: who asked for it was told.
                await (await task).close()
        blocking, self._blocking = self._blocking, None
        if blocking is not None:
            await blocking.close()

    # -- For tests ---------------------------------------------------------------------------

    async def drain(self) -> list[Record]:
        """See `Jobs.drain`."""
        from .worker import Worker

        return await Worker(self).run_due()

    async def _put_eagerly(self, engine: Engine, encoded: list[Encoded]) -> list[str]:
        ids = await engine.put(encoded)
        for record in await self.drain():
            if record.state != "done" and record.id in ids:
                raise JobFailed(record.error or record.state)
        return ids

    async def waiting(self, name: str | None) -> list[Record]:
        """See `Jobs.queued`."""
        names = () if name is None else (name,)
        query = Query(states=("queued", "scheduled", "parked"), names=names, limit=10_000)
        return (await (await self.engine()).find(query))[::-1]

    # -- Schedules ---------------------------------------------------------------------------

    def clock_for(self, engine: Engine) -> ScheduleClock:
        """Return a clock that watches the schedules."""

        async def take(schedule: Schedule, slot: float) -> bool:
            message = schedule.job.prepare(*schedule.args, **schedule.kwargs).message
            message.headers = {"slot": datetime.fromtimestamp(slot, UTC).isoformat()}
            return await engine.take_slot(schedule.name, slot, self._encode([message])[0])

        return ScheduleClock(self.jobs.schedules, take, engine.last_slot)

    # -- Putting ---------------------------------------------------------------------------

    async def put(
        self, messages: list[Message], group: tuple[str, Message | None] | None = None
    ) -> list[Queued[t.Any]]:
        """Queue jobs, from the event loop."""
        encoded = self._encode(messages)
        opened = None if group is None else self._group(len(messages), *group)
        session = self._pending_session()
        if session is not None:
            from .transactions import put_async

            return self._queued(messages, await put_async(self, session, encoded, opened))
        engine = await self.engine()
        if opened is not None:
            await engine.open_group(*opened)
        if self.settings.eager:
            return self._queued(messages, await self._put_eagerly(engine, encoded))
        loop = asyncio.get_running_loop()
        putter = self._putters.get(loop)
        if putter is None:
            putter = self._putters[loop] = _Putter(engine)
        return self._queued(messages, await putter.put(encoded))

    def put_blocking(
        self, messages: list[Message], group: tuple[str, Message | None] | None = None
    ) -> list[Queued[t.Any]]:
        """Queue jobs, from sync code."""
        session = self._pending_session()
        if session is not None:
            from .transactions import put

            opened = None if group is None else self._group(len(messages), *group)
            return self._queued(messages, put(self, session, self._encode(messages), opened))
        # PERF: an engine that can is spared the way to an event loop and back.
        engine = self.blocking_engine()
        if engine is None or group is not None or self.settings.eager:
            return run_blocking(self.put(messages, group))
        return self._queued(messages, engine.put_now(self._encode(messages)))

    def _pending_session(self) -> t.Any:
        """Return the current session of the application's database, if it has something to commit."""
        if "carboy.db" not in self.app.extensions:
            return None
        from .transactions import pending_session

        return pending_session(self.app)

    def blocking_engine(self) -> t.Any:
        """Return an engine with ``put_now``, which needs no event loop; None if this kind has none."""
        if self._blocking is None:
            engine = self.make_engine()
            self._blocking = engine if hasattr(engine, "put_now") else False
        return self._blocking or None

    def database_url(self) -> t.Any:
        """Return the URL of the application's database for SQLAlchemy; None if it has none."""
        state = self.app.extensions.get("carboy.db")
        return None if state is None else state.engines.urls(None).sync

    def _encode(self, messages: list[Message], *, check: bool = True) -> list[Encoded]:
        headers = _headers()
        limit = self.settings.max_payload
        for message in messages:
            job = self.jobs.registry.get(message.name)
            if job is not None and check:
                job.signature.check(tuple(message.args), message.kwargs)
            message.headers = headers | message.headers
        return [(message, encode_message(message, limit)) for message in messages]

    def _group(self, size: int, name: str, last: Message | None) -> Group:
        then = None if last is None else self._encode([last], check=False)[0]
        return name, size, then, clock.now() + _GROUP_KEPT

    def _queued(self, messages: list[Message], ids: list[str]) -> list[Queued[t.Any]]:
        pairs = zip(messages, ids, strict=True)
        return [Queued(self.jobs, job_id, is_new=job_id == message.id) for message, job_id in pairs]


_all: weakref.WeakSet[JobsState] = weakref.WeakSet()


def _forget_after_fork() -> None:
    for state in _all:
        state._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class _Putter:
    """Puts together what is queued at the same time: the rate of a full engine, without anybody waiting for others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[tuple[list[Encoded], asyncio.Future[list[str]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, messages: list[Encoded]) -> list[str]:
        """Put jobs, and return what `Engine.put` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()
        self._waiting.append((messages, future))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._put_all())
        return await future

    async def _put_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                ids = await self._engine.put([one for messages, _ in batch for one in messages])
            except Exception as e:
                if len(batch) > 1:
                    await self._put_each(batch)
                elif not batch[0][1].done():
                    batch[0][1].set_exception(e)
                continue
            for messages, future in batch:
                if not future.done():
                    future.set_result(ids[: len(messages)])
                del ids[: len(messages)]

    async def _put_each(self, batch: list[tuple[list[Encoded], asyncio.Future[list[str]]]]) -> None:
        # One that cannot be put shall not take the others with it. What was put already is not put again.
        for messages, future in batch:
            try:
                ids = await self._engine.put(messages)
            except Exception as e:
                if not future.done():
                    future.set_exception(e)
            else:
                if not future.done():
                    future.set_result(ids)


def _headers() -> dict[str, str]:
    """Return what a job takes along from the request, or the job, that queues it."""
    if has_request_context():
        found = {"base_url": request.url_root}
        for header in ("X-Request-ID", "traceparent", "tracestate"):
            value = request.headers.get(header)
            if value:
                found[header.lower().replace("x-request-id", "request_id")] = value[:200]
        return found
    run = _current.get(None)
    return {} if run is None else dict(run.headers) | {"parent": run.id}


def _in_seconds(key: str, value: t.Any) -> t.Any:
    return value if value is None or key not in ("timeout", "keep") else seconds_of(value)
