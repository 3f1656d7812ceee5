"""Load a server with HTTP requests, by the client ``wrk``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serving import CLIENT_CORE, Run, Target, cpu_seconds

SCRIPT = Path(__file__).with_name("request.lua")


def require() -> None:
    """End the program if ``wrk`` is not installed."""
    if shutil.which("wrk") is None:
        sys.exit("The client 'wrk' is missing. Debian, Ubuntu: apt-get install wrk")


def start(
    target: Target, path: str, seconds: int, connections: int, arguments: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Begin to load *target*.

    Args:
        arguments: For ``request.lua``, where a request is more than its path.
    """
    command = ["taskset", "--cpu-list", CLIENT_CORE, "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--latency", "--timeout", "20s"]
    if arguments:
        command += ["--script", str(SCRIPT)]
    command += [f"http://127.0.0.1:{target.port}{path}", "--", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(client: subprocess.Popen[str], target: Target) -> Run:
    """Wait for *client*; return requests, requests/s, and latency in microseconds.

    Raises:
        RuntimeError: A request failed.
    """
    output = client.communicate()[0]
    requests = int(_found(r"(\d+) requests in", output))
    if client.returncode or not requests or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{target.label} failed:\n{output}")
    return {
        "requests": requests,
        "requests_per_s": float(_found(r"Requests/sec:\s+([\d.]+)", output)),
        "p50_us": _microseconds(_found(r"^ +50% +(\S+)", output)),
        "p99_us": _microseconds(_found(r"^ +99% +(\S+)", output)),
    }


def load(target: Target, path: str, seconds: int, connections: int, arguments: Sequence[str] = ()) -> Run:
    """Load *target* for *seconds*; return what `finish` does, and the server's CPU per request in microseconds."""
    before = cpu_seconds(target.pid)
    run = finish(start(target, path, seconds, connections, arguments), target)
    used = cpu_seconds(target.pid) - before
    return {"cpu_us": used / run.pop("requests") * 1e6, **run}


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk printed something unexpected:\n{text}")
    return found[1]


def _microseconds(duration: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]
