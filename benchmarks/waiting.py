"""Family: requests that wait: many at once in async views, and sync views that hold threads beside an async one."""

from __future__ import annotations

import http.client
import time
import typing as t

import wrk
from serving import Run, Target, serving, summarize, take_turns

CONNECTIONS = 256
BESIDE = 4
"""Connections to the async endpoint while the threads are all taken."""
THREADS = 64


def targets() -> list[Target]:
    """Return what answers ``/wait``; the first of each server is what the others are compared with."""
    found = []
    for server, protocol in (("granian RSGI", "rsgi"), ("granian ASGI", "asgi"), ("uvicorn ASGI", "asgi")):
        found.append(Target(server, "bare callable", f"bare_live:{protocol}"))
        found.append(Target(server, "carboy, async view", "carboy_live:app"))
        if server == "granian RSGI":
            found.append(Target(server, "carboy, async view, `carboy serve`", "carboy_live:app", "carboy serve RSGI"))
    return found


def check(target: Target, path: str, expected: bytes) -> None:
    """Compare the answer of *target* with *expected*.

    Raises:
        RuntimeError: It differs in status or body.
    """
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if (response.status, body) != (200, expected):
        raise RuntimeError(f"{target.label} answered {path} by {response.status} {body!r}")


def _beside(target: Target, seconds: int) -> Run:
    sleeping = wrk.start(target, "/sleep", seconds + 1, CONNECTIONS)
    time.sleep(0.5)
    quick = wrk.finish(wrk.start(target, "/now", seconds, BESIDE), target)
    slow = wrk.finish(sleeping, target)
    return {
        "sleeps_per_s": slow["requests_per_s"],
        "requests_per_s": quick["requests_per_s"],
        "p50_us": quick["p50_us"],
        "p99_us": quick["p99_us"],
    }


def measure(rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the family's results."""
    measured = targets()
    with serving(measured):
        for target in measured:
            check(target, "/wait", b"waited")
            wrk.load(target, "/wait", 1, CONNECTIONS)
        take_turns(measured, {"wait": lambda target: wrk.load(target, "/wait", seconds, CONNECTIONS)}, rounds)
    beside = [
        Target(server, "carboy", "carboy_live:app") for server in ("uvicorn ASGI", "granian ASGI", "granian RSGI")
    ]
    with serving(beside, {"CARBOY_THREADS": str(THREADS)}):
        for target in beside:
            check(target, "/sleep", b"slept")
            check(target, "/now", b"now")
            _beside(target, 1)
        take_turns(beside, {"beside": lambda target: _beside(target, seconds)}, rounds)
    settings = {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS, "threads": THREADS, "beside": BESIDE}
    return {**settings, "results": summarize(measured, "cpu_us"), "sync": summarize(beside, "p99_us")}
