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
from pathlib import Path

from thirdparty import CACHE, ROOT, outcomes, sdist

VERSION = importlib.metadata.version("werkzeug")


def run(name: str, *options: str) -> dict[str, bool]:
    """Run the tests and return for each whether it passed."""
    report = CACHE / f"werkzeug-routing-{name}.xml"
    report.unlink(missing_ok=True)
    # The distribution's conftest.py is about its development server.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", f"--junitxml={report}"]
    path = os.pathsep.join([str(Path(__file__).parent), str(ROOT / "src")])
    env = os.environ | {"PYTHONPATH": path}
    subprocess.run([*command, *options, "tests/test_routing.py"], cwd=sdist("werkzeug", VERSION), env=env, check=False)
    return {name: outcome == "passed" for name, outcome in outcomes(report).items()}


def main() -> int:
    """Compare the two runs; return 0 if ours is as good."""
    theirs, ours = run("werkzeug"), run("carboy", "-p", "our_map")
    worse = sorted(name for name, passed in theirs.items() if passed and not ours.get(name))
    print(
        f"werkzeug {VERSION}: of {len(theirs)} routing tests {sum(theirs.values())} pass on its own map,"
        f" {sum(ours.values())} on carboy's; only on its own: {', '.join(worse) or 'none'}"
    )
    return 0 if any(theirs.values()) and not worse else 1


if __name__ == "__main__":
    sys.exit(main())
