"""The worker: takes jobs from an engine and runs them, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import typing as t

from carboy.concurrency import LongLivedThreads

from . import clock
from .engines.contract import Claim, Engine, Outcome, Record, Wanted, WorkerInfo
from .identity import new_id
from .message import PayloadError, decode_message
from .running import Run

if t.TYPE_CHECKING:
    from .jobs import JobsState

_IDLE = 1.0
"""Seconds after which a worker looks around, whoever woke it or not."""
_BEAT = 10.0
"""Seconds between two signs of life."""
_OUTBOX = 5.0
"""Seconds between two looks for jobs that were committed with data, and left behind."""
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
"""Seconds between tries to reach an engine that does not answer, at first and at most."""
_GRACE = 2.0
"""Seconds that what was interrupted has to end."""


class Worker:
    """Runs jobs of one application.

    Args:
        state: Of the application.
        queues: Which; all that its jobs name, by default.
        concurrency: How many jobs at the same time; by default JOBS_CONCURRENCY.
    """

    def __init__(self, state: JobsState, queues: t.Sequence[str] | None = None, concurrency: int | None = None) -> None:
        self._state = state
        self._app = state.app
        self._logger = self._app.logger
        jobs = state.jobs
        self.concurrency = concurrency or state.settings.concurrency
        self.wanted = Wanted(
            worker=new_id(),
            queues=tuple(queues or jobs.queues()),
            names=frozenset(jobs.registry),
            limits=jobs.limits(),
            lease=state.settings.lease,
        )
        self.started_at = clock.now()
        self._runs: dict[str, tuple[Claim, Run | None]] = {}
        # One more for each that has outlived its time limit, so that they do not take the others' places.
        self._threads = LongLivedThreads(self.concurrency * 2)
        self._outcomes: list[Outcome] = []
        self._ended = asyncio.Event()
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._sweep_at = 0.0

    def stop(self) -> None:
        """Take no more jobs, and end when those that run have ended; called again, give them back at once."""
        if self._stopping.is_set():
            self._give_back()
        self._stopping.set()
        self._freed.set()

    async def run(self) -> None:
        """Work until `stop` is called."""
        engine = await self._reach()
        settler = asyncio.create_task(self._settle_all(engine))
        beside = (self._renew_all, self._beat_all, self._watch_clock, self._hand_over)
        helpers = [asyncio.create_task(work(engine)) for work in beside]
        self._logger.info("Worker %s takes jobs from %s", self.wanted.worker, ", ".join(self.wanted.queues))
        try:
            await self._take_all(engine)
            await self._drain()
        finally:
            for helper in (settler, *helpers):
                helper.cancel()
            await asyncio.gather(settler, *helpers, return_exceptions=True)
            with contextlib.suppress(Exception):
                await engine.beat(self._info(concurrency=0))

    async def _reach(self) -> Engine:
        pause = _FIRST_PAUSE
        while True:
            try:
                engine = await self._state.engine()
                self._sweep_at = 0.0
                return engine
            except (ValueError, TypeError):
                raise
            except Exception as e:
                if self._stopping.is_set():
                    raise
                pause = await self._pause(e, pause)

    async def _pause(self, error: Exception, pause: float) -> float:
        self._logger.error("The engine of jobs does not answer, trying again: %s", error)
        if self._stopping.is_set():
            await asyncio.sleep(_FIRST_PAUSE)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
        return min(pause * 2, _LAST_PAUSE)

    async def run_due(self) -> list[Record]:
        """Run what is due, one job after the other, until there is nothing: for tests.

        Returns:
            The jobs, in the order in which they ran.
        """
        engine = await self._state.engine()
        watch = self._state.clock_for(engine)
        ran: list[Record] = []
        while True:
            await watch.tick()
            await engine.sweep(self.wanted)
            claims = await engine.claim(self.wanted, 1)
            if not claims:
                return ran
            self._start(claims[0], engine)
            run = self._runs.pop(claims[0].id)[1]
            if run is not None and run.task is not None:
                await run.task
            outcomes, self._outcomes = self._outcomes, []
            await engine.settle(outcomes)
            record = await engine.get(claims[0].id)
            if record is not None:
                ran.append(record)

    # -- Taking ------------------------------------------------------------------------

    async def _take_all(self, engine: Engine) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            free = self.concurrency - len(self._runs)
            if free <= 0:
                self._freed.clear()
                await self._freed.wait()
                continue
            try:
                if clock.now() >= self._sweep_at:
                    await self._sweep(engine)
                claims = await engine.claim(self.wanted, free)
                for claim in claims:
                    self._start(claim, engine)
                if not claims:
                    await self._wait(engine)
                pause = _FIRST_PAUSE
            except Exception as e:
                pause = await self._pause(e, pause)

    async def _sweep(self, engine: Engine) -> None:
        due = await engine.sweep(self.wanted)
        self._sweep_at = clock.now() + _IDLE
        if due is not None:
            self._sweep_at = min(self._sweep_at, due)

    async def _wait(self, engine: Engine) -> None:
        """Wait for the engine to have something, or for the time to look after it."""
        woken = asyncio.ensure_future(engine.wait(max(0.0, min(_IDLE, self._sweep_at - clock.now()))))
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({woken, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not woken.done():
                woken.cancel()
        if woken.done() and not woken.cancelled():
            woken.result()

    def _start(self, claim: Claim, engine: Engine) -> None:
        outcome = None
        run = None
        try:
            message = decode_message(claim.body)
        except PayloadError as e:
            outcome = Outcome(claim=claim, state="dead", error=str(e))
        else:
            job = self._state.jobs.registry.get(message.name)
            if job is None:
                self._logger.warning(
                    "No function is known for the job %r (%s): it is parked until a worker knows it. Was it renamed, or"
                    " is its module not imported?",
                    message.name,
                    claim.id,
                )
                outcome = Outcome(claim=claim, state="parked", is_attempt=False)
            elif self._stopping.is_set():
                outcome = Outcome(claim=claim, state="queued", is_attempt=False)
            else:
                run = Run(self._app, job, claim, message, engine, self._state.settings)
        self._runs[claim.id] = claim, run
        if outcome is not None:
            self._end(outcome)
        else:
            assert run is not None
            run.task = asyncio.create_task(self._execute(run))

    async def _execute(self, run: Run) -> None:
        self._end(await run.execute(self._threads))

    def _end(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._ended.set()

    # -- Settling ------------------------------------------------------------------------

    async def _settle_all(self, engine: Engine) -> None:
        """Tell the engine how runs ended: together what has ended meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            await self._ended.wait()
            self._ended.clear()
            outcomes, self._outcomes = self._outcomes, []
            if not outcomes:
                continue
            try:
                settled = await engine.settle(outcomes)
            except Exception as e:
                # Said again until it is heard: if that takes too long, another worker has the job, and it is refused.
                self._outcomes = outcomes + self._outcomes
                self._ended.set()
                pause = await self._pause(e, pause)
                continue
            pause = _FIRST_PAUSE
            for outcome, is_ours in zip(outcomes, settled, strict=True):
                self._runs.pop(outcome.claim.id, None)
                if not is_ours:
                    self._logger.warning("The job %s was given to another worker meanwhile", outcome.claim.id)
            self._freed.set()

    # -- What goes on beside -----------------------------------------------------------------

    async def _renew_all(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(self.wanted.lease / 3)
            held = [claim for claim, _ in self._runs.values()]
            if not held:
                continue
            try:
                renewed = await engine.renew(self.wanted, held)
            except Exception as e:
                self._logger.error("The leases of %d jobs could not be renewed: %s", len(held), e)
                continue
            for job_id in renewed.lost | renewed.cancelled:
                run = self._runs.get(job_id, (None, None))[1]
                if run is not None and not run.is_cancelled:
                    run.is_cancelled = True
                    run.stop()

    async def _beat_all(self, engine: Engine) -> None:
        while True:
            with contextlib.suppress(Exception):
                await engine.beat(self._info(self.concurrency))
            await asyncio.sleep(_BEAT)

    def _info(self, concurrency: int) -> WorkerInfo:
        return WorkerInfo(
            id=self.wanted.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=list(self.wanted.queues),
            concurrency=concurrency,
            running=len(self._runs),
            started_at=self.started_at,
            seen_at=clock.now(),
        )

    async def _watch_clock(self, engine: Engine) -> None:
        watch = self._state.clock_for(engine)
        pause = _FIRST_PAUSE
        while True:
            try:
                upcoming = await watch.tick()
                pause = _FIRST_PAUSE
            except Exception as e:
                pause = await self._pause(e, pause)
            else:
                await asyncio.sleep(max(0.0, upcoming - clock.now()))

    async def _hand_over(self, engine: Engine) -> None:
        if "carboy.db" not in self._app.extensions:
            return
        from .transactions import hand_over_rest

        while True:
            try:
                await hand_over_rest(self._state, engine)
            except Exception as e:
                self._logger.error("The outbox of jobs could not be emptied: %s", e)
            await asyncio.sleep(_OUTBOX)

    # -- Ending ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Wait for what runs; give back what has not ended in time."""
        if await self._is_empty_within(self._state.settings.drain):
            return
        self._give_back()
        if not await self._is_empty_within(_GRACE):
            # What does not let itself be interrupted: the job is another worker's now, and what this one says of it
            # later is refused.
            for claim, run in list(self._runs.values()):
                self._logger.error("%r did not end in time and is given back", run)
                self._end(Outcome(claim=claim, state="queued", is_attempt=False))
            await self._is_empty_within(_GRACE)

    def _give_back(self) -> None:
        for _, run in self._runs.values():
            if run is not None and not run.is_given_back:
                run.is_given_back = True
                run.stop()

    async def _is_empty_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._runs:
                    self._freed.clear()
                    await self._freed.wait()
        return not self._runs
