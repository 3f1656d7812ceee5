"""`carboy run` as a user starts it, on each interface: pages, errors, reload, the end."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

SHOP = """\
import asyncio
import os
import flask

app = flask.Flask(__name__)

@app.get("/")
def index():
    return "VERSION " + str(os.getpid())

@app.get("/async")
async def waits():
    await asyncio.sleep(0)
    return flask.request.scheme

@app.get("/crash")
async def crash():
    price = 1 / 0
    return price
"""


class Run:
    """A `carboy run` process in a folder with the application above."""

    def __init__(self, folder, *args):
        self.file = folder / "shop.py"
        self.write(SHOP)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.scheme = "https" if "--cert" in args else "http"
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "WERKZEUG_"))}
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "carboy", "--app", "shop", "run", "--port", str(self.port), *args],
                cwd=folder,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def write(self, source):
        self.file.write_text(source)

    def get(self, path="/"):
        """Return status and body; while the server starts, wait for it."""
        trust_all = ssl.create_default_context()
        trust_all.check_hostname, trust_all.verify_mode = False, ssl.CERT_NONE
        url = f"{self.scheme}://127.0.0.1:{self.port}{path}"
        for _ in range(100):
            try:
                with urllib.request.urlopen(url, timeout=5, context=trust_all) as response:
                    return response.status, response.read().decode()
            except urllib.error.HTTPError as response:
                with response:
                    return response.code, response.read().decode()
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def wait_for(self, text, path="/"):
        """Return the body of the first answer that holds *text*."""
        for _ in range(100):
            body = self.get(path)[1]
            if text in body:
                return body
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def logged(self, text):
        """Return whether *text* is in the log, soon: a request is logged after it was answered."""
        for _ in range(50):
            if text in self.log.read_text():
                return True
            time.sleep(0.1)
        return False

    def stop(self, signal_number=signal.SIGTERM):
        """Signal the whole group, as a terminal does for CTRL+C; return the exit code."""
        os.killpg(self.process.pid, signal_number)
        return self.process.wait(10)


@pytest.fixture
def run(tmp_path):
    runs = []

    def start(*args):
        runs.append(Run(tmp_path, *args))
        return runs[-1]

    yield start
    for each in runs:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait(10)


def test_pages_and_errors_without_debug_mode(run, protocol):
    served = run("--interface", protocol)
    assert served.get()[0] == 200
    assert served.get("/async") == (200, "http")
    status, page = served.get("/crash")
    assert status == 500
    assert "ZeroDivisionError" not in page
    assert served.logged("ZeroDivisionError: division by zero")
    assert served.logged("Serving Carboy app 'shop'")
    assert served.logged(f"Running on http://127.0.0.1:{served.port}")
    assert served.logged("127.0.0.1 GET /async 200 ")
    served.get("/%1b[2J%0a?page=2")
    assert served.logged("GET /%1b[2J%0a?page=2 404 ")


def test_reload_and_debugger(run, protocol):
    served = run("--interface", protocol, "--debug")
    first = served.wait_for("VERSION")
    status, page = served.get("/crash")
    assert status == 500
    assert "price = 1 / 0" in page
    assert "__debugger__" in page
    assert served.logged("Debugger PIN:")

    served.write(SHOP.replace("VERSION", "SECOND"))
    second = served.wait_for("SECOND")
    assert first.split()[1] != second.split()[1]

    served.write("a mistake")
    assert "SyntaxError" in served.wait_for("a mistake")
    served.write(SHOP.replace("VERSION", "THIRD"))
    served.wait_for("THIRD")
    assert served.stop(signal.SIGINT) in (0, -signal.SIGINT)


def test_debugger_console_asks_for_the_pin_and_a_trusted_host(run, protocol):
    served = run("--interface", protocol, "--debug")
    page = served.get("/crash")[1]
    secret = re.search(r'SECRET = "(\w+)"', page)[1]
    frame = re.findall(r'id="frame-(\d+)"', page)[-1]
    assert served.logged("Debugger PIN: ")
    pin = re.search(r"Debugger PIN: (\S+)", served.log.read_text())[1]

    def command(cmd, **headers):
        url = f"http://127.0.0.1:{served.port}/?__debugger__=yes&s={secret}&{cmd}"
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5)

    evaluate = f"frm={frame}&cmd='evalu'%2B'ated'*len(flask.request.method[:1])"
    with command(evaluate) as answer:
        assert b"evaluated" not in answer.read()
    with pytest.raises(urllib.error.HTTPError) as refused:
        command(f"cmd=pinauth&pin={pin}", Host="evil.example")
    assert refused.value.code == 400
    refused.value.close()
    with command(f"cmd=pinauth&pin={pin}") as answer:
        assert b'"auth": true' in answer.read()
        cookie = answer.headers["Set-Cookie"].split(";")[0]
    with command(evaluate, Cookie=cookie) as answer:
        assert b"evaluated" in answer.read()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ends_at_a_signal(run, protocol, signal_number):
    served = run("--interface", protocol)
    served.get()
    assert served.stop(signal_number) in (0, -signal_number)


def test_https_with_a_certificate_made_for_the_run(run, protocol):
    served = run("--interface", protocol, "--cert", "adhoc")
    assert served.get("/async") == (200, "https")


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "127.0.0.1"])
def test_host(run, protocol, host):
    served = run("--interface", protocol, "--host", host)
    assert served.get()[0] == 200


def test_port_in_use(run, protocol):
    first = run("--interface", protocol)
    first.get()
    folder = first.file.parent
    second = subprocess.run(first.process.args, cwd=folder, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "in use" in second.stderr


@pytest.mark.parametrize(
    ("host", "reason"), [("unix:///no/such/folder", "No such file"), ("192.0.2.1", "Cannot assign")]
)
@pytest.mark.parametrize("interface", ["asgi", "rsgi"])
def test_address_that_cannot_be_used(run, interface, host, reason):
    served = run("--interface", interface, "--host", host)
    assert served.process.wait(10) == 1
    assert f"Error: Cannot listen on {host}, port {served.port}: {reason}" in served.log.read_text()


def test_any_free_port(run, protocol):
    served = run("--interface", protocol, "--port", "0", "--debug")
    for _ in range(100):
        found = re.search(r"Running on http://127\.0\.0\.1:(\d+)", served.log.read_text())
        if found:
            break
        time.sleep(0.1)
    served.port = int(found[1])
    assert served.wait_for("VERSION")


def test_unix_socket(run, protocol, tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    served = run("--interface", protocol, "--host", f"unix://{path}")
    for _ in range(100):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            break
        time.sleep(0.1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b"VERSION" in answer, served.log.read_text()
