"""Runs Werkzeug's own routing tests, unmodified, on carboy's map in the place of Werkzeug's.

    python tests/suites/werkzeug_routing.py

The source distribution of the installed version is downloaded into ``.cache/``. Its routing tests are run twice: as
they are, and with ``our_map.py``, which makes ``werkzeug.routing.Map`` ours and lets Werkzeug's matcher fail wherever
it is asked. Each test that passes on Werkzeug's map has to pass on ours; none is skipped or deselected.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

VERSION = importlib.metadata.version("werkzeug")
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
SDIST = CACHE / f"werkzeug-{VERSION}"


def download() -> None:
    """Unpack Werkzeug's source distribution into the cache, if it is not there."""
    if not SDIST.is_dir():
        CACHE.mkdir(exist_ok=True)
        options = ["-q", "--no-deps", "--no-binary", "werkzeug", "-d", str(CACHE)]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"werkzeug=={VERSION}"], check=True)
        with tarfile.open(CACHE / f"werkzeug-{VERSION}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")


def run(name: str, *options: str) -> dict[str, bool]:
    """Run the tests and return for each whether it passed."""
    report = CACHE / f"werkzeug-routing-{name}.xml"
    report.unlink(missing_ok=True)
    # The distribution's conftest.py is about its development server.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT / "src")])
    env = os.environ | {"PYTHONPATH": path}
    subprocess.run([*command, *options, "tests/test_routing.py"], cwd=SDIST, env=env, check=False)
    return {
        str(case.get("name")): all(case.find(tag) is None for tag in ("failure", "error", "skipped"))
        for case in ElementTree.parse(report).iter("testcase")
    }


def main() -> int:
    """Compare the two runs; return 0 if ours is as good."""
    download()
    theirs, ours = run("werkzeug"), run("carboy", "-p", "our_map")
    worse = sorted(name for name, passed in theirs.items() if passed and not ours.get(name))
    print(  # noqa: T201 - a command line program
        f"werkzeug {VERSION}: of {len(theirs)} routing tests {sum(theirs.values())} pass on its own map,"
        f" {sum(ours.values())} on carboy's; only on its own: {', '.join(worse) or 'none'}"
    )
    return 0 if any(theirs.values()) and not worse else 1


if __name__ == "__main__":
    sys.exit(main())
