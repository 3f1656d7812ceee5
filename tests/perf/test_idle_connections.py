"""Thousands of open connections on one worker: what each costs in memory beside a bare handler on the same server.

``CARBOY_IDLE_WEBSOCKETS`` and ``CARBOY_IDLE_STREAMS`` set how many are open at once; by default 10,000 and 5,000.
The applications are those of the benchmarks, ``bare_live`` and ``carboy_live``.
"""
# ruff: noqa: T201 - the figures are what it is run for

import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

WEBSOCKETS = int(os.environ.get("CARBOY_IDLE_WEBSOCKETS", "10000"))
STREAMS = int(os.environ.get("CARBOY_IDLE_STREAMS", "5000"))
BYTES_MORE = 8 * 1024
"""How much more memory than the bare handler's a connection may take."""
OBJECTS_MORE = 500
"""Python objects that may be left after thousands of connections have come and gone once more: caches, not one for
each. Of the memory more stays behind, which is the allocators' to use again; it is printed beside the bare handler's.
"""
WARM_UP = 200
SAMPLED = 400
WAVES = 3
ROUNDS = 100
"""How often some connections come and go after all have closed."""
PER_ADDRESS = 5000
"""Connections from one loopback address, well below the number of ports that it has."""

ROOT = Path(__file__).resolve().parents[2]
GRANIAN = "granian --no-access-log --log-level warning --backlog 4096 --backpressure 30000 --port {port} --interface"
# Keep-alive pings would need an answer, and cost the same with either application.
UVICORN = "uvicorn --lifespan off --log-level error --ws-ping-interval 3600 --port {port}"
SERVERS = {
    "uvicorn": (UVICORN, "asgi"),
    "granian-asgi": (f"{GRANIAN} asginl", "asgi"),
    "granian-rsgi": (f"{GRANIAN} rsgi", "rsgi"),
}


class Server:
    """One server process with an application of ``benchmarks/apps``."""

    def __init__(self, command, app, directory):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log_file = directory / f"{app}.log"
        paths = [str(ROOT / "src"), str(ROOT / "benchmarks" / "apps")]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.format(port=self.port).split(), app],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"{app} did not start:\n{self.log_file.read_text()}")
                time.sleep(0.05)

    def memory(self):
        """Return the bytes that belong to the server's processes: what they share counts once."""
        return sum(proportional_set_size(pid) for pid in process_tree(self.process.pid))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in process_tree(self.process.pid):
                os.kill(pid, 9)
            self.process.wait()


def process_tree(pid):
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += process_tree(int(child))
    return pids


