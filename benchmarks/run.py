"""Measure carboy beside the bare protocols and its peers, and write ``docs/benchmarks.md``.

One module per family of measurements: ``answering`` (short requests), ``echo`` (WebSockets), ``waiting`` (many at
once), ``direct`` (no server). How targets are served and take turns: ``serving``.

Run as ``make bench``. Options: ``python benchmarks/run.py --help``.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import argparse
import os
import sys

import answering
import direct
import echo
import environment
import render
import waiting
import wrk

FAMILIES = {
    "servers": answering.measure,
    "echo": echo.measure,
    "waiting": waiting.measure,
    "direct": lambda rounds, seconds: direct.measure(),
}
"""What is measured, by the name of its file in ``results/``."""


def main() -> None:
    """Measure, write the results, print the tables."""
    parser = argparse.ArgumentParser(description="Measure carboy beside the bare protocols and its peers.")
    parser.add_argument("families", nargs="*", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--rounds", type=int, default=7, help="rounds in which every target is measured once")
    parser.add_argument("--seconds", type=int, default=3, help="seconds per measurement")
    options = parser.parse_args()
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}")
    wrk.require()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("Server and client need a core each, and this machine has one.")
    environment.prepare()
    for name in options.families or FAMILIES:
        print(name, file=sys.stderr)
        environment.write_results(name, FAMILIES[name](options.rounds, options.seconds))
    print(render.tables())
    render.write_page()


if __name__ == "__main__":
    main()
