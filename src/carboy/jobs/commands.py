"""The commands ``carboy jobs …``."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
import typing as t
from datetime import UTC, datetime, timedelta

import click
import msgspec

from carboy import current_app
from carboy.cli import with_appcontext

from . import clock
from .engines.contract import Query, Record, State

if t.TYPE_CHECKING:
    from .jobs import JobsState

_STATES = ("scheduled", "queued", "running", "done", "dead", "cancelled", "parked")
_COLOURS = {"done": "green", "dead": "red", "running": "cyan", "parked": "yellow", "cancelled": "bright_black"}


def _state() -> JobsState:
    state: JobsState = current_app.extensions["carboy.jobs"]
    return state


def _run(work: t.Callable[[t.Any], t.Coroutine[t.Any, t.Any, t.Any]]) -> t.Any:
    """Call *work* with the engine, on an event loop of this command's own."""

    async def run() -> t.Any:
        state = _state()
        try:
            return await work(await state.engine())
        finally:
            await state.close()

    return asyncio.run(run())


# -- The worker -----------------------------------------------------------------------


@click.command("worker")
@click.option("--queues", "-q", metavar="NAMES", help="Take only these queues, separated by commas, the first first.")
@click.option("--concurrency", "-c", type=click.IntRange(min=1), help="How many jobs at the same time.")
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes: for development.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@with_appcontext
def worker_command(queues: str | None, concurrency: int | None, reload: bool, log_level: str) -> None:
    """Take jobs and run them.

    SIGTERM and SIGINT let running jobs end, for JOBS_DRAIN seconds, and give back what has not ended; a second one
    gives back at once.
    """
    if reload and not os.environ.get("CARBOY_JOBS_RELOADED"):
        _run_reloaded()
        return
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    if not app.logger.isEnabledFor(getattr(logging, log_level.upper())):
        app.logger.setLevel(log_level.upper())
    names = [name.strip() for name in queues.split(",") if name.strip()] if queues else None
    with _loop_runner() as runner:
        runner.run(_work(names, concurrency))


async def _work(queues: list[str] | None, concurrency: int | None) -> None:
    from .worker import Worker

    state = _state()
    worker = Worker(state, queues, concurrency)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, worker.stop)
        except NotImplementedError:  # Windows.
            signal.signal(number, lambda *args: loop.call_soon_threadsafe(worker.stop))
    try:
        await worker.run()
    finally:
        await state.close()


def _loop_runner() -> asyncio.Runner:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _run_reloaded() -> None:
    try:
        import watchfiles
    except ModuleNotFoundError:
        raise click.ClickException('--reload needs watchfiles: pip install "carboy[server]"') from None
    os.environ["CARBOY_JOBS_RELOADED"] = "1"
    command = " ".join(f"'{part}'" if " " in part else part for part in [sys.executable, "-m", "carboy", *sys.argv[1:]])
    watchfiles.run_process(".", target=command, target_type="command", watch_filter=watchfiles.PythonFilter())


# -- Looking ----------------------------------------------------------------------------


