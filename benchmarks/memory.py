"""Family: the memory of a served application, each started alone: after its first answer, and after some load."""

from __future__ import annotations

import statistics
import typing as t

import wrk
from cases import CASES, check
from serving import Target, memory_mib, serving

LOAD_SECONDS = 1


def measure(targets: list[Target], rounds: int) -> dict[str, t.Any]:
    """Return the family's results; every server is started *rounds* times."""
    case = CASES["plain"]
    seen: dict[int, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for number, target in enumerate(targets):
            with serving([target]):
                check(case, target.port, target.label)
                started = memory_mib(target.pid)
                wrk.load(target, case.path, LOAD_SECONDS, case.connections)
                seen.setdefault(number, []).append((started, memory_mib(target.pid)))
    results = [
        {
            "server": target.server,
            "target": target.name,
            "started_mib": statistics.median(run[0] for run in seen[number]),
            "loaded_mib": statistics.median(run[1] for run in seen[number]),
        }
        for number, target in enumerate(targets)
    ]
    return {"rounds": rounds, "results": results}
