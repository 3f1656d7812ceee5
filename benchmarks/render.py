"""Render ``results/*.json`` as ``docs/benchmarks.md`` and its picture: ``python benchmarks/render.py``."""

from __future__ import annotations

import json
import typing as t

import direct
import environment
import plot
from bars import Bar, bars
from cases import CASES
from serving import BARE

PAGE = environment.ROOT / "docs" / "benchmarks.md"
PICTURE = environment.ROOT / "docs" / "benchmarks.svg"

INTRODUCTION = """\
# Benchmarks

What carboy adds to the cost of a request and of a message, measured beside the least that each protocol allows (a bare
callable that answers the same) and beside its peers. `make bench` measures anew and writes this page.

Compare within a table, not between machines. The figure to trust is **CPU per request**, and for WebSockets **messages
per CPU second**: user and system time of all of a server's processes. It hardly depends on how busy the machine is
otherwise; rates and latency do. *Against bare* is the median of the ratio within each round to the bare callable on the
same server, with its range.
"""

PEERS = """\
## Who takes part

Every framework runs on the server where it takes the least CPU time: granian, uvicorn, or its own. carboy, Flask and
the bare callable also run on gunicorn, and carboy, Starlette and BlackSheep on granian's ASGI, to compare on the same
server. A framework takes part in what it has, or in what its users take a well-known library for:

- Sessions: Falcon with itsdangerous, Bottle's and Tornado's signed cookies, aiohttp-session and Litestar's and
  Emmett55's own, which encrypt theirs. Sanic has none. They are switched on for the session's route only.
- The page is Jinja's. Tornado and Emmett55 have template languages of their own and are left out.
- Forms: Robyn does not parse urlencoded ones.
- Files: Django with WhiteNoise.
- The row, by SQLAlchemy: carboy with `carboy.db`, and, as *carboy with plain SQLAlchemy*, with a session that the view
  makes, as in the other frameworks; Flask that way too, and with Flask-SQLAlchemy; Django with its own mapper and a
  connection that is kept. Async with aiosqlite in async views, except FastAPI, whose documentation has sync endpoints
  there. Emmett55's users have another mapper. All read one row by its key from the same SQLite file, which has a
  write-ahead log; carboy.db alone checks foreign keys and looks for slow statements. No session is used twice.
- Events: sse-starlette, aiohttp-sse, and what FastAPI, Litestar, Falcon under ASGI, BlackSheep, Robyn, Emmett55 and
  carboy's async view have themselves; by hand elsewhere.
- *carboy with msgspec* is the same application where msgspec is installed too.
- The bare callables have no sessions, templates, uploads, files or databases.

Each has an environment of its own, with compiled wheels where it publishes them (Falcon, BlackSheep, granian, uvloop,
httptools, aiohttp, Robyn), in the newest versions that Python {python} can install; Robyn brings an older uvloop.
"""

METHOD = """\
## How it is measured

Server and client are pinned to a core each. All servers of a table run during the whole measurement; in each of
{rounds} rounds every one is loaded in its turn for {seconds} s, each round beginning with another. Figures are medians
over the rounds. Before anything is timed, 30 answers of every application are compared: status, content type and
content; of WebSockets every echo is.

HTTP requests come from `wrk` (one thread, 16 connections kept alive; 4 for the upload, 256 for the wait). WebSocket
messages come from `benchmarks/echo_client.py`, which has one message on its way on each connection and whose handshakes
are over when the time begins. granian runs one worker, with one blocking thread for WSGI (256 where requests wait);
uvicorn runs one process with httptools, uvloop, and websockets' sans-I/O implementation; access logs are off.

Applications have 200 routes `/shelf<n>/items/<int>` behind those of the other cases, or 5,000; the one in the middle is
requested. The session's cookie is read, changed and signed anew; of the page's 50 rows each is escaped; the event
stream is opened, sends 100 events, and ends. Nothing is switched off in carboy: contexts, signals, sessions, hooks and
error handling are there in every request. Memory is the proportional set size of the server's processes. The programs
are in `benchmarks/`, the figures behind this page in `benchmarks/results/`.
"""


