"""Where the benchmarks run: an environment of their own for the peers, and what to say about the machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
VENV = ROOT / ".cache" / "benchmarks" / f"venv-{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = VENV / "bin" / "python"

# Flask brings all that carboy needs; carboy itself is taken from the source tree.
PEERS = {
    "flask": "3.1.3",
    "starlette": "1.10.0",
    "quart": "0.22.0",
    "litestar": "2.25.0",
    "blacksheep": "2.6.4",
    "sanic": "25.12.1",
    "tornado": "6.6.1",
    "granian": "2.8.7",
    "uvicorn": "0.54.0",
    "httptools": "0.9.0",
    "uvloop": "0.23.0",
    "websockets": "17.4",
}


def prepare() -> None:
    """Install the peers, unless these versions are installed already."""
    ready = VENV / "installed.json"
    if ready.exists() and json.loads(ready.read_text()) == PEERS:
        return
    wanted = [f"{name}=={version}" for name, version in PEERS.items()]
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    ready.write_text(json.dumps(PEERS))


def variables() -> dict[str, str]:
    """Return the environment variables for a process that imports carboy and the benchmark's applications.

    Bytecode is written, so that carboy starts as it does when installed.
    """
    paths = [str(ROOT / "src"), str(ROOT / "benchmarks" / "apps")]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}


def describe() -> dict[str, t.Any]:
    """Return date, machine and versions, for the results; nothing that names the machine."""
    code = (
        f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {['werkzeug', *PEERS]}}}))"
    )
    versions = json.loads(subprocess.run([PYTHON, "-c", code], check=True, capture_output=True).stdout)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _line("/proc/cpuinfo", "model name"),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(int(_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        },
        "versions": {"python": platform.python_version(), **versions},
    }


def _line(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"


def write_results(name: str, results: dict[str, t.Any]) -> None:
    """Write *results*, with date, machine and versions, into ``results/``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**describe(), **results}, indent=2) + "\n")
