"""Runs the own tests of Flask extensions, unmodified, on Flask and on carboy under the name ``flask``.

    python tests/suites/extension_suites.py [EXTENSION]... [--carboy-only] [--core] [-- PYTEST-ARGUMENTS]

``extensions.toml`` says which, in which version, and what their tests need. Each has an environment of its own in
``.cache/``, with Flask's distribution in it. For the run on carboy a package ``flask`` that raises when it is imported
comes before Flask's on the path, for child processes too: whoever got past the alias would fail. On top of that
``proof.py`` looks after each test whether ``flask`` is still carboy's module. Nothing is skipped or deselected.

The outcomes are kept in ``results/extensions.json``, and ``docs/extensions.md`` is made from them. ``--carboy-only``
compares with the kept outcomes on Flask and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extensions_page import PAGE, page
from thirdparty import (
    CACHE,
    FLASK_VERSION,
    ROOT,
    clean_environ,
    environment,
    outcomes,
    own_and_pytest_arguments,
    poison_folder,
    sdist,
)

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "extensions.json"


@dataclass(frozen=True)
class Suite:
    """The tests of one extension, as in ``extensions.toml``."""

    name: str
    version: str
    requires: tuple[str, ...]
    tests: tuple[str, ...] = ("tests",)
    plugins: tuple[str, ...] = ()
    before: str = ""
    core: bool = False
    note: str = ""


def read_suites() -> dict[str, Suite]:
    """Return the suites by name in lower case, in the order of the file."""
    tables = tomllib.loads((HERE / "extensions.toml").read_text())
    common = tables.pop("defaults")["requires"]
    suites = {}
    for name, table in tables.items():
        own = table.pop("requires", [])
        # An own requirement of the same project replaces a common one.
        replaced = {_project(requirement) for requirement in own}
        requires = [*own, *(requirement for requirement in common if _project(requirement) not in replaced)]
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        suites[name.lower()] = Suite(name=name, requires=tuple(requires), **options)
    return suites


def _project(requirement: str) -> str:
    return requirement.partition("[")[0].partition("=")[0].partition("<")[0].partition(">")[0].lower()


def run(suite: Suite, on_carboy: bool, arguments: list[str]) -> dict[str, str]:
    """Run a suite and return the outcome of each test."""
    python = environment(suite.name.lower(), [f"{suite.name}=={suite.version}", *suite.requires, "-e", str(ROOT)])
    folder = sdist(suite.name, suite.version)
    report = CACHE / f"{suite.name.lower()}-{'carboy' if on_carboy else 'flask'}.xml"
    report.unlink(missing_ok=True)
    command = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "--continue-on-collection-errors",
        f"--rootdir={folder}",
        f"--junitxml={report}",
    ]
    if suite.before and shutil.which(suite.before.split()[0]):
        subprocess.run(suite.before.split(), check=False)
    plugins, path = list(suite.plugins), [str(HERE)]
    env = clean_environ()
    # Some tests start the commands of the environment.
    env["PATH"] = os.pathsep.join([str(python.parent), env.get("PATH", "")])
    if on_carboy:
        plugins = ["carboy.flask.pytest_plugin", "proof", *plugins]
        path.append(str(poison_folder()))
        env["CARBOY_AS_FLASK"] = "1"
    env["PYTHONPATH"] = os.pathsep.join(path)
    options = [option for plugin in plugins for option in ("-p", plugin)]
    subprocess.run([*command, *options, *arguments, *suite.tests], cwd=folder, env=env, check=False)
    return outcomes(report) if report.is_file() else {}


def summary(found: dict[str, str]) -> dict[str, Any]:
    """Return what is kept of the outcomes of a run."""
    failed = sorted(name for name, outcome in found.items() if outcome == "failed")
    skipped = sum(outcome == "skipped" for outcome in found.values())
    return {"passed": len(found) - len(failed) - skipped, "skipped": skipped, "failed": failed}


def compare(suite: Suite, on_flask: dict[str, Any], on_carboy: dict[str, Any]) -> bool:
    """Print how the two runs of a suite differ; return whether carboy's is as good."""
    worse = sorted(set(on_carboy["failed"]) - set(on_flask["failed"]))
    good = not worse and on_carboy["passed"] >= on_flask["passed"] > 0
    print(
        f"{suite.name} {suite.version}: {on_flask['passed']} pass on Flask, {on_carboy['passed']} on carboy;"
        f" {len(on_flask['failed'])} fail on Flask, {len(on_carboy['failed'])} on carboy;"
        f" only on carboy: {', '.join(worse) or 'none'}",
        flush=True,
    )
    return good


def main() -> int:
    """Run the suites; return 0 if carboy is as good as Flask everywhere."""
    own, pytest_arguments = own_and_pytest_arguments()
    suites = read_suites()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extensions", nargs="*", help="by default all")
    parser.add_argument("--carboy-only", action="store_true", help="compare with the kept outcomes on Flask")
    parser.add_argument("--core", action="store_true", help="only those that CI runs")
    options = parser.parse_args(own)
    unknown = {name.lower() for name in options.extensions} - set(suites)
    if unknown:
        parser.error(f"not in extensions.toml: {', '.join(sorted(unknown))}")
    chosen = [suites[name.lower()] for name in options.extensions] or list(suites.values())
    if options.core:
        chosen = [suite for suite in chosen if suite.core]

    kept: dict[str, Any] = json.loads(RESULTS.read_text())["suites"] if RESULTS.is_file() else {}
    results = {}
    worse = []
    for suite in chosen:
        print(f"\n--- {suite.name} {suite.version}", flush=True)
        on_carboy = summary(run(suite, True, pytest_arguments))
        if options.carboy_only:
            on_flask = kept[suite.name]["flask"]
        else:
            on_flask = summary(run(suite, False, pytest_arguments))
        results[suite.name] = {"version": suite.version, "flask": on_flask, "carboy": on_carboy}
        if not compare(suite, on_flask, on_carboy):
            worse.append(suite.name)

    print("\nTests passed on Flask and on carboy:")
    for name, result in results.items():
        print(f"{name:24} {result['flask']['passed']:5} {result['carboy']['passed']:5}")
    if not options.carboy_only and not pytest_arguments:
        kept |= results
        RESULTS.write_text(
            json.dumps(
                {
                    "flask": FLASK_VERSION,
                    "python": f"{sys.version_info.major}.{sys.version_info.minor}",
                    "suites": {suite.name: kept[suite.name] for suite in suites.values() if suite.name in kept},
                },
                indent=1,
            )
            + "\n"
        )
        PAGE.write_text(page())
    print(f"worse on carboy: {', '.join(worse) or 'none'}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