def page(results: dict[str, dict[str, t.Any]]) -> str:
    """Return the documentation's page, of the results of all families."""
    http = results["http"]
    machine, versions = http["machine"], http["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
    where = (
        f"Measured on {http['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" {machine['system']}, Python {versions['python']}; {named}.\n"
    )
    for case, date in (http.get("anew", {}) | results["direct"].get("anew", {})).items():
        where += f"The {CASES[case].title} was measured on {date}, in a run of its own.\n"
    picture = f"![Server CPU time per request of each framework, by case]({PICTURE.name})\n"
    parts = [
        INTRODUCTION,
        where,
        picture,
        _bars_table(bars(http, results["direct"], results["memory"])),
        _overview(http),
    ]
    parts += [tables(name, results[name]) for name in TABLES]
    return "\n".join([*parts, PEERS.format(python="3.11"), METHOD.format(**http)])


def tables(family: str, results: dict[str, t.Any]) -> str:
    """Return the tables of one family's *results*."""
    return TABLES[family](results)


def _bars_table(found: list[Bar]) -> str:
    lines = []
    for bar in found:
        wanted = f"at least {bar.limit:.2f}" if bar.at_least else f"at most {bar.limit:.2f}"
        lines.append([bar.subject, bar.measure, f"{bar.figure:.2f}", wanted, "yes" if bar.met else "**no**"])
    met = sum(bar.met for bar in found)
    return "\n".join(
        [
            "## Bars\n",
            "What carboy is to reach, as ratios of CPU time per request in one run if no unit is named;"
            f" {met} of {len(found)} are met.\n",
            _table(["case", "ratio", "figure", "bar", "met"], lines),
        ]
    )


def _overview(http: dict[str, t.Any]) -> str:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in http["results"]:
        found.setdefault((row["target"], row["server"]), {})[row["case"]] = row["cpu_us"]
    lines = []
    for (target, server), cells in found.items():
        figures = [f"{cells[case]:,.0f}" if case in cells else "-" for case in CASES]
        lines.append([target, server, *figures])
    header = ["application", "server", *(case.title for case in CASES.values())]
    return "\n".join(["## Overview\n", "Server CPU time in µs per request:\n", _table(header, lines)])


def _http_tables(results: dict[str, t.Any]) -> str:
    parts = ["## HTTP requests\n"]
    for case in CASES.values():
        rows = [row for row in results["results"] if row["case"] == case.name]
        if rows:
            parts += [f"### {case.title[:1].upper()}{case.title[1:]}\n", _http_table(rows)]
    return "\n".join(parts)


def _http_table(rows: list[dict[str, t.Any]]) -> str:
    lines = []
    for row in sorted(rows, key=lambda row: row["cpu_us"]):
        spread = f"{min(row['rounds']):.1f} to {max(row['rounds']):.1f}"
        cells = [row["target"], row["server"], f"{row['cpu_us']:.1f} µs", spread, _against_bare(row)]
        lines.append([*cells, f"{row['requests_per_s']:,.0f}", *_percentiles(row)])
    return _table(["application", "server", "CPU", "range", "against bare", "requests/s", "p50", "p99"], lines)


def _against_bare(row: dict[str, t.Any]) -> str:
    if "ratio" not in row or row["target"] == BARE:
        return "1" if "ratio" in row else "-"
    return "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"])


def _percentiles(row: dict[str, t.Any]) -> list[str]:
    return [f"{row[name] / 1000:.2f} ms" for name in ("p50_us", "p99_us")]


def _echo_tables(results: dict[str, t.Any]) -> str:
    lines = []
    for row in sorted(results["results"], key=lambda row: -row["messages_per_cpu_s"]):
        cells = [row["target"], row["server"], f"{row['messages_per_cpu_s']:,.0f}", _against_bare(row)]
        lines.append([*cells, f"{row['messages_per_s']:,.0f}", *_percentiles(row)])
    header = ["application", "server", "messages per CPU second", "against bare", "messages/s", "p50", "p99"]
    sent = f"{results['connections']} connections, each with one text message of {results['size']} bytes on its way.\n"
    return "\n".join(["## WebSocket echo\n", sent, _table(header, lines)])


def _waiting_tables(results: dict[str, t.Any]) -> str:
    lines = []
    for row in results["results"]:
        cells = [row["server"], f"{row['sleeps_per_s']:,.0f}", f"{row['requests_per_s']:,.0f}"]
        lines.append([*cells, *_percentiles(row)])
    return "\n".join(
        [
            "## Sync views that wait\n",
            f"A sync view that sleeps 10 ms, {results['connections']} requests at once on {results['threads']} threads"
            f" (`CARBOY_THREADS`), and meanwhile an async endpoint with {results['beside']} requests at once:\n",
            _table(["server", "sleeps/s", "async requests/s", "async p50", "async p99"], lines),
        ]
    )


def _direct_tables(results: dict[str, t.Any]) -> str:
    times: dict[tuple[str, str], dict[str, float]] = {}
    for row in results["calls"]:
        times.setdefault((row["target"], row["protocol"]), {})[row["case"]] = row["microseconds"]
    by_call = [
        [target, protocol, *(f"{calls[case]:.1f}" if case in calls else "-" for case in direct.DIRECT)]
        for (target, protocol), calls in times.items()
    ]
    by_import = [
        [name, f"{cost['milliseconds']:.0f} ms", f"{cost['memory_mib']:.1f} MiB"]
        for name, cost in results["imports"].items()
    ]
    header = ["application", "protocol", *(case.title for case in direct.DIRECT.values())]
    return "\n".join(
        [
            "## Without a server\n",
            f"One call as the protocol has it, in µs, the least of {results['repeats']} repeats that take turns:\n",
            _table(header, by_call),
            "What an import takes in a new process, and the process's memory after it; medians:\n",
            _table(["statement", "time", "memory"], by_import),
        ]
    )


def _memory_tables(results: dict[str, t.Any]) -> str:
    lines = [
        [row["target"], row["server"], f"{row['started_mib']:.1f} MiB", f"{row['loaded_mib']:.1f} MiB"]
        for row in sorted(results["results"], key=lambda row: row["started_mib"])
    ]
    return "\n".join(
        [
            "## Memory\n",
            "Of all the server's processes, with the applications of the tables above (200 routes):\n",
            _table(["application", "server", "after the first answers", "after a second of load"], lines),
        ]
    )


TABLES: dict[str, t.Callable[[dict[str, t.Any]], str]] = {
    "http": _http_tables,
    "echo": _echo_tables,
    "waiting": _waiting_tables,
    "direct": _direct_tables,
    "memory": _memory_tables,
}
"""How each family is shown; its results are in the file of that name."""


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def stored() -> dict[str, dict[str, t.Any]]:
    """Return the stored results of all families."""
    return {name: json.loads((environment.RESULTS / f"{name}.json").read_text()) for name in TABLES}


def write_page() -> None:
    """Write the documentation's page and its picture."""
    results = stored()
    PAGE.write_text(page(results))
    PICTURE.write_text(plot.picture(results["http"]))


if __name__ == "__main__":
    write_page()
