"""Render ``results/*.json`` as ``docs/benchmarks.md``: ``python benchmarks/render.py``."""

from __future__ import annotations

import json
import typing as t

import environment

PAGE = environment.ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

What carboy adds to the cost of a request, measured beside the least that each protocol allows (a bare callable that
answers the same two requests) and beside its peers. `make bench` measures anew and writes this page.

Compare within a table, not between machines. The figure to trust is **CPU per request**: user and system time of the
server's processes, divided by the requests they answered. It hardly depends on how busy the machine is otherwise;
requests per second and latency do. *Against bare* is the median of the ratio within each round, with its range.
"""

METHOD = """\
## How it is measured

Server and client (`wrk`, one thread, {connections} connections kept alive) are pinned to a core each. All servers run
during the whole measurement; in each of {rounds} rounds every one is loaded in its turn for {seconds} s per request
kind, each round beginning with another; one second of load before the first round is not counted. Figures are medians
over the rounds. Before anything is timed, every application's answer is compared: status, content type and body.
granian runs one worker, with one blocking thread for WSGI; uvicorn runs one process with httptools and uvloop; access
logs are off. The programs are in `benchmarks/`, the figures behind this page in `benchmarks/results/`.
"""


def tables() -> str:
    """Return the tables of the newest results, as Markdown."""
    servers, direct = _results("servers"), _results("direct")
    parts = []
    for server in dict.fromkeys(row["server"] for row in servers["results"]):
        parts.append(f"## {server}\n")
        for request in dict.fromkeys(row["request"] for row in servers["results"]):
            rows = [row for row in servers["results"] if (row["server"], row["request"]) == (server, request)]
            parts.append(_server_table(request, rows))
    parts.append(_direct_tables(direct))
    return "\n".join(parts)


def _server_table(request: str, rows: list[dict[str, t.Any]]) -> str:
    flask = next((row for row in rows if row["target"].startswith("Flask")), None)
    header = [request, "CPU per request", "against bare", "requests/s", "p50", "p99"]
    if flask is not None:
        header.insert(3, "against Flask")
    lines = []
    for row in rows:
        cells = [
            row["target"],
            f"{row['cpu_us']:.1f} µs",
            "1" if row is rows[0] else "{:.2f} ({:.2f} to {:.2f})".format(row["cpu_ratio"], *row["cpu_ratio_range"]),
            f"{row['requests_per_s']:,.0f}",
            f"{row['p50_us'] / 1000:.2f} ms",
            f"{row['p99_us'] / 1000:.2f} ms",
        ]
        if flask is not None:
            cells.insert(3, f"{row['cpu_us'] / flask['cpu_us']:.2f}")
        lines.append(cells)
    return _table(header, lines)


def _direct_tables(direct: dict[str, t.Any]) -> str:
    calls, imports = direct["calls_us"], direct["imports"]
    names = list(next(iter(calls.values())))
    by_call = [[name, *(f"{times[name]:.2f} µs" for times in calls.values())] for name in names]
    by_import = [
        [f"`import {name}`", f"{cost['milliseconds']:.0f} ms", f"{cost['memory_mib']:.1f} MiB"]
        for name, cost in imports.items()
        if name != "nothing"
    ]
    return "\n".join(
        [
            "## Without a server\n",
            "One WSGI call with a copy of the same environ, the least of many repeats:\n",
            _table(["application", *calls], by_call),
            "What an import takes in a new process, and the process's memory after it"
            f" ({imports['nothing']['memory_mib']:.1f} MiB for Python alone); medians:\n",
            _table(["statement", "time", "memory"], by_import),
        ]
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_page() -> None:
    """Write the documentation's page."""
    servers = _results("servers")
    machine, versions = servers["machine"], servers["versions"]
    peers = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "python")
    where = (
        f"Measured on {servers['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
        f" {machine['system']}, Python {versions['python']}; {peers}.\n"
    )
    PAGE.write_text("\n".join([INTRODUCTION, where, tables(), METHOD.format(**servers)]))


def _results(name: str) -> dict[str, t.Any]:
    results: dict[str, t.Any] = json.loads((environment.RESULTS / f"{name}.json").read_text())
    return results


if __name__ == "__main__":
    write_page()
