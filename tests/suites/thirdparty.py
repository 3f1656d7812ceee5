"""What the runners of other projects' code share: its sources, environments and servers for it, and tests' reports."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

FLASK_VERSION = "3.1.3"
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
POISON = 'raise ImportError("This is the real Flask; the test run must use carboy.")\n'

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def sdist(project: str, version: str) -> Path:
    """Return the folder of a project's unpacked source distribution, downloading it at first use."""
    name = re.sub(r"[-_.]+", "_", project).lower()
    folder = CACHE / "sdists" / f"{name}-{version}"
    if not folder.is_dir():
        packed = folder.with_name(f"{folder.name}.packed")
        packed.mkdir(parents=True, exist_ok=True)
        # Where pytest stops looking for its configuration, before it comes to ours.
        (folder.parent / "pytest.ini").write_text("[pytest]\n")
        options = ["-q", "--no-deps", "--no-binary", project, "-d", str(packed)]
        pip(sys.executable, "download", *options, f"{project}=={version}")
        (archive_file,) = packed.glob("*.tar.gz")
        unpacked = packed / "unpacked"
        with tarfile.open(archive_file) as archive:
            archive.extractall(unpacked, filter="data")
        (top,) = unpacked.iterdir()
        top.rename(folder)
        shutil.rmtree(packed)
    return folder


def environment(name: str, packages: list[str]) -> Path:
    """Return the Python of a virtual environment with *packages*, making it at first use or when they have changed."""
    folder = CACHE / "venvs" / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    stamp = folder / "made-for.txt"
    wanted = " ".join(packages)
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True, symlinks=True)
        pip(python, "install", "-q", *packages)
        stamp.write_text(wanted)
    return python


def pip(python: Path | str, *arguments: str) -> None:
    """Run pip in an environment.

    Raises:
        subprocess.CalledProcessError: It failed; it has said why.
    """
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def poison_folder() -> Path:
    """Return a folder to put before all others on ``sys.path``, whose ``flask`` raises when it is imported."""
    folder = CACHE / "poison"
    (folder / "flask").mkdir(parents=True, exist_ok=True)
    (folder / "flask" / "__init__.py").write_text(POISON)
    return folder


def clean_environ() -> dict[str, str]:
    """Return this process's variables without those that change what Flask, carboy, pytest or some tests do."""
    changing = ("CARBOY_", "FLASK_", "PYTEST_")
    # Some suites expect servers in CI that they would otherwise start.
    return {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith(changing)}


def own_and_pytest_arguments() -> tuple[list[str], list[str]]:
    """Return this program's arguments: its own, and those behind ``--`` for pytest."""
    arguments = sys.argv[1:]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *port* takes connections.

    Raises:
        RuntimeError: It does not within a minute, or *process* has ended; with what is in *log*.
    """
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")


def outcomes(report: Path) -> dict[str, str]:
    """Return for each test of a JUnit report whether it has ``passed``, ``failed`` or was ``skipped``."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = _ADDRESS.sub("0x", f"{case.get('classname')}::{case.get('name')}")
        while name in found:
            name += "'"
        if case.find("failure") is not None or case.find("error") is not None:
            found[name] = "failed"
        else:
            found[name] = "passed" if case.find("skipped") is None else "skipped"
    return found
