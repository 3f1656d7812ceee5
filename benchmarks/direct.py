"""Family: calls without a server, and what an import costs.

Says how much of a server's figures is the framework's own. Every contestant is a process of its own, in its own
environment (``direct_calls``); they take turns, and the least of many repeats counts.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import statistics
import subprocess
import typing as t
from pathlib import Path

import environment
from cases import CASES, Case, verify
from peers import PLAIN
from serving import SERVER_CORE

SPAN = 0.02
"""Seconds that one repeat takes, more or less."""
STARTS = 21
# What `carboy.pth` makes every interpreter import counts as carboy's.
IMPORTS = {
    "Python alone": ("carboy", "pass"),
    "import carboy": ("carboy", "import _carboy_as_flask, carboy"),
    "import flask": ("flask", "import flask"),
    "import carboy; carboy.Carboy(name)": ("carboy", "import _carboy_as_flask, carboy; carboy.Carboy('benchmark')"),
    "import flask; flask.Flask(name)": ("flask", "import flask; flask.Flask('benchmark')"),
}
"""What is imported, by the name in the results: the environment and the statement."""

ASYNC = dataclasses.replace(CASES["plain"], name="async", title="async view under WSGI", path="/async")
DIRECT = {name: CASES[name] for name in ("plain", "path", "order", "page", "session", "form", "upload", "row")}
DIRECT["async"] = ASYNC


@dataclasses.dataclass
class Contestant:
    """An application that is called."""

    name: str
    protocol: str
    app: str
    environment: str
    cases: tuple[str, ...] = ("plain", "path")
    program: subprocess.Popen[str] | None = None
    microseconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    def ask(self, case: Case, headers: dict[str, str], calls: int) -> t.Any:
        """Return the answer to *case* if *calls* is 0; otherwise the microseconds per call."""
        assert self.program is not None and self.program.stdin is not None and self.program.stdout is not None
        request = {"method": case.method, "path": case.path, "headers": headers, "calls": calls}
        self.program.stdin.write(json.dumps({**request, "body": base64.b64encode(case.body).decode()}) + "\n")
        self.program.stdin.flush()
        line = self.program.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} under {self.protocol} failed at {case.title}")
        return json.loads(line)


def contestants() -> list[Contestant]:
    """Return who is called."""
    every = tuple(name for name in DIRECT if name not in ("async", "row"))
    return [
        Contestant("bare callable", "WSGI", "bare:wsgi", "carboy"),
        Contestant("carboy", "WSGI", "carboy_app:app", "carboy", (*every, "async")),
        Contestant("Flask", "WSGI", "flask_app:app", "flask", (*every, "async")),
        Contestant("Falcon", "WSGI", "falcon_app:app", "falcon"),
        Contestant("Bottle", "WSGI", "bottle_app:app", "bottle"),
        Contestant("Django", "WSGI", "django_app:app", "django"),
        Contestant("bare callable", "ASGI", "bare:asgi", "carboy"),
        Contestant("carboy, async view", "ASGI", "carboy_async_app:app", "carboy", every),
        Contestant("Falcon", "ASGI", "falcon_async_app:app", "falcon"),
        *(
            Contestant(name, "ASGI", f"{name.lower()}_app:app", name.lower())
            for name in ("Starlette", "BlackSheep", "Litestar", "FastAPI", "Quart")
        ),
        *(
            Contestant(name, protocol, app, environment, ("row",))
            for name, protocol, app, environment in (
                ("carboy", "WSGI", "carboy_rows:sync_app", "carboy"),
                (PLAIN, "WSGI", "carboy_plain_rows:sync_app", "carboy"),
                ("Flask", "WSGI", "flask_rows:app", "flask"),
                ("Flask with Flask-SQLAlchemy", "WSGI", "flask_sqlalchemy_rows:app", "flask"),
                ("Django", "WSGI", "django_rows:app", "django"),
                ("carboy, async view", "ASGI", "carboy_rows:async_app", "carboy"),
                (f"{PLAIN}, async view", "ASGI", "carboy_plain_rows:async_app", "carboy"),
                ("FastAPI", "ASGI", "fastapi_rows:app", "fastapi"),
            )
        ),
    ]


def _headers(contestant: Contestant, case: Case) -> dict[str, str]:
    headers = {"Content-Type": case.content_type} if case.content_type else {}
    if case.name == "session":
        _, answered, _ = contestant.ask(case, headers, 0)
        headers["Cookie"] = next(value for name, value in answered if name.lower() == "set-cookie").partition(";")[0]
    return headers


@contextlib.contextmanager
def _running(chosen: list[Contestant]) -> t.Iterator[None]:
    program = str(Path(__file__).with_name("direct_calls.py"))
    with contextlib.ExitStack() as stack:
        for contestant in chosen:
            command = ["taskset", "--cpu-list", SERVER_CORE, str(environment.python(contestant.environment)), program]
            contestant.program = stack.enter_context(
                subprocess.Popen(
                    [*command, contestant.protocol, contestant.app],
                    env={**environment.variables(), "BENCHMARK_ROUTES": "200"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        yield


def time_calls(chosen: list[Contestant], names: t.Iterable[str], repeats: int) -> list[dict[str, t.Any]]:
    """Return the least microseconds per call, a row for each contestant and case."""
    with _running(chosen):
        for case in (DIRECT[name] for name in names):
            taking_part = [contestant for contestant in chosen if case.name in contestant.cases]
            turns = []
            for contestant in taking_part:
                headers = _headers(contestant, case)
                status, answered, body = contestant.ask(case, headers, 0)
                kind = next(value for name, value in answered if name.lower() == "content-type")
                verify(case, status, kind, base64.b64decode(body), f"{contestant.name} under {contestant.protocol}")
                # The first few warm it.
                contestant.ask(case, headers, 20)
                calls = max(1, int(SPAN * 1e6 / contestant.ask(case, headers, 20)))
                turns.append((contestant, headers, calls))
            for _ in range(repeats):
                for contestant, headers, calls in turns:
                    times = contestant.microseconds.setdefault(case.name, [])
                    times.append(contestant.ask(case, headers, calls))
    return [
        {"protocol": one.protocol, "target": one.name, "case": name, "microseconds": min(times)}
        for one in chosen
        for name, times in one.microseconds.items()
    ]


def measure(chosen: list[Contestant], names: t.Iterable[str], repeats: int) -> dict[str, t.Any]:
    """Return the family's results."""
    return {"repeats": repeats, "calls": time_calls(chosen, names, repeats), "imports": time_imports()}


def time_imports() -> dict[str, dict[str, float]]:
    """Return milliseconds of an import and MiB of a process after it: medians over fresh processes."""
    report = (
        "import time; begin = time.perf_counter(); {}; end = time.perf_counter();"
        " print(end - begin, *(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    )
    seen: dict[str, list[list[float]]] = {name: [] for name in IMPORTS}
    # The first of each warms the disk cache and writes bytecode; it is not counted.
    for _ in range(STARTS + 1):
        for name, (where, statement) in IMPORTS.items():
            command = [str(environment.python(where)), "-c", report.format(statement)]
            out = subprocess.run(command, env=environment.variables(), check=True, capture_output=True).stdout
            seen[name].append([float(value) for value in out.split()])
    return {
        name: {
            "milliseconds": statistics.median(run[0] for run in runs[1:]) * 1e3,
            "memory_mib": statistics.median(run[1] for run in runs[1:]) / 1024,
        }
        for name, runs in seen.items()
    }
