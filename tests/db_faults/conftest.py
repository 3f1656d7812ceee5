"""The bank on real servers, with a database that may go away."""

import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest

HERE = Path(__file__).parent
collect_ignore = ["bank.py"]

SERVERS = {
    "rsgi": "granian bank:app --interface rsgi --port {port}",
    "asgi": "uvicorn bank:app --port {port}",
    "wsgi": "gunicorn bank:app -k gthread --threads 16 -b 127.0.0.1:{port}",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds, what="it"):
    """Wait until *condition* holds, and return what it gives."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return found


class PostgreSQL:
    """A server of our own, which may be stopped and started."""

    def __init__(self):
        found = [*sorted(glob.glob("/usr/lib/postgresql/*/bin")), os.path.dirname(shutil.which("pg_ctl") or "")]
        if not os.path.exists(os.path.join(found[0], "pg_ctl")):
            message = "pg_ctl is not installed: tests that restart PostgreSQL are not run"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
        self._programs = found[0]
        # It refuses to be run by root.
        self._user = {"user": "postgres"} if os.getuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="carboy-postgresql-"))
        if self._user:
            shutil.chown(self.folder, "postgres")
        self.port = free_port()
        self._call("initdb", "-D", str(self.folder / "data"), "-U", "bank", "-A", "trust", "--no-sync")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n")
            file.write("max_connections = 60\nfsync = off\ndeadlock_timeout = 50ms\n")
        self.start()
        self.url = f"postgresql://bank@127.0.0.1:{self.port}/postgres"

    def _call(self, program, *arguments):
        command = [os.path.join(self._programs, program), *arguments]
        with (self.folder / "log").open("ab") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=60, cwd="/", **self._user)

    def start(self):
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "data" / "log"), "start")

    def stop(self, mode="fast"):
        self._call("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    def query(self, statement):
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def close(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(name="until")
def until_fixture():
    """Waits until a condition holds."""
    return until


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL that belongs to these tests."""
    server = PostgreSQL()
    yield server
    server.close()


class Bank:
    """The bank on one server."""

    def __init__(self, protocol, folder, url, **settings):
        self.port = free_port()
        self.log = folder / "log"
        settings = {"DATABASE_URL": url, "DATABASE_POOL_SIZE": 5, "DATABASE_MAX_OVERFLOW": 0} | settings
        environment = os.environ | {
            "BANK": str(folder),
            "FLASK_APP": "bank",
            **{f"BANK__{name}": str(value) for name, value in settings.items()},
        }
        with self.log.open("wb") as log:
            options = {"cwd": HERE, "env": environment, "stdout": log, "stderr": subprocess.STDOUT}
            if not (folder / "open").exists():
                subprocess.run([sys.executable, "-m", "carboy", "open"], check=True, timeout=60, **options)
                (folder / "open").touch()
            command = SERVERS[protocol].format(port=self.port).split()
            self.process = subprocess.Popen([sys.executable, "-m", *command], **options)
        until(self._answers, 30, "a start")

    def _answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("GET", "/")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, connection=None, **query):
        """Return status, headers and body."""
        own = connection is None
        if own:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if own:
                connection.close()

    def ask_all(self, method, paths, at_once):
        """Ask for all *paths*, so many at once."""
        with ThreadPoolExecutor(at_once) as threads:
            return list(threads.map(lambda path: self.ask(method, path), paths))

    def is_free(self):
        """Whether no connection is in use."""
        return json.loads(self.ask("GET", "/pool")[2])["in use"] == 0

    def stop(self):
        """Stop the server, and return what it has said."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        return self.log.read_text()


@pytest.fixture(params=SERVERS)
def protocol(request):
    return request.param


@pytest.fixture(params=["sync", "async"])
def side(request):
    """Which views."""
    return request.param


@pytest.fixture
def start(tmp_path):
    """Starts banks."""
    banks = []

    def start(protocol, url, **settings):
        banks.append(Bank(protocol, tmp_path, url, **settings))
        return banks[-1]

    yield start
    for bank in banks:
        if bank.process.poll() is None:
            bank.stop()
