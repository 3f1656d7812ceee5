"""Runs Flask's own tests, unmodified, on carboy under the name ``flask``.

    python tests/suites/flask_suite.py [flask | tutorial | javascript]... [--baseline] [-- PYTEST-ARGUMENTS]

Flask's source distribution is downloaded into ``.cache/``, and a virtual environment is made there with carboy and
Flask's distribution. A package ``flask`` that raises when it is imported comes before Flask's on the path: a process of
the run that got past the alias would fail. On top of that ``proof.py`` looks after each test whether ``flask`` is still
carboy's module. Nothing is skipped or deselected.

``--baseline`` does the same with the real Flask, to see what fails there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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

TEST_PACKAGES = [f"flask=={FLASK_VERSION}", "pytest<9", "asgiref", "greenlet", "python-dotenv", "cryptography"]


@dataclass(frozen=True)
class Suite:
    """A folder of the source distribution whose tests are run."""

    folder: str
    tests: int
    # Tests that fail with the real Flask too.
    broken: frozenset[str] = frozenset()


SUITES = {
    "flask": Suite(
        ".",
        490,
        # Werkzeug 3.1.8 and later answer this request with 404 where the test wants 400.
        frozenset({"tests.test_reqctx::test_bad_environ_raises_bad_request"}),
    ),
    "tutorial": Suite("examples/tutorial", 24),
    "javascript": Suite("examples/javascript", 8),
}


def run(name: str, baseline: bool, arguments: list[str]) -> bool:
    """Run one suite, print its result, and return whether it is as it has to be."""
    suite = SUITES[name]
    folder = sdist("flask", FLASK_VERSION) / suite.folder
    report = CACHE / f"{name}-{'baseline' if baseline else 'carboy'}.xml"
    python = environment("flask", [*TEST_PACKAGES, "-e", str(ROOT)])
    command = [str(python), "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    env = clean_environ()
    # The examples are not installed; they are imported from their own folder.
    path = [str(Path(__file__).parent), str(folder)]
    if not baseline:
        command += ["-p", "carboy.flask.pytest_plugin", "-p", "proof"]
        path.insert(0, str(poison_folder()))
    env["PYTHONPATH"] = os.pathsep.join(path)
    subprocess.run(command, cwd=folder, env=env, check=False)

    cases = outcomes(report)
    failed = {case for case, outcome in cases.items() if outcome == "failed"}
    skipped = [case for case, outcome in cases.items() if outcome == "skipped"]
    surprising = sorted(failed - suite.broken)
    good = not surprising and not skipped and (len(cases) == suite.tests or bool(arguments))
    print(
        f"{name}: {len(cases)} of {suite.tests} tests run, {len(failed)} failed, {len(skipped)} skipped;"
        f" known to fail on Flask itself: {', '.join(sorted(failed & suite.broken)) or 'none'};"
        f" failed beyond that: {', '.join(surprising) or 'none'}",
        flush=True,
    )
    return good


def main() -> int:
    """Run the suites named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--baseline", action="store_true", help="run on the real Flask")
    own, pytest_arguments = own_and_pytest_arguments()
    options = parser.parse_args(own)
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    results = [run(name, options.baseline, pytest_arguments) for name in options.suites or SUITES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
