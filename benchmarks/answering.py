"""Family: HTTP requests, all of `cases.CASES`."""

from __future__ import annotations

import functools
import tempfile
import typing as t
from pathlib import Path

import wrk
from cases import CASES, GROUPS, Case, check
from serving import Run, Target, serving, summarize, take_turns


def measure(targets: list[Target], rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the family's results; *targets* are loaded in the cases that they name."""
    measured: list[Target] = []
    with tempfile.TemporaryDirectory() as directory:
        for group in GROUPS:
            chosen = [case for case in CASES.values() if case.group == group]
            names = {case.name for case in chosen}
            taking_part = [target for target in targets if names & set(target.cases)]
            if taking_part:
                _measure_group(group, chosen, taking_part, rounds, seconds, Path(directory))
                measured += [target for target in taking_part if target not in measured]
    connections = {case.name: case.connections for case in CASES.values()}
    settings = {"rounds": rounds, "seconds": seconds, "connections": connections}
    return {**settings, "results": summarize(measured, "cpu_us")}


def _measure_group(
    name: str, cases: list[Case], targets: list[Target], rounds: int, seconds: int, directory: Path
) -> None:
    arguments: dict[tuple[int, str], list[str]] = {}

    def load(case: Case, target: Target) -> Run:
        return wrk.load(target, case.path, seconds, case.connections, arguments[target.port, case.name])

    group = GROUPS[name]
    with serving(targets, {"BENCHMARK_ROUTES": str(group.routes)}, group.threads):
        for case in cases:
            body = directory / case.name
            body.write_bytes(case.body)
            for target in targets:
                if case.name in target.cases:
                    headers = check(case, target.port, target.label)
                    pairs = [part for pair in headers.items() for part in pair]
                    arguments[target.port, case.name] = [case.method, str(body), *pairs] if headers else []
        take_turns(targets, {case.name: functools.partial(load, case) for case in cases}, rounds)
