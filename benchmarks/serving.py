"""Applications on servers while they are measured: start them all, give each its turn, count their CPU time.

All servers of a table run at once and idle but for the one being measured, pinned to one core; the client runs on
another. In each round every target gets its turn, so that whatever else the machine does meanwhile falls on all of
them. The figure to trust is the server's CPU time, user and system, of its whole process tree: unlike a rate it hardly
depends on how busy the machine is.
"""
# ruff: noqa: T201 - it tells how far it is

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import environment

SERVER_CORE, CLIENT_CORE = "0", "1"
STARTUP = 60.0
"""Seconds that a server has to accept its first connection."""

GRANIAN = "granian --workers 1 --no-access-log --log-level warning --host 127.0.0.1 --port {port} --interface"
SERVERS = {
    "granian WSGI": f"{GRANIAN} wsgi --blocking-threads {{threads}} {{app}}",
    "granian RSGI": f"{GRANIAN} rsgi {{app}}",
    "granian ASGI": f"{GRANIAN} asginl {{app}}",
    # With the lifespan protocol, for those who prepare themselves in it.
    "granian ASGI, lifespan": f"{GRANIAN} asgi {{app}}",
    "uvicorn": "uvicorn --http httptools --loop uvloop --ws websockets-sansio --lifespan auto --no-access-log"
    " --log-level warning --host 127.0.0.1 --port {port} {app}",
    "gunicorn": "gunicorn --worker-class gthread --threads 2 --keep-alive 60 --log-level warning"
    " --bind 127.0.0.1:{port} {app}",
    # The same server, as carboy starts it.
    "carboy serve RSGI": "carboy --app {app} serve --interface rsgi --log-level warning --port {port}",
    "carboy serve ASGI": "carboy --app {app} serve --interface asgi --log-level warning --port {port}",
    "Sanic's own": "sanic {app} --single-process --no-access-logs --no-motd --host 127.0.0.1 --port {port}",
    "Tornado's own": "{app} {port}",
    "aiohttp's own": "{app} {port}",
    "Robyn's own": "{app} {port} --log-level ERROR --disable-openapi",
}
"""The module to run, and its arguments."""

BARE = "bare callable"
Run = dict[str, float]


@dataclasses.dataclass
class Target:
    """An application on a server, and what was measured of it: per measurement, one entry per round."""

    server: str
    name: str
    app: str
    environment: str
    """Of `environment.PACKAGES` the one that it runs in."""
    cases: tuple[str, ...] = ()
    """What it is measured in."""
    launcher: str = ""
    """Of `SERVERS` the one that starts it, if not *server*, beside whose others it stands."""
    port: int = 0
    pid: int = 0
    runs: dict[str, list[Run]] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.name} on {self.server}"


@contextlib.contextmanager
def serving(targets: list[Target], variables: dict[str, str] | None = None, threads: int = 1) -> t.Iterator[None]:
    """Serve *targets*, each on a free port, while the context lasts.

    Args:
        variables: More environment variables for the servers.
        threads: How many a WSGI server has.

    Raises:
        RuntimeError: One of them does not start.
    """
    with contextlib.ExitStack() as stack:
        for target in targets:
            stack.enter_context(_serving(target, {**environment.variables(), **(variables or {})}, threads))
        yield


@contextlib.contextmanager
def _serving(target: Target, variables: dict[str, str], threads: int) -> t.Iterator[None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target.port = probe.getsockname()[1]
    server = SERVERS[target.launcher or target.server]
    command = server.format(port=target.port, app=target.app, threads=threads).split()
    pinned = ["taskset", "--cpu-list", SERVER_CORE, str(environment.python(target.environment)), "-m"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*pinned, *command],
            env=variables,
            cwd=environment.CACHE,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        with _ending(process):
            target.pid = process.pid
            _wait_until_up(target, process, log)
            yield


@contextlib.contextmanager
def _ending(process: subprocess.Popen[bytes]) -> t.Iterator[None]:
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in process_tree(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def _wait_until_up(target: Target, process: subprocess.Popen[bytes], log: t.IO[bytes]) -> None:
    deadline = time.monotonic() + STARTUP
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", target.port), 1):
            return
        time.sleep(0.05)
    log.seek(0)
    raise RuntimeError(f"{target.label} did not start:\n{log.read().decode(errors='replace')}")


def process_tree(pid: int) -> list[int]:
    """Return *pid* and its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in (task / "children").read_text().split():
                pids += process_tree(int(child))
    return pids


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that the process tree of *pid* has used."""
    ticks = 0
    for member in process_tree(pid):
        # proc(5): the second field, the command, may hold spaces and ends with the last ")".
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return the memory of the process tree of *pid*; what its processes share counts once."""
    kib = 0
    for member in process_tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


def take_turns(targets: list[Target], measurements: dict[str, t.Callable[[Target], Run]], rounds: int) -> None:
    """Measure each target once per round in each of its cases, into its ``runs``; each round begins with another one.

    Args:
        measurements: What to do, by case.
    """
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, measure in measurements.items():
            measured = [target for target in targets if name in target.cases]
            for i in range(len(measured)):
                target = measured[(i + number) % len(measured)]
                target.runs.setdefault(name, []).append(_measured(measure, target))


def _measured(measure: t.Callable[[Target], Run], target: Target) -> Run:
    try:
        return measure(target)
    except RuntimeError as error:
        # On a machine that was busy elsewhere for a second not one request may have been answered.
        print(f"once more: {error}", file=sys.stderr)
        return measure(target)


def summarize(targets: list[Target], figure: str) -> list[dict[str, t.Any]]:
    """Return one row per target and case: medians, and *figure* of each round.

    ``ratio`` is *figure* against that of the server's bare callable, where one takes part: the median of each round's
    own ratio, since what disturbed one round disturbed both sides of it.
    """
    rows = []
    for target in targets:
        for case, runs in target.runs.items():
            row: dict[str, t.Any] = {"case": case, "server": target.server, "target": target.name}
            row |= {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            row["rounds"] = [run[figure] for run in runs]
            bare = next((o for o in targets if o.server == target.server and o.name == BARE and case in o.runs), None)
            if bare is not None:
                ratios = [run[figure] / other[figure] for run, other in zip(runs, bare.runs[case], strict=True)]
                row["ratio"] = statistics.median(ratios)
                row["ratio_range"] = [min(ratios), max(ratios)]
            rows.append(row)
    return rows
