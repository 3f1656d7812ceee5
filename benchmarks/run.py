"""Measure carboy beside the bare protocols and its peers, and write ``docs/benchmarks.md``.

One module per family of measurements: ``answering`` (HTTP requests), ``echo`` (WebSockets), ``waiting`` (sync views
that wait), ``direct`` (no server), ``memory``. What is requested: ``cases``; of whom: ``peers``. How targets are served
and take turns: ``serving``.

A family that is measured whole is stored, and the page written. So are some cases, if all who take part in them are
measured, on the machine and with the versions of the others. Of any other selection the tables are printed only:

    make bench
    python benchmarks/run.py http direct --cases row
    python benchmarks/run.py http --only carboy,bare,flask --cases plain,json --servers wsgi --rounds 3

Run as ``make bench``. Options: ``python benchmarks/run.py --help``.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import typing as t

import answering
import direct
import echo
import environment
import memory
import peers
import render
import waiting
import wrk
from cases import CASES
from serving import Target

FAMILIES = ("http", "echo", "waiting", "direct", "memory")
TARGETS = {
    "http": peers.http_targets,
    "echo": peers.echo_targets,
    "waiting": peers.waiting_targets,
    "memory": peers.memory_targets,
}
DIRECT_REPEATS = 40


def _list(text: str) -> list[str]:
    return [part.strip().lower() for part in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure carboy beside the bare protocols and its peers.")
    parser.add_argument("families", nargs="*", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--only", type=_list, help="applications whose name contains one of these, by commas")
    parser.add_argument("--servers", type=_list, help="servers whose name contains one of these, by commas")
    parser.add_argument("--cases", type=_list, help=f"of {', '.join(CASES)}, async")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which every target is measured once")
    parser.add_argument("--seconds", type=int, default=1, help="seconds per measurement")
    options = parser.parse_args()
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    if unknown := set(options.cases or ()) - {*CASES, "async"}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


class Selection:
    """What the command line leaves of all there is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.only: list[str] | None = options.only
        self.servers: list[str] | None = options.servers
        self.cases: list[str] | None = options.cases
        self.is_complete = self.only is None and self.servers is None
        """Whether all who take part in what is measured are."""

    def _named(self, name: str, server: str) -> bool:
        by_name = self.only is None or any(part in name.lower() for part in self.only)
        return by_name and (self.servers is None or any(part in server.lower() for part in self.servers))

    def targets(self, found: list[Target]) -> list[Target]:
        """Return those of *found* that are to be measured, with the cases that are."""
        chosen = [target for target in found if self._named(target.name, target.server)]
        for target in chosen:
            if self.cases is not None and set(target.cases) & CASES.keys():
                target.cases = tuple(case for case in target.cases if case in self.cases)
        return [target for target in chosen if target.cases]

    def contestants(self, found: list[direct.Contestant]) -> list[direct.Contestant]:
        """Return those of *found* that are to be called."""
        return [one for one in found if self._named(one.name, one.protocol)]

    def direct_cases(self) -> list[str]:
        """Return the cases that are called without a server."""
        return [name for name in direct.DIRECT if self.cases is None or name in self.cases]


def measure(family: str, chosen: Selection, rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the results of *family*."""
    if family == "direct":
        contestants = chosen.contestants(direct.contestants())
        environment.prepare({"carboy", "flask", *(one.environment for one in contestants)})
        return direct.measure(contestants, chosen.direct_cases(), DIRECT_REPEATS)
    targets = chosen.targets(TARGETS[family]())
    environment.prepare(target.environment for target in targets)
    if family == "memory":
        return memory.measure(targets)
    measures = {"http": answering.measure, "echo": echo.measure, "waiting": waiting.measure}
    return measures[family](targets, rounds, seconds)


def main() -> None:
    """Measure, store, print the tables, write the page."""
    options = _options()
    wrk.require()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("Server and client need a core each, and this machine has one.")
    # So that servers are ended too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("ended by a signal"))
    chosen = Selection(options)
    for family in options.families or FAMILIES:
        begin = time.monotonic()
        results = measure(family, chosen, options.rounds, options.seconds)
        print(f"{family}: {(time.monotonic() - begin) / 60:.1f} minutes", file=sys.stderr)
        if chosen.is_complete and chosen.cases is None:
            environment.write_results(family, results)
        elif chosen.is_complete and family in environment.MEASURED:
            environment.replace_cases(family, chosen.cases, results)
        print(render.tables(family, results))
    if chosen.is_complete:
        render.write_page()


if __name__ == "__main__":
    main()
