"""Where the benchmarks run: an environment of its own for each peer, and what to say about the machine."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / ".cache" / "benchmarks"
ENVIRONMENTS = CACHE / f"python-{sys.version_info.major}.{sys.version_info.minor}"
FILES = CACHE / "files"
"""What the applications serve and read: ``static/notes.txt``, ``rows.sqlite``."""
NOTES = ("All that is known about the casks in the cellar.\n" * 2000)[: 64 * 1024]
ROWS = 1000

# Each is the newest stable release that runs on Python 3.11 (Django 6 does not).
VERSIONS = {
    "aiohttp": "3.14.5",
    "aiohttp-jinja2": "1.6",
    "aiohttp-session": "2.12.1",
    "aiohttp-sse": "3.0",
    "aiosqlite": "0.22.1",
    "asgiref": "3.13.0",
    "blacksheep": "2.6.4",
    "blinker": "1.9.0",
    "bottle": "0.13.4",
    "click": "8.5.1",
    "cryptography": "50.0.2",
    "django": "5.2.19",
    "emmett55": "1.3.0",
    "falcon": "4.4.0",
    "fastapi": "0.165.0",
    "flask": "3.1.3",
    "flask-sqlalchemy": "3.1.1",
    "granian": "2.8.7",
    "greenlet": "3.5.6",
    "gunicorn": "27.0.1",
    "httptools": "0.9.0",
    "itsdangerous": "2.2.0",
    "jinja2": "3.1.6",
    "litestar": "2.25.0",
    "markupsafe": "3.0.4",
    "msgspec": "0.22.0",
    "pydantic": "2.14.3",
    "python-multipart": "0.0.34",
    "quart": "0.22.0",
    "robyn": "0.88.0",
    "sanic": "25.12.1",
    "sanic-ext": "25.12.0",
    "sqlalchemy": "2.1.9",
    "sse-starlette": "3.7.0",
    "starlette": "1.10.0",
    "tornado": "6.6.1",
    "uvicorn": "0.54.0",
    "uvloop": "0.23.0",
    "websockets": "17.4",
    "werkzeug": "3.1.9",
    "whitenoise": "6.12.0",
}

_GRANIAN = ["granian", "uvloop"]
_UVICORN = ["uvicorn", "httptools", "uvloop", "websockets"]
_SQL = ["sqlalchemy", "greenlet"]
_ASYNC_SQL = [*_SQL, "aiosqlite"]
_CARBOY = ["werkzeug", "jinja2", "itsdangerous", "click", "blinker", "markupsafe"]
# carboy itself is taken from the source tree; the bare callables run in its environment. Apart from each other, because
# some peers use what they happen to find, and because not all of them can be installed together: Robyn wants an older
# uvloop, and Starlette's and Litestar's parsers of forms are packages of different authors with the same module name.
PACKAGES = {
    "carboy": [*_CARBOY, *_GRANIAN, *_UVICORN, *_ASYNC_SQL, "gunicorn"],
    "carboy and msgspec": [*_CARBOY, *_GRANIAN, "msgspec"],
    "flask": [
        *("flask", "werkzeug", "jinja2", "itsdangerous", "asgiref", "flask-sqlalchemy"),
        *(*_GRANIAN, *_SQL, "gunicorn"),
    ],
    "quart": ["quart", "werkzeug", "jinja2", "itsdangerous", *_GRANIAN, *_UVICORN, *_ASYNC_SQL],
    "starlette": [
        *("starlette", "python-multipart", "itsdangerous", "jinja2", "sse-starlette"),
        *(*_GRANIAN, *_UVICORN, *_ASYNC_SQL),
    ],
    "fastapi": ["fastapi", "pydantic", "starlette", "python-multipart", "itsdangerous", "jinja2", *_UVICORN, *_SQL],
    "litestar": ["litestar", "jinja2", "cryptography", *_GRANIAN, *_UVICORN, *_ASYNC_SQL],
    "falcon": ["falcon", "jinja2", "itsdangerous", *_GRANIAN, *_UVICORN, *_ASYNC_SQL],
    "blacksheep": ["blacksheep", "jinja2", "itsdangerous", *_GRANIAN, *_UVICORN, *_ASYNC_SQL],
    "sanic": ["sanic", "sanic-ext", "pydantic", "jinja2", "httptools", "uvloop", "websockets", *_ASYNC_SQL],
    "emmett55": ["emmett55", *_GRANIAN],
    "django": ["django", "whitenoise", "jinja2", *_GRANIAN],
    "tornado": ["tornado", "uvloop", *_ASYNC_SQL],
    "aiohttp": [
        *("aiohttp", "aiohttp-jinja2", "aiohttp-session", "aiohttp-sse", "cryptography", "jinja2"),
        *("uvloop", *_ASYNC_SQL),
    ],
    "bottle": ["bottle", "jinja2", *_GRANIAN, *_SQL],
    "robyn": ["robyn", "jinja2", *_SQL],
}
"""What is installed for whom."""


def python(name: str) -> Path:
    """Return the interpreter of the environment *name*."""
    return ENVIRONMENTS / name.replace(" ", "-") / "bin" / "python"


def prepare(names: t.Iterable[str]) -> None:
    """Make the environments *names* unless they are there already, and the files that applications serve."""
    for name in sorted(set(names)):
        _prepare_environment(name)
    _prepare_files()


def _prepare_environment(name: str) -> None:
    wanted = [f"{package}=={VERSIONS[package]}" for package in dict.fromkeys(PACKAGES[name])]
    directory = python(name).parent.parent
    ready = directory / "installed.json"
    if ready.exists() and json.loads(ready.read_text()) == wanted:
        return
    print(f"installing {name}", file=sys.stderr)  # noqa: T201
    subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
    pip = [str(python(name)), "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    ready.write_text(json.dumps(wanted))


def _prepare_files() -> None:
    static = FILES / "static" / "notes.txt"
    static.parent.mkdir(parents=True, exist_ok=True)
    static.write_text(NOTES)
    with contextlib.closing(sqlite3.connect(FILES / "rows.sqlite")) as database, database:
        # All read the same kind of file: carboy.db would make it one with a write-ahead log.
        database.execute("pragma journal_mode = wal")
        database.execute("create table if not exists casks (id integer primary key, name text, litres integer)")
        rows = [(number, f"cask {number}", number % 50) for number in range(1, ROWS + 1)]
        database.executemany("insert or replace into casks values (?, ?, ?)", rows)


def variables() -> dict[str, str]:
    """Return the environment variables for a process that imports carboy and the benchmark's applications.

    Bytecode is written, so that carboy starts as it does when installed.
    """
    paths = [str(ROOT / "src"), str(ROOT / "benchmarks" / "apps")]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "BENCHMARK_FILES": str(FILES),
        # BlackSheep's name for the end of a template's name.
        "APP_JINJA_EXTENSION": ".html",
    }


def describe() -> dict[str, t.Any]:
    """Return date, machine and versions, for the results; nothing that names the machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _line("/proc/cpuinfo", "model name"),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(int(_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        },
        "versions": {"python": platform.python_version(), **VERSIONS},
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


MEASURED = {"http": "results", "direct": "calls"}
"""Where the rows are in the results of those families that have cases."""


def replace_cases(name: str, cases: list[str], results: dict[str, t.Any]) -> None:
    """Put the rows of *cases* in place of the stored ones.

    That is fair because figures are compared within a case, whose measurements take turns.

    Raises:
        RuntimeError: The stored results are of another machine, or other versions.
    """
    path = RESULTS / f"{name}.json"
    stored, now = json.loads(path.read_text()), describe()
    versions = {package: version for package, version in now["versions"].items() if package in stored["versions"]}
    if (stored["machine"], stored["versions"]) != (now["machine"], versions):
        raise RuntimeError(f"{path.name} is of another machine, or of other versions: measure all its cases.")
    rows = [row for row in stored[MEASURED[name]] if row["case"] not in cases]
    stored |= {
        "versions": now["versions"],
        "anew": stored.get("anew", {}) | dict.fromkeys(cases, now["date"]),
        MEASURED[name]: [*rows, *results[MEASURED[name]]],
    }
    path.write_text(json.dumps(stored, indent=2) + "\n")
