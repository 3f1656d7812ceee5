"""Family: WebSocket echo, beside the bare handlers and the peers, each on every server that it runs on."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

from serving import CLIENT_CORE, Run, Target, cpu_seconds, serving, summarize, take_turns

CONNECTIONS = 50
SIZE = 100
"""Bytes in a message, which is text."""


def load(target: Target, seconds: int) -> Run:
    """Let 50 connections send and wait for the echo, again and again; every echo is compared with what was sent.

    Raises:
        RuntimeError: An echo was wrong, or a connection ended.
    """
    script = str(Path(__file__).with_name("echo_client.py"))
    arguments = [str(target.port), str(CONNECTIONS), str(SIZE), str(seconds)]
    client = subprocess.Popen(
        ["taskset", "--cpu-list", CLIENT_CORE, sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdin is not None and client.stdout is not None
    # The handshakes are over when it says so.
    client.stdout.readline()
    before = cpu_seconds(target.pid)
    output = client.communicate("go\n")[0]
    used = cpu_seconds(target.pid) - before
    if client.returncode:
        raise RuntimeError(f"{target.label} failed as an echo")
    run: Run = json.loads(output)
    return {"messages_per_cpu_s": run["messages"] / used, **run}


def measure(targets: list[Target], rounds: int, seconds: int) -> dict[str, t.Any]:
    """Return the family's results."""
    with serving(targets):
        for target in targets:
            load(target, 1)
        take_turns(targets, {"echo": lambda target: load(target, seconds)}, rounds)
    settings = {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS, "size": SIZE}
    return {**settings, "results": summarize(targets, "messages_per_cpu_s")}
