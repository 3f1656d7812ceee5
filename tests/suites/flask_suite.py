"""Runs Flask's own tests, unmodified, on carboy under the name ``flask``.

    python tests/suites/flask_suite.py [flask | tutorial | javascript]... [--baseline] [-- PYTEST-ARGUMENTS]

Flask's source distribution is downloaded into ``.cache/``, and a virtual environment is made there with carboy and
Flask's distribution. In that environment Flask's *package* is replaced by one that raises when it is imported (its
metadata stays): a process of the run that loaded the real Flask would fail. On top of that ``proof.py`` looks after
each test whether ``flask`` is still carboy's module. Nothing is skipped or deselected.

``--baseline`` does the same with the real Flask and without carboy, to see what fails there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

FLASK_VERSION = "3.1.3"
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
SDIST = CACHE / f"flask-{FLASK_VERSION}"
TEST_PACKAGES = [f"flask=={FLASK_VERSION}", "pytest<9", "asgiref", "greenlet", "python-dotenv", "cryptography"]
POISON = 'raise ImportError("This is the real Flask; the test run must use carboy.")\n'


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


def flask_sdist() -> Path:
    """Return the folder of Flask's unpacked source distribution, downloading it at first use."""
    if not SDIST.is_dir():
        CACHE.mkdir(exist_ok=True)
        download = ["download", "-q", "--no-deps", "--no-binary", "flask", "-d", str(CACHE), f"flask=={FLASK_VERSION}"]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
        with tarfile.open(CACHE / f"flask-{FLASK_VERSION}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return SDIST


def environment(baseline: bool) -> Path:
    """Return the Python of the virtual environment for a run, making it at first use."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / "venvs" / f"flask-{'baseline' if baseline else 'suite'}-{version}"
    python = folder / "bin" / "python"
    stamp = folder / "made-for.txt"
    wanted = " ".join(TEST_PACKAGES)
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        packages = TEST_PACKAGES if baseline else [*TEST_PACKAGES, "-e", str(ROOT)]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        if not baseline:
            (package,) = folder.glob("lib/python*/site-packages/flask")
            shutil.rmtree(package)
            package.mkdir()
            (package / "__init__.py").write_text(POISON)
        stamp.write_text(wanted)
    return python


def run(name: str, baseline: bool, arguments: list[str]) -> bool:
    """Run one suite, print its result, and return whether it is as it has to be."""
    suite = SUITES[name]
    report = CACHE / f"{name}-{'baseline' if baseline else 'carboy'}.xml"
    command = [str(environment(baseline)), "-m", "pytest", "-q", f"--junitxml={report}", *arguments]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CARBOY_", "FLASK_", "PYTEST_"))}
    # The examples are not installed; they are imported from their own folder.
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(flask_sdist() / suite.folder)])
    if not baseline:
        command += ["-p", "carboy.flask.pytest_plugin", "-p", "proof"]
    subprocess.run(command, cwd=flask_sdist() / suite.folder, env=env, check=False)

    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {f"{case.get('classname')}::{case.get('name')}" for case in cases if _has(case, "failure", "error")}
    skipped = [case for case in cases if _has(case, "skipped")]
    surprising = sorted(failed - suite.broken)
    good = not surprising and not skipped and (len(cases) == suite.tests or bool(arguments))
    print(  # noqa: T201 - a command line program
        f"{name}: {len(cases)} of {suite.tests} tests run, {len(failed)} failed, {len(skipped)} skipped;"
        f" known to fail on Flask itself: {', '.join(sorted(failed & suite.broken)) or 'none'};"
        f" failed beyond that: {', '.join(surprising) or 'none'}",
        flush=True,
    )
    return good


def _has(case: ElementTree.Element, *tags: str) -> bool:
    return any(case.find(tag) is not None for tag in tags)


def main() -> int:
    """Run the suites named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(SUITES)}; all by default")
    parser.add_argument("--baseline", action="store_true", help="run on the real Flask")
    own = sys.argv[1:]
    pytest_arguments: list[str] = []
    if "--" in own:
        at = own.index("--")
        own, pytest_arguments = own[:at], own[at + 1 :]
    options = parser.parse_args(own)
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    results = [run(name, options.baseline, pytest_arguments) for name in options.suites or SUITES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
