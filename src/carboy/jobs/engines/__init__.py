"""The engines of jobs, and which one a URL means."""

from __future__ import annotations

import importlib.util
import typing as t
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from .contract import Engine as Engine

Open = t.Callable[[], Engine]
"""Makes an engine, one for each event loop; `Engine.open` connects it."""


class JobsURLError(ValueError):
    """JOBS_URL cannot be used. The message never has its password."""


def engine_for(url: str, folder: Path) -> Open:
    """Return what makes the engine for *url*.

    Args:
        url: ``sqlite:///``, ``postgresql://``, ``mysql://``, ``mariadb://`` or ``memory://``, with the engine's
            options in its query.
        folder: Where a relative path of SQLite is.

    Raises:
        JobsURLError: It is none of them, or what it needs is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    opener = _OPENERS.get(scheme)
    if opener is None:
        raise JobsURLError(f"JOBS_URL begins with {scheme!r}. Supported are {', '.join(sorted(_OPENERS))}.")
    return opener(url, folder)


def _sql(url: str, folder: Path) -> Open:
    _require("sqlalchemy", "carboy.jobs with a database", "jobs")
    from carboy.db.urls import DatabaseURLError, database_urls

    from .sql import SQLEngine

    address, options = _without_options(url, {"durable"})
    if address.rstrip("/") == "sqlite:":
        address = "sqlite:///jobs.sqlite"
    try:
        parsed = database_urls(address, folder, "JOBS_URL").sync
    except DatabaseURLError as e:
        raise JobsURLError(str(e)) from None
    durable = options.get("durable", "no") in ("1", "yes", "true")
    return lambda: SQLEngine(parsed, durable=durable)


def _memory(url: str, folder: Path) -> Open:
    from .memory import Memory, MemoryEngine

    memory = Memory()
    return lambda: MemoryEngine(memory)


_OPENERS: dict[str, t.Callable[[str, Path], Open]] = {
    "sqlite": _sql,
    "postgresql": _sql,
    "postgres": _sql,
    "mysql": _sql,
    "mariadb": _sql,
    "memory": _memory,
}


def _without_options(url: str, ours: set[str]) -> tuple[str, dict[str, str]]:
    """Return the URL without the options of the engine, and these."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    rest = "&".join(f"{name}={value}" for name, value in pairs if name not in ours)
    # Written by hand: urlunsplit leaves out the slashes of an address without a host.
    head = url.partition("?")[0]
    options = {name: value for name, value in pairs if name in ours}
    return f"{head}?{rest}" if rest else head, options


def _require(module: str, what: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise JobsURLError(
            f'{what} needs {module}, which is not installed. Install it with: pip install "carboy[{extra}]"'
        )
