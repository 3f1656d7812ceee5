"""Family: sync views that wait and hold threads, and meanwhile an async view of the same application."""

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


def _check(target: Target, path: str, expected: bytes) -> None:
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


def measure(targets: list[Target], rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the family's results."""
    with serving(targets, {"CARBOY_THREADS": str(THREADS)}):
        for target in targets:
            _check(target, "/sleep", b"slept")
            _check(target, "/now", b"now")
            _beside(target, 1)
        take_turns(targets, {"beside": lambda target: _beside(target, seconds)}, rounds)
    settings = {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS, "threads": THREADS, "beside": BESIDE}
    return {**settings, "results": summarize(targets, "p99_us")}
