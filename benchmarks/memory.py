"""Family: the memory of a served application, each started alone: after its first answers, and after some load."""

from __future__ import annotations

import typing as t

import wrk
from cases import CASES, check
from serving import Target, memory_mib, serving

LOAD_SECONDS = 1


def measure(targets: list[Target]) -> dict[str, t.Any]:
    """Return the family's results."""
    return {"results": [_memory(target) for target in targets]}


def _memory(target: Target) -> dict[str, t.Any]:
    case = CASES["plain"]
    with serving([target]):
        check(case, target.port, target.label)
        started = memory_mib(target.pid)
        wrk.load(target, case.path, LOAD_SECONDS, case.connections)
        loaded = memory_mib(target.pid)
    return {"server": target.server, "target": target.name, "started_mib": started, "loaded_mib": loaded}
