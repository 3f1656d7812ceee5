"""The bars that carboy is to clear, computed from the results of one run."""

from __future__ import annotations

import dataclasses
import statistics
import typing as t

from cases import CASES
from peers import PLAIN, SHORT
from serving import BARE

SYNC, ASYNC = "carboy, sync view", "carboy, async view"
STARLETTE_SYNC = "Starlette, sync endpoint"
RIVALS = ("Emmett55", "BlackSheep", "Starlette", "Sanic", "Robyn", "aiohttp", "Falcon")
FLASK_FACTORS = {"order": 2.5, "form": 2.5, "session": 2.5, "upload": 2.5, "page": 1.4}
DIRECT_LIMITS = {
    "plain": 6 / 54,
    "session": 45 / 133,
    "form": 25 / 99,
    "order": 40 / 100,
    "upload": 450 / 1108,
    "async": 80 / 289,
}
"""Of Flask's time in the same run."""


@dataclasses.dataclass
class Bar:
    """A figure and what it is to be."""

    subject: str
    measure: str
    figure: float
    limit: float
    at_least: bool = False
    """Whether *figure* is to be *limit* or more, instead of *limit* or less."""

    @property
    def met(self) -> bool:
        """Whether the bar is cleared."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


class _Cells:
    """The results of HTTP requests, by server, application and case."""

    def __init__(self, rows: list[dict[str, t.Any]]) -> None:
        self.rows = rows
        self.found = {(row["server"], row["target"], row["case"]): row for row in rows}

    def ratio(self, case: str, one: tuple[str, str], other: tuple[str, str]) -> float:
        """Return the median over the rounds of one cell's CPU time per request divided by another's."""
        pairs = zip(self.found[*one, case]["rounds"], self.found[*other, case]["rounds"], strict=True)
        return float(statistics.median(a / b for a, b in pairs))

    def best(self, case: str, wanted: t.Callable[[str], bool]) -> tuple[str, str]:
        """Return server and name of the application that takes the least CPU time of those *wanted*."""
        rows = [row for row in self.rows if row["case"] == case and wanted(row["target"])]
        row = min(rows, key=lambda row: row["cpu_us"])
        return row["server"], row["target"]


def bars(http: dict[str, t.Any], direct: dict[str, t.Any], memory: dict[str, t.Any]) -> list[Bar]:
    """Return all bars, from the results of the families."""
    cells = _Cells(http["results"])
    return [
        *(*_short(cells), *_sync(cells), *_work(cells), *_rows(cells), *_routes(cells)),
        *(*_direct(direct), *_direct_rows(direct), *_memory(memory, direct)),
    ]


def _short(cells: _Cells) -> t.Iterator[Bar]:
    for case in SHORT:
        title = CASES[case].title
        wsgi, rsgi = ("granian WSGI", SYNC), ("granian RSGI", ASYNC)
        yield Bar(title, "WSGI: carboy / bare", cells.ratio(case, wsgi, ("granian WSGI", BARE)), 1.25)
        yield Bar(title, "WSGI: Flask / carboy", cells.ratio(case, ("granian WSGI", "Flask"), wsgi), 4, True)
        yield Bar(title, "RSGI: carboy / bare", cells.ratio(case, rsgi, ("granian RSGI", BARE)), 1.15)
        rival = cells.best(case, lambda name: name in RIVALS)
        yield Bar(title, f"RSGI: carboy / the best other ({rival[1]})", cells.ratio(case, rsgi, rival), 1)
        for server in ("uvicorn", "granian ASGI"):
            for name in ("Starlette", "BlackSheep"):
                figure = cells.ratio(case, (server, ASYNC), (server, name))
                yield Bar(title, f"{server}: carboy / {name}", figure, 1)


def _sync(cells: _Cells) -> t.Iterator[Bar]:
    for case in SHORT:
        for server in ("granian RSGI", "granian ASGI", "uvicorn"):
            # There is no Starlette on RSGI; its nearest is the same server's ASGI.
            other = "granian ASGI" if server == "granian RSGI" else server
            figure = cells.ratio(case, (other, STARLETTE_SYNC), (server, SYNC))
            yield Bar(f"{CASES[case].title}, sync", f"{server}: Starlette / carboy", figure, 2, True)


def _work(cells: _Cells) -> t.Iterator[Bar]:
    for case, factor in FLASK_FACTORS.items():
        title = CASES[case].title
        wsgi = ("granian WSGI", SYNC)
        yield Bar(title, "WSGI: Flask / carboy", cells.ratio(case, ("granian WSGI", "Flask"), wsgi), factor, True)
        own = cells.best(case, lambda name: name in (SYNC, ASYNC))
        rival = cells.best(case, lambda name: name != BARE and "carboy" not in name)
        yield Bar(title, f"{own[0]}: carboy / the best other ({rival[1]})", cells.ratio(case, own, rival), 1.1)


def _rows(cells: _Cells) -> t.Iterator[Bar]:
    for server, own, other in (
        ("granian WSGI", SYNC, "Flask with Flask-SQLAlchemy"),
        ("granian WSGI", SYNC, "Django"),
        ("uvicorn", SYNC, "FastAPI"),
        ("uvicorn", ASYNC, "FastAPI"),
    ):
        figure = cells.ratio("row", (server, own), (server, other))
        yield Bar(CASES["row"].title, f"{server}: {own} / {other}", figure, 1)


def _routes(cells: _Cells) -> t.Iterator[Bar]:
    for cell in (("granian WSGI", SYNC), ("granian RSGI", ASYNC), ("uvicorn", ASYNC)):
        # Not of the same minute, so the ratio is that of the medians.
        figure = cells.found[*cell, "routes"]["cpu_us"] / cells.found[*cell, "path"]["cpu_us"]
        yield Bar("5,000 routes", f"{cell[0]}: 5,000 / 200 routes", figure, 1.2)


def _direct(direct: dict[str, t.Any]) -> t.Iterator[Bar]:
    times = {(row["target"], row["case"]): row["microseconds"] for row in direct["calls"] if row["protocol"] == "WSGI"}
    titles = {**{name: case.title for name, case in CASES.items()}, "async": "async view under WSGI"}
    for case, limit in DIRECT_LIMITS.items():
        own, flask = times["carboy", case], times["Flask", case]
        yield Bar(f"{titles[case]}, no server", f"carboy {own:.1f} µs / Flask {flask:.1f} µs", own / flask, limit)


def _direct_rows(direct: dict[str, t.Any]) -> t.Iterator[Bar]:
    times = {row["target"]: row["microseconds"] for row in direct["calls"] if row["case"] == "row"}
    part = times["carboy"] - times[PLAIN]
    yield Bar(f"{CASES['row'].title}, no server", "carboy.db's part, µs", part, 15)


def _memory(memory: dict[str, t.Any], direct: dict[str, t.Any]) -> t.Iterator[Bar]:
    used = {(row["server"], row["target"]): row["started_mib"] for row in memory["results"]}
    for server in ("granian WSGI", "gunicorn"):
        figure = used[server, SYNC] / used[server, "Flask"]
        yield Bar("memory after start", f"{server}: carboy / Flask", figure, 1.1)
    created = [direct["imports"][name] for name in (CREATED["carboy"], CREATED["flask"])]
    for key, what in (("milliseconds", "time"), ("memory_mib", "memory")):
        yield Bar("import and create an app", f"{what}: carboy / Flask", created[0][key] / created[1][key], 1)


CREATED = {"carboy": "import carboy; carboy.Carboy(name)", "flask": "import flask; flask.Flask(name)"}