def proportional_set_size(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel reports no Pss")


class Connections:
    """Open connections of one kind."""

    head = b"Host: 127.0.0.1\r\n"

    def __init__(self, port, count):
        self.sockets = []
        for number in range(count):
            connection = socket.socket()
            # Its port is chosen at connect, per destination.
            connection.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(20)
            connection.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
            connection.connect(("127.0.0.1", port))
            self.open(connection)
            self.sockets.append(connection)

    def close(self):
        for connection in self.sockets:
            self.leave(connection)
        for connection in self.sockets:
            connection.close()
        self.sockets.clear()

    def receive_until(self, connection, end):
        got = b""
        while not got.endswith(end):
            part = connection.recv(4096)
            assert part, got
            got += part
        return got


class WebSockets(Connections):
    """WebSockets to ``/echo``."""

    key = b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

    def open(self, connection):
        connection.sendall(b"GET /echo HTTP/1.1\r\n" + self.head + b"Connection: Upgrade\r\n" + self.key + b"\r\n")
        answer = self.receive_until(connection, b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    def leave(self, connection):
        # A close frame with code 1000, masked with zeros.
        connection.sendall(b"\x88\x82\0\0\0\0" + struct.pack("!H", 1000))
        while connection.recv(4096):
            pass

    def use(self, number):
        """Send a message on one connection and return the seconds until it is back."""
        connection = self.sockets[number]
        message = b"message %06d" % number
        begin = time.perf_counter()
        connection.sendall(b"\x81" + bytes([0x80 | len(message)]) + b"\0\0\0\0" + message)
        got = connection.recv(4096)
        assert got == b"\x81" + bytes([len(message)]) + message
        return time.perf_counter() - begin


class Streams(Connections):
    """Event streams from ``/events``, each after its first event."""

    def open(self, connection):
        connection.sendall(b"GET /events HTTP/1.1\r\n" + self.head + b"\r\n")
        answer = self.receive_until(connection, b"data: 1\n\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 "), answer

    def leave(self, connection):
        connection.shutdown(socket.SHUT_RDWR)


def measure(server, kind, count):
    """Return memory before and per connection, and the times of sampled echoes."""
    kind(server.port, WARM_UP).close()
    time.sleep(0.3)
    before = server.memory()
    begin = time.perf_counter()
    connections = kind(server.port, count)
    opened = time.perf_counter() - begin
    per_connection = (server.memory() - before) / count
    times = []
    if kind is WebSockets:
        numbers = random.Random(1).choices(range(count), k=SAMPLED)
        times = [connections.use(number) for number in numbers]
    connections.close()
    return {"before": before, "per_connection": per_connection, "times": times, "opened": opened}


def settle(server, kind, rounds, enough=0):
    """Return the least memory of the server after all have closed; stop when it is *enough*.

    An allocator gives memory back while it is being used, granian's only then and slowly: connections come and go. And
    Python keeps what it may use again until its garbage collector has gone through all objects.
    """
    lowest = server.memory()
    for number in range(rounds):
        if lowest <= enough:
            break
        kind(server.port, WARM_UP).close()
        if number % 10 == 0:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/collect", timeout=20).close()
        lowest = min(lowest, server.memory())
    return lowest


def count_objects(server):
    """Return how many objects Python's garbage collector knows in the server, when no stream is left to close."""
    counts = [-1, -2]
    deadline = time.monotonic() + 20
    while counts[-1] != counts[-2] and time.monotonic() < deadline:
        time.sleep(0.3)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/collect", timeout=20) as answer:
            counts.append(int(answer.read()))
    return counts[-1]


@pytest.fixture(scope="module", autouse=True)
def enough_files():
    """Every connection is an open file here, and another in the server, which inherits the limit."""
    needed = max(WEBSOCKETS, STREAMS) + 500
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
        except (ValueError, OSError):
            pytest.fail(f"This test needs {needed} open files and may have {hard}; see `ulimit -Hn`.")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize(("kind", "count"), [(WebSockets, WEBSOCKETS), (Streams, STREAMS)])
def test_memory_beside_the_bare_handler(name, kind, count, tmp_path, capsys):
    command, protocol = SERVERS[name]
    seen = {}
    enough = 0
    for app in (f"bare_live:{protocol}", "carboy_live:app"):
        server = Server(command, app, tmp_path)
        try:
            one = seen[app.partition("_")[0]] = measure(server, kind, count)
            if enough:
                # What importing carboy takes is not left over by connections.
                enough += one["before"] - seen["bare"]["before"]
            one["after"] = settle(server, kind, ROUNDS, enough)
            enough = one["after"]
            if app.startswith("carboy"):
                objects = count_objects(server)
                measure(server, kind, count)
                settle(server, kind, WAVES)
                more_objects = count_objects(server) - objects
            assert server.process.poll() is None
        finally:
            server.stop()
    bare, own = seen["bare"], seen["carboy"]
    more = own["per_connection"] - bare["per_connection"]
    left_over = (own["after"] - own["before"] + bare["before"]) / bare["after"]
    with capsys.disabled():
        print(f"\n{count} {kind.__name__} on {name}: {more / 1024:+.1f} KiB per connection,", end=" ")
        print(f"memory after closing {left_over:.3f} of the bare handler's,", end=" ")
        print(f"not given back {kept(own, count):.0%} (bare {kept(bare, count):.0%}),", end=" ")
        print(f"{more_objects:+d} objects after a second time")
        for app, one in seen.items():
            print(f"  {app:<7}{summary(one)}")
    assert more <= BYTES_MORE
    assert more_objects <= OBJECTS_MORE


def kept(one, count):
    """Return which share of the memory that the connections took is not given back."""
    return (one["after"] - one["before"]) / (one["per_connection"] * count)


def summary(one):
    text = "{:.1f} MiB, {:.1f} KiB per connection, {:.1f} MiB after; opened in {:.1f} s".format(
        one["before"] / 2**20, one["per_connection"] / 1024, one["after"] / 2**20, one["opened"]
    )
    if one["times"]:
        p50, p99 = statistics.median(one["times"]), statistics.quantiles(one["times"], n=100)[98]
        text += f"; echo p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms"
    return text
