"""Measure carboy without a server: one WSGI call, and what an import costs.

Says how much of a server's figures is carboy's own. Run as part of ``make bench``, or alone:
``python benchmarks/direct.py``.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import time
import typing as t

import environment

CALLS, REPEATS = 2000, 60
STARTS = 21
# What `carboy.pth` makes every interpreter import counts as carboy's.
IMPORTS = {"nothing": "pass", "carboy": "import _carboy_as_flask, carboy", "flask": "import flask"}
PATHS = {"plain text": "/plain", "JSON, path parameter": "/items/42"}


def environ(path: str) -> dict[str, t.Any]:
    """Return what a server would pass for a GET request to *path*."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def start_response(status: str, headers: list[tuple[str, str]], exc_info: t.Any = None) -> None:
    """Take the response's start, as a server would."""


def time_calls() -> dict[str, dict[str, float]]:
    """Return the least microseconds per WSGI call, by path and application.

    To be run where the peers are installed. The applications take turns.
    """
    import bare
    import carboy_app
    import flask_app

    apps = {"bare callable": bare.wsgi, "carboy": carboy_app.sync_app, "Flask 3.1.3": flask_app.app}
    best: dict[str, dict[str, float]] = {}
    for name, path in PATHS.items():
        given = environ(path)
        times: dict[str, list[float]] = {app: [] for app in apps}
        for _ in range(REPEATS):
            for label, app in apps.items():
                begin = time.perf_counter()
                for _ in range(CALLS):
                    body: t.Any = app(given.copy(), start_response)
                times[label].append((time.perf_counter() - begin) / CALLS * 1e6)
                if hasattr(body, "close"):
                    body.close()
        best[name] = {label: min(values) for label, values in times.items()}
    return best


def time_imports() -> dict[str, dict[str, float]]:
    """Return milliseconds of an import and MiB of a process after it: medians over fresh processes."""
    report = (
        "import time; begin = time.perf_counter(); {}; end = time.perf_counter();"
        " print(end - begin, *(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    )
    seen: dict[str, list[list[float]]] = {name: [] for name in IMPORTS}
    # The first of each warms the disk cache and writes bytecode; it is not counted.
    for _ in range(STARTS + 1):
        for name, statement in IMPORTS.items():
            command = [str(environment.PYTHON), "-c", report.format(statement)]
            out = subprocess.run(command, env=environment.variables(), check=True, capture_output=True).stdout
            seen[name].append([float(value) for value in out.split()])
    return {
        name: {
            "milliseconds": statistics.median(run[0] for run in runs[1:]) * 1e3,
            "memory_mib": statistics.median(run[1] for run in runs[1:]) / 1024,
        }
        for name, runs in seen.items()
    }


def measure() -> dict[str, t.Any]:
    """Return all that is measured here."""
    command = [str(environment.PYTHON), __file__, "--calls"]
    out = subprocess.run(command, env=environment.variables(), check=True, capture_output=True).stdout
    return {"calls_us": json.loads(out), "imports": time_imports()}


if __name__ == "__main__":
    if sys.argv[1:] == ["--calls"]:
        print(json.dumps(time_calls()))
    else:
        environment.prepare()
        print(json.dumps(measure(), indent=2))
