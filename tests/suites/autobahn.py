"""Runs Autobahn's WebSocket cases against carboy's echo endpoint and against a bare handler on the same servers.

    python tests/suites/autobahn.py [--servers NAME...] [CASE...]

The runner is ``kosoku``, which drives the cases of Autobahn's test suite; it gets a virtual environment of its own in
``.cache/``. All cases run except those about compression (12, 13), which is the servers' business. A case counts by its
verdict on the messages and its verdict on the closing handshake. What carboy must show: on each server, every case ends
with the same two verdicts as the bare handler's, so that nothing fails which the server by itself would pass.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import typing as t
import venv
from pathlib import Path

KOSOKU = "kosoku==0.1.0"
ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
COMPRESSION = ["12.*", "13.*"]
CASES = 301
"""How many cases there are without those about compression."""
AGAIN = 2
"""How often a case is run again, alone, when it ended unlike the bare handler's: some depend on the moment."""

GRANIAN = "granian --no-access-log --log-level warning --port {port} --interface"
UVICORN = "uvicorn --lifespan off --log-level error --port {port} --ws"
SERVERS = {
    "uvicorn, websockets": (f"{UVICORN} websockets-sansio", "asgi"),
    "uvicorn, wsproto": (f"{UVICORN} wsproto", "asgi"),
    "granian ASGI": (f"{GRANIAN} asginl", "asgi"),
    "granian RSGI": (f"{GRANIAN} rsgi", "rsgi"),
}

# Ends without the interpreter's shutdown, which kosoku's threads do not always survive.
RUNNER = """
import asyncio, json, os, sys
import kosoku
url, cases, exclude, target = json.loads(sys.argv[1])
try:
    results = asyncio.run(kosoku.run_fuzzingclient(url, cases or None, exclude, concurrency=4))
except kosoku.FailureError as failure:
    results = failure.results
with open(target, "w") as file:
    json.dump({r.case_id: [r.behavior.value, r.behavior_close.value] for r in results}, file)
os._exit(0)
"""

Verdicts = dict[str, tuple[str, str]]


def runner() -> Path:
    """Return the Python of the runner's environment, making it at first use."""
    folder = CACHE / "venvs" / f"autobahn-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = folder / "bin" / "python", folder / "made-for.txt"
    if not stamp.is_file() or stamp.read_text() != KOSOKU:
        venv.create(folder, clear=True, with_pip=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", KOSOKU], check=True)
        stamp.write_text(KOSOKU)
    return python


@contextlib.contextmanager
def serving(command: str, app: str, log: Path) -> t.Iterator[str]:
    """Serve *app* while the context lasts; give the URL of its echo endpoint.

    Raises:
        RuntimeError: The server does not start within 20 seconds.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "benchmarks" / "apps")])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.format(port=port).split(), app],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command} with {app} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield f"ws://127.0.0.1:{port}/echo"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def drive(url: str, cases: list[str]) -> Verdicts:
    """Run *cases*, or all, against *url*; return both verdicts of each.

    Raises:
        RuntimeError: The runner crashed.
    """
    target = CACHE / f"autobahn-{os.getpid()}.json"
    given = json.dumps([url, cases, COMPRESSION, str(target)])
    ran = subprocess.run([runner(), "-c", RUNNER, given], capture_output=True, text=True, timeout=300, check=False)
    if not target.exists():
        raise RuntimeError(f"The runner ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    verdicts = {case: tuple(pair) for case, pair in json.loads(target.read_text()).items()}
    target.unlink()
    return verdicts


def compare(server: str, cases: list[str]) -> tuple[Verdicts, Verdicts, list[str]]:
    """Run *cases* on both applications; return the verdicts of both, and the cases in which carboy's differ."""
    command, protocol = SERVERS[server]
    logs = [CACHE / f"autobahn-{name}.log" for name in ("bare", "carboy")]
    with (
        serving(command, f"bare_live:{protocol}", logs[0]) as bare_url,
        serving(command, "carboy_live:app", logs[1]) as carboy_url,
    ):
        bare, carboy = drive(bare_url, cases), drive(carboy_url, cases)
        differing = [case for case in bare if carboy.get(case) != bare[case]]
        for _ in range(AGAIN if differing else 0):
            seen_bare, seen_carboy = drive(bare_url, differing), drive(carboy_url, differing)
            bare |= seen_bare
            carboy |= seen_carboy
            differing = [case for case in differing if seen_carboy.get(case) != seen_bare.get(case)]
            if not differing:
                break
    return bare, carboy, differing


def row(server: str, name: str, verdicts: Verdicts) -> str:
    """Return a table's row: how often each verdict was given."""
    messages = collections.Counter(message for message, _ in verdicts.values())
    closing = collections.Counter(close for _, close in verdicts.values())
    failed = sorted(case for case, pair in verdicts.items() if not is_pass(pair))
    counts = [messages[kind] for kind in ("OK", "NON-STRICT", "INFORMATIONAL")]
    cells = [server, name, *map(str, counts), str(closing["OK"]), ", ".join(failed) or "none"]
    return LAYOUT.format(*cells)


def is_pass(pair: tuple[str, str]) -> bool:
    """Say whether both verdicts are ones that Autobahn counts as conforming."""
    return all(verdict in ("OK", "NON-STRICT", "INFORMATIONAL") for verdict in pair)


LAYOUT = "{:<20} {:<7} {:>4} {:>11} {:>14} {:>10}  {}"
HEADER = LAYOUT.format("server", "app", "OK", "NON-STRICT", "INFORMATIONAL", "closing OK", "failed")


def main() -> int:
    """Run the cases on each server, print the table, and return 1 if carboy differs anywhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="for example 1.* or 9.7.1; all by default")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    options = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    runner()
    problems = []
    passed = 0
    print(HEADER)
    for server in options.servers:
        bare, carboy, differing = compare(server, options.cases)
        print(row(server, "bare", bare))
        print(row(server, "carboy", carboy), flush=True)
        problems += [f"{server}: case {case}: {carboy.get(case)}, bare {bare[case]}" for case in differing]
        if not options.cases and len(carboy) != CASES:
            problems.append(f"{server}: {len(carboy)} cases ran, not {CASES}")
        passed += len(bare) - len(differing)
    for problem in problems:
        print(problem)
    print(f"{passed} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
