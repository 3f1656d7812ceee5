"""Render ``results/*.json`` as ``docs/benchmarks.md``: ``python benchmarks/render.py``."""

from __future__ import annotations

import json
import typing as t

import environment

PAGE = environment.ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

What carboy adds to the cost of a request and of a message, measured beside the least that each protocol allows (a bare
callable that answers the same) and beside its peers. `make bench` measures anew and writes this page.

Compare within a table, not between machines. The figure to trust is **CPU per request**, and for WebSockets **messages
per CPU second**: user and system time of the server's processes. It hardly depends on how busy the machine is
otherwise; rates and latency do. *Against bare* is the median of the ratio within each round, with its range.
"""

METHOD = """\
## How it is measured

Server and client are pinned to a core each. All servers of a table run during the whole measurement; in each of
{rounds} rounds every one is loaded in its turn for {seconds} s, each round beginning with another; one second of load
before the first round is not counted. Figures are medians over the rounds. Before anything is timed, every
application's answer is compared: status, content type and body; of WebSockets every echo is.

HTTP requests come from `wrk` (one thread, {connections} connections kept alive). WebSocket messages come from
`benchmarks/echo_client.py`, which has one message on its way on each connection and whose handshakes are over when the
time begins. granian runs one worker, with one blocking thread for WSGI; uvicorn runs one process with httptools,
uvloop, and websockets' sans-I/O implementation; access logs are off. The programs are in `benchmarks/`, the figures
behind this page in `benchmarks/results/`.
"""


def tables() -> str:
    """Return the tables of the newest results, as Markdown."""
    return "\n".join([_answering_tables(), _echo_tables(), _waiting_tables(), _direct_tables(_results("direct"))])


def _groups(rows: list[dict[str, t.Any]], key: str) -> dict[str, list[dict[str, t.Any]]]:
    groups: dict[str, list[dict[str, t.Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return groups


def _against_bare(row: dict[str, t.Any]) -> str:
    if "ratio" not in row or row["target"].startswith("bare"):
        return "1" if "ratio" in row else "-"
    return "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"])


def _milliseconds(row: dict[str, t.Any], name: str) -> str:
    return f"{row[name] / 1000:.2f} ms"


def _answering_tables() -> str:
    parts = []
    for server, rows in _groups(_results("servers")["results"], "server").items():
        parts.append(f"## {server}\n")
        parts += [_answering_table(name, group) for name, group in _groups(rows, "measurement").items()]
    return "\n".join(parts)


def _answering_table(request: str, rows: list[dict[str, t.Any]]) -> str:
    flask = next((row for row in rows if row["target"] == "Flask"), None)
    header = [request, "CPU per request", "against bare", "requests/s", "p50", "p99"]
    if flask is not None:
        header.insert(3, "against Flask")
    lines = []
    for row in rows:
        cells = [row["target"], f"{row['cpu_us']:.1f} µs", _against_bare(row), f"{row['requests_per_s']:,.0f}"]
        cells += [_milliseconds(row, "p50_us"), _milliseconds(row, "p99_us")]
        if flask is not None:
            cells.insert(3, f"{row['cpu_us'] / flask['cpu_us']:.2f}")
        lines.append(cells)
    return _table(header, lines)


def _echo_tables() -> str:
    results = _results("echo")
    parts = [
        "## WebSocket echo\n",
        f"{results['connections']} connections, each with one text message of {results['size']} bytes on its way.\n",
    ]
    lines = []
    for row in sorted(results["results"], key=lambda row: -row["messages_per_cpu_s"]):
        cells = [row["target"], row["server"], f"{row['messages_per_cpu_s']:,.0f}", _against_bare(row)]
        lines.append([*cells, f"{row['messages_per_s']:,.0f}", _milliseconds(row, "p99_us")])
    header = ["application", "server", "messages per CPU second", "against bare", "messages/s", "p99"]
    return "\n".join([*parts, _table(header, lines)])


def _waiting_tables() -> str:
    results = _results("waiting")
    lines = []
    for row in results["results"]:
        cells = [row["target"], row["server"], f"{row['cpu_us']:.1f} µs", _against_bare(row)]
        lines.append([*cells, f"{row['requests_per_s']:,.0f}", _milliseconds(row, "p99_us")])
    header = ["application", "server", "CPU per request", "against bare", "requests/s", "p99"]
    beside = []
    for row in results["sync"]:
        cells = [row["server"], f"{row['sleeps_per_s']:,.0f}", f"{row['requests_per_s']:,.0f}"]
        beside.append([*cells, _milliseconds(row, "p50_us"), _milliseconds(row, "p99_us")])
    return "\n".join(
        [
            "## Requests that wait\n",
            f"An async view that awaits 10 ms, {results['connections']} requests at once:\n",
            _table(header, lines),
            f"A sync view that sleeps 10 ms, {results['connections']} requests at once on {results['threads']} threads"
            f" (`CARBOY_THREADS`), and meanwhile an async endpoint with {results['beside']} requests at once:\n",
            _table(["server", "sleeps/s", "async requests/s", "async p50", "async p99"], beside),
        ]
    )


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
