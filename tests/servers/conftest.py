"""Real servers as processes, each started once, on a free port."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Served, not collected, though its name looks like a test's.
collect_ignore = ["app_under_test.py", "app_with_hooks.py"]

HERE = Path(__file__).parent
STATIC = bytes(range(256)) * 400

# The protocol, and the command line after `python -m`.
SERVERS = {
    "gunicorn-sync": ("wsgi", "gunicorn app_under_test:app -w 1 -k sync -b 127.0.0.1:{port}"),
    "gunicorn-gthread": ("wsgi", "gunicorn app_under_test:app -w 1 -k gthread --threads 8 -b 127.0.0.1:{port}"),
    "uvicorn": ("asgi", "uvicorn app_under_test:app --port {port}"),
    "hypercorn": ("asgi", "hypercorn app_under_test:app -b 127.0.0.1:{port}"),
    "granian-rsgi": ("rsgi", "granian app_under_test:app --interface rsgi --port {port}"),
    "granian-asgi": ("asgi", "granian app_under_test:app --interface asgi --port {port}"),
    "granian-wsgi": ("wsgi", "granian app_under_test:app --interface wsgi --port {port}"),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(condition, seconds=10):
    """Return what *condition* gives once it is true, or at last."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


class Server:
    """One server process with the application under test.

    With starts=False it may also fail to start.
    """

    def __init__(self, name, directory, module="app_under_test", arguments="", starts=True):
        self.protocol, command = SERVERS[name]
        self.port = free_port()
        command = f"{command.format(port=self.port)} {arguments}".replace("app_under_test", module)
        self.record_file = directory / "record"
        self.record_file.touch()
        self.log_file = directory / "log"
        static = directory / "static"
        static.mkdir()
        (static / "data.bin").write_bytes(STATIC)
        environ = {
            **os.environ,
            "CARBOY_TEST_RECORD": str(self.record_file),
            "CARBOY_TEST_STATIC": str(static),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
            "PYTHONWARNINGS": "error:::carboy",
        }
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=HERE,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if starts and not eventually(self.answers, 20):
            self.stop()
            pytest.fail(f"{name} did not start:\n{self.log_file.read_text()}")

    def answers(self):
        if self.process.poll() is not None:
            return False
        try:
            return self.request("GET", "/")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def request(self, method, path, body=None, headers=None):
        """Return status, headers and body of the answer, over a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def records(self):
        return self.record_file.read_text().splitlines()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """The servers that were started so far, by name."""
    servers = {}

    def get(name):
        if name not in servers:
            servers[name] = Server(name, tmp_path_factory.mktemp(name))
        return servers[name]

    yield get
    for server in servers.values():
        server.stop()


@pytest.fixture(params=SERVERS)
def server(request, running):
    """Runs a test on each server."""
    return running(request.param)


@pytest.fixture(params=SERVERS)
def own_server(request, tmp_path):
    """A server for one test, which may end it."""
    server = Server(request.param, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def launch(tmp_path_factory):
    """Starts servers for one test, given what `Server` takes but the directory."""
    servers = []

    def start(name, *args, **kwargs):
        servers.append(Server(name, tmp_path_factory.mktemp(name), *args, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def wait_for():
    """Waits until a condition holds, and fails after ten seconds."""

    def wait(condition):
        assert eventually(condition)

    return wait
