"""Measure carboy on real servers, beside the bare protocols and its peers.

All servers run at once and idle but for the one being measured, pinned to one core; the client ``wrk`` runs on
another. In each round every target gets its turn, so that whatever else the machine does meanwhile falls on all of
them. The figure to trust is the server's CPU time per request, user and system, of its whole process tree: unlike
requests per second it hardly depends on how busy the machine is.

Run as ``make bench``. Options: ``python benchmarks/run.py --help``.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import direct
import environment
import render

SERVER_CORE, CLIENT_CORE = "0", "1"
CONNECTIONS = 16
STARTUP = 20.0
"""Seconds that a server has to give its first answer."""

GRANIAN = "granian --workers 1 --no-access-log --log-level warning --host 127.0.0.1 --port {port} --interface"
SERVERS = {
    "granian WSGI": f"{GRANIAN} wsgi --blocking-threads 1 {{app}}",
    "granian RSGI": f"{GRANIAN} rsgi {{app}}",
    "uvicorn ASGI": "uvicorn --http httptools --loop uvloop --no-access-log --log-level warning --host 127.0.0.1"
    " --port {port} {app}",
}

PATHS = {"plain text": "/plain", "JSON, path parameter": "/items/42"}
ANSWERS: dict[str, tuple[str, t.Any]] = {
    "/plain": ("text/html; charset=utf-8", "Hello, World!"),
    "/items/42": ("application/json", {"id": 42, "name": "cask"}),
}


@dataclasses.dataclass
class Target:
    """An application on a server, and what was measured of it: per path, one entry per round."""

    server: str
    name: str
    app: str
    port: int = 0
    pid: int = 0
    runs: dict[str, list[dict[str, float]]] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return f"{self.name} on {self.server}"


def targets() -> list[Target]:
    """Return what is measured; the first of each server is what the others are compared with."""
    return [
        Target("granian WSGI", "bare callable", "bare:wsgi"),
        Target("granian WSGI", "carboy, sync view", "carboy_app:sync_app"),
        Target("granian WSGI", "Flask 3.1.3", "flask_app:app"),
        Target("granian RSGI", "bare callable", "bare:rsgi"),
        Target("granian RSGI", "carboy, async view", "carboy_app:async_app"),
        Target("uvicorn ASGI", "bare callable", "bare:asgi"),
        Target("uvicorn ASGI", "carboy, async view", "carboy_app:async_app"),
        Target("uvicorn ASGI", "Starlette", "starlette_app:app"),
    ]


# -- Servers -----------------------------------------------------------------------


@contextlib.contextmanager
def serving(target: Target) -> t.Iterator[None]:
    """Serve *target* on a free port while the context lasts.

    Raises:
        RuntimeError: It gives no answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target.port = probe.getsockname()[1]
    command = SERVERS[target.server].format(port=target.port, app=target.app).split()
    command[0] = str(environment.VENV / "bin" / command[0])
    process = subprocess.Popen(
        ["taskset", "--cpu-list", SERVER_CORE, *command], env=environment.variables(), cwd=environment.VENV
    )
    target.pid = process.pid
    try:
        wait_until_up(target, process)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            for pid in process_tree(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait()


def wait_until_up(target: Target, process: subprocess.Popen[bytes]) -> None:
    """Return when *target* accepts connections."""
    deadline = time.monotonic() + STARTUP
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", target.port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{target.label} did not start")


def check(target: Target, path: str) -> None:
    """Compare the answer of *target* with what all targets must answer.

    Raises:
        RuntimeError: It differs in status, content type or body.
    """
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    kind, expected = ANSWERS[path]
    content = json.loads(body) if kind == "application/json" else body.decode()
    if (response.status, response.headers["content-type"], content) != (200, kind, expected):
        raise RuntimeError(f"{target.label} answered {path} by {response.status} {body!r}")


def process_tree(pid: int) -> list[int]:
    """Return *pid* and its descendants."""
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
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


# -- Measuring ----------------------------------------------------------------------


def measure(target: Target, path: str, seconds: int) -> dict[str, float]:
    """Load *target* for *seconds*; return requests/s, CPU and latency in microseconds.

    Raises:
        RuntimeError: A request failed.
    """
    url = f"http://127.0.0.1:{target.port}{path}"
    client = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency", url]
    before = cpu_seconds(target.pid)
    out = subprocess.run(["taskset", "--cpu-list", CLIENT_CORE, *client], check=True, capture_output=True, text=True)
    used = cpu_seconds(target.pid) - before
    if "Non-2xx" in out.stdout or "Socket errors" in out.stdout:
        raise RuntimeError(f"{target.label} failed on {path}:\n{out.stdout}")
    requests = int(_found(r"(\d+) requests in", out.stdout))
    return {
        "cpu_us": used / requests * 1e6,
        "requests_per_s": float(_found(r"Requests/sec:\s+([\d.]+)", out.stdout)),
        "p50_us": _microseconds(_found(r"^ +50% +(\S+)", out.stdout)),
        "p99_us": _microseconds(_found(r"^ +99% +(\S+)", out.stdout)),
    }


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed something unexpected:\n{text}")
    return found[1]


def _microseconds(duration: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def run(rounds: int, seconds: int) -> list[Target]:
    """Serve and measure all targets; return them with what was measured."""
    measured = targets()
    with contextlib.ExitStack() as stack:
        for target in measured:
            stack.enter_context(serving(target))
            for path in PATHS.values():
                check(target, path)
                measure(target, path, 1)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
            for path in PATHS.values():
                # Each round begins with another target.
                for i in range(len(measured)):
                    target = measured[(i + number) % len(measured)]
                    target.runs.setdefault(path, []).append(measure(target, path, seconds))
    return measured


def summarize(measured: list[Target]) -> list[dict[str, t.Any]]:
    """Return one row per server, path and target: medians, spread, and CPU against the server's first target.

    The ratio is the median of each round's own ratio: what disturbed one round disturbed both sides of it.
    """
    rows = []
    for path_name, path in PATHS.items():
        for target in measured:
            bare = next(other for other in measured if other.server == target.server)
            runs, bare_runs = target.runs[path], bare.runs[path]
            ratios = [run["cpu_us"] / other["cpu_us"] for run, other in zip(runs, bare_runs, strict=True)]
            row: dict[str, t.Any] = {"server": target.server, "request": path_name, "target": target.name}
            row |= {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            row["cpu_us_range"] = [min(run["cpu_us"] for run in runs), max(run["cpu_us"] for run in runs)]
            row["cpu_ratio"] = statistics.median(ratios)
            row["cpu_ratio_range"] = [min(ratios), max(ratios)]
            rows.append(row)
    return rows


def main() -> None:
    """Measure, write the results, print the tables."""
    parser = argparse.ArgumentParser(description="Measure carboy beside the bare protocols and its peers.")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which every target is measured once")
    parser.add_argument("--seconds", type=int, default=3, help="seconds per measurement")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("The client 'wrk' is missing. Debian, Ubuntu: apt-get install wrk")
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("Server and client need a core each, and this machine has one.")
    environment.prepare()
    rows = summarize(run(options.rounds, options.seconds))
    settings = {"rounds": options.rounds, "seconds": options.seconds, "connections": CONNECTIONS}
    environment.write_results("servers", {**settings, "results": rows})
    environment.write_results("direct", direct.measure())
    print(render.tables())
    render.write_page()


if __name__ == "__main__":
    main()
