"""Family: short HTTP requests, whose cost is the framework's."""

from __future__ import annotations

import functools
import http.client
import json
import typing as t

import wrk
from serving import Run, Target, serving, summarize, take_turns

CONNECTIONS = 16
PATHS = {"plain text": "/plain", "JSON, path parameter": "/items/42"}
ANSWERS: dict[str, tuple[str, t.Any]] = {
    "/plain": ("text/html; charset=utf-8", "Hello, World!"),
    "/items/42": ("application/json", {"id": 42, "name": "cask"}),
}


def targets() -> list[Target]:
    """Return what is measured; the first of each server is what the others are compared with."""
    return [
        Target("granian WSGI", "bare callable", "bare:wsgi"),
        Target("granian WSGI", "carboy, sync view", "carboy_app:sync_app"),
        Target("granian WSGI", "Flask", "flask_app:app"),
        Target("granian RSGI", "bare callable", "bare:rsgi"),
        Target("granian RSGI", "carboy, async view", "carboy_app:async_app"),
        Target("uvicorn ASGI", "bare callable", "bare:asgi"),
        Target("uvicorn ASGI", "carboy, async view", "carboy_app:async_app"),
        Target("uvicorn ASGI", "Starlette", "starlette_app:app"),
    ]


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


def measure(rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the family's results."""
    measured = targets()

    def load(path: str, target: Target) -> Run:
        return wrk.load(target, path, seconds, CONNECTIONS)

    with serving(measured):
        for target in measured:
            for path in PATHS.values():
                check(target, path)
                wrk.load(target, path, 1, CONNECTIONS)
        take_turns(measured, {name: functools.partial(load, path) for name, path in PATHS.items()}, rounds)
    settings = {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS}
    return {**settings, "results": summarize(measured, "cpu_us")}