@click.command("list")
@click.option("--state", "-s", "states", type=click.Choice(_STATES), multiple=True, help="Only in this state.")
@click.option("--name", "-n", "names", multiple=True, help="Only this function.")
@click.option("--queue", "-q", "queues", multiple=True, help="Only in this queue.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each.")
@with_appcontext
def list_command(
    states: tuple[State, ...], names: tuple[str, ...], queues: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List jobs, the newest first."""
    query = Query(states=states, names=names, queues=queues, limit=limit)
    records: list[Record] = _run(lambda engine: engine.find(query))
    if as_json:
        for record in records:
            click.echo(msgspec.json.encode(record))
        return
    if not records:
        click.echo("There are no such jobs.")
        return
    rows = [
        (r.id, _coloured(r.state), r.queue, r.name, str(r.attempts), _ago(r.finished_at or r.started_at or r.run_at))
        for r in records
    ]
    _echo_table(("ID", "STATE", "QUEUE", "NAME", "RUNS", "WHEN"), rows)


@click.command("show")
@click.argument("job_id")
@with_appcontext
def show_command(job_id: str) -> None:
    """Show everything that is known of a job."""
    record: Record | None = _run(lambda engine: engine.get(job_id))
    if record is None:
        raise click.ClickException(f"There is no job {job_id}, or none any more.")
    message = record.message
    arguments = [json.dumps(value) for value in message.args]
    arguments += [f"{name}={json.dumps(value)}" for name, value in message.kwargs.items()]
    lines: list[tuple[str, t.Any]] = [
        ("job", f"{record.name}({', '.join(arguments)})"),
        ("state", _coloured(record.state) + (" (to be cancelled)" if record.cancel_requested else "")),
        ("queue", record.queue),
        ("priority", record.priority),
        ("runs", f"{record.attempts} of {message.retries + 1}"),
        ("unique key", message.unique),
        ("created", _moment(record.created_at)),
        ("to run at", _moment(record.run_at)),
        ("started", _moment(record.started_at)),
        ("ended", _moment(record.finished_at)),
        ("worker", record.worker),
        ("progress", None if record.progress is None else bytes(record.progress).decode()),
        ("result", None if record.result is None else bytes(record.result).decode()),
        *((name.replace("_", " "), value) for name, value in message.headers.items()),
    ]
    for name, value in lines:
        if value is not None:
            click.echo(f"{name:>12}  {value}")
    if record.error:
        click.echo(f"\n{record.error.rstrip()}")


@click.command("stats")
@with_appcontext
def stats_command() -> None:
    """Show the queues, and the workers that live."""

    async def ask(engine: t.Any) -> t.Any:
        return await engine.stats(), await engine.workers()

    queues, workers = _run(ask)
    shown = [state for state in _STATES if any(queue.counts.get(state) for queue in queues)]
    rows = [
        (
            queue.queue,
            *(str(queue.counts.get(state, 0)) for state in shown),
            "" if queue.oldest is None else _ago(queue.oldest),
        )
        for queue in queues
    ]
    _echo_table(("QUEUE", *(state.upper() for state in shown), "OLDEST"), rows)
    click.echo()
    now = clock.now()
    _echo_table(
        ("WORKER", "HOST", "PID", "RUNNING", "QUEUES", "HEARD OF"),
        [
            (
                worker.id,
                worker.host,
                str(worker.pid),
                f"{worker.running} of {worker.concurrency}",
                ",".join(worker.queues),
                _ago(worker.seen_at),
            )
            for worker in workers
            if worker.seen_at > now - 60
        ],
    )


@click.command("schedules")
@with_appcontext
def schedules_command() -> None:
    """Show what is queued at certain times."""
    schedules = _state().jobs.schedules.values()

    async def ask(engine: t.Any) -> list[float | None]:
        return [await engine.last_slot(schedule.name) for schedule in schedules]

    rows = [
        (schedule.name, schedule.description, _moment(last) or "never", _moment(schedule.next(clock.now())) or "never")
        for schedule, last in zip(schedules, _run(ask), strict=True)
    ]
    _echo_table(("SCHEDULE", "WHEN", "LAST", "NEXT"), rows)


# -- Doing ----------------------------------------------------------------------------------


@click.command("retry")
@click.argument("job_ids", nargs=-1)
@click.option("--all-dead", is_flag=True, help="All that are dead.")
@click.option("--name", "-n", "names", multiple=True, help="Of these, only this function.")
@with_appcontext
def retry_command(job_ids: tuple[str, ...], all_dead: bool, names: tuple[str, ...]) -> None:
    """Queue jobs again that are dead, parked or cancelled."""
    if bool(job_ids) == all_dead:
        raise click.UsageError("Name jobs by their ids, or say --all-dead.")
    query = Query(ids=job_ids, names=names, states=("dead",) if all_dead else (), limit=100_000)
    count = _run(lambda engine: engine.retry(query))
    click.echo(f"{count} queued again.")
    if job_ids and not count:
        raise SystemExit(1)


@click.command("cancel")
@click.argument("job_ids", nargs=-1, required=True)
@with_appcontext
def cancel_command(job_ids: tuple[str, ...]) -> None:
    """Cancel jobs: those that wait at once; the worker of one that runs is told."""

    async def cancel(engine: t.Any) -> list[State | None]:
        return [await engine.cancel(job_id) for job_id in job_ids]

    found = dict(zip(job_ids, _run(cancel), strict=True))
    for job_id, state in found.items():
        if state is None:
            click.echo(f"{job_id}: there is no such job", err=True)
        elif state == "running":
            click.echo(f"{job_id}: its worker is told")
        elif state in ("queued", "scheduled", "parked"):
            click.echo(f"{job_id}: cancelled")
        else:
            click.echo(f"{job_id}: it is {state} already", err=True)
    if not any(state in ("queued", "scheduled", "parked", "running") for state in found.values()):
        raise SystemExit(1)


@click.command("purge")
@click.option("--state", "-s", "states", type=click.Choice(_STATES), multiple=True, help="Only in this state.")
@click.option("--name", "-n", "names", multiple=True, help="Only this function.")
@click.option("--queue", "-q", "queues", multiple=True, help="Only in this queue.")
@click.option("--older-than", type=float, metavar="HOURS", help="Only those that ended so many hours ago.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def purge_command(
    states: tuple[State, ...], names: tuple[str, ...], queues: tuple[str, ...], older_than: float | None, yes: bool
) -> None:
    """Delete jobs that do not run."""
    if "running" in states:
        raise click.UsageError("Jobs that run cannot be deleted. Cancel them first.")
    what = " ".join(filter(None, [", ".join(states) or "all", "jobs", f"of {', '.join(names)}" if names else ""]))
    if not yes:
        click.confirm(f"Delete {what}{f' in {chr(44).join(queues)}' if queues else ''}?", abort=True)
    before = None if older_than is None else clock.now() - older_than * 3600
    query = Query(states=states, names=names, queues=queues, finished_before=before, limit=10_000)

    async def purge(engine: t.Any) -> int:
        total = 0
        while count := await engine.delete(query):
            total += count
        return total

    click.echo(f"{_run(purge)} deleted.")


jobs_command = click.Group(
    "jobs",
    commands=[
        worker_command,
        list_command,
        show_command,
        stats_command,
        schedules_command,
        retry_command,
        cancel_command,
        purge_command,
    ],
    help="Run and look after background jobs.",
)


# -- Words ------------------------------------------------------------------------------------


def _coloured(state: str) -> str:
    return click.style(state, fg=_COLOURS.get(state))


def _moment(at: float | None) -> str | None:
    return None if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(at: float) -> str:
    seconds = time.time() - at
    text = str(timedelta(seconds=round(abs(seconds))))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def _echo_table(head: tuple[str, ...], rows: t.Sequence[tuple[str, ...]]) -> None:
    if not rows:
        click.echo(f"{head[0].lower()}: none")
        return
    widths = [max(len(click.unstyle(row[column])) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
