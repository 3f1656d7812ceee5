"""`carboy run` as a user starts it, on each interface: pages, errors, reload, the end."""

import contextlib
import http.client
import io
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
from websockets.sync.client import connect

from carboy.server.accesslog import development_line, wants_colour

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

    def __init__(self, folder, *args, source=SHOP):
        self.file = folder / "shop.py"
        self.write(source)
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

    def start(*args, **settings):
        runs.append(Run(tmp_path, *args, **settings))
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


# -- Debug mode ------------------------------------------------------------------------


@pytest.mark.parametrize("interface", ["asgi", "rsgi"])
def test_debug_mode_leaves_requests_on_the_loop(run, interface):
    source = (
        SHOP
        + """
import threading, carboy
app.config["WEBSOCKET_ALLOWED_ORIGINS"] = "*"

@app.get("/where")
async def where():
    return f"VERSION {threading.current_thread() is app.loop_thread}"

@app.before_serving
async def note():
    app.loop_thread = threading.current_thread()

@app.get("/broken-stream")
async def broken_stream():
    yield "begun"
    raise RuntimeError("in the middle")

@app.websocket("/ws")
async def echo():
    async for message in carboy.websocket:
        await carboy.websocket.send(message + "!")
"""
    )
    served = run("--interface", interface, "--debug", source=source)
    assert served.wait_for("VERSION", "/where") == "VERSION True"
    with connect(f"ws://127.0.0.1:{served.port}/ws") as client:
        client.send("hello")
        assert client.recv(5) == "hello!"
    with contextlib.suppress(OSError, http.client.HTTPException):
        served.get("/broken-stream")
    assert served.logged("RuntimeError: in the middle")


@pytest.mark.parametrize("debugger", ["asgi", "rsgi"])
def test_application_that_cannot_start_is_shown(run, debugger):
    failing = SHOP + "\n@app.before_serving\ndef connect():\n    raise OSError('no database')\n"
    served = run("--interface", debugger, "--debug", source=failing)
    assert "no database" in served.wait_for("Werkzeug Debugger")
    served.write(SHOP)
    served.wait_for("VERSION")


def test_mistake_at_the_very_first_start_is_shown(run, protocol):
    served = run("--interface", protocol, "--debug", source="a mistake")
    assert "SyntaxError" in served.wait_for("a mistake")
    assert served.log.read_text().count("SyntaxError") >= 1
    served.write(SHOP)
    served.wait_for("VERSION")


def test_mistake_in_the_command_ends_it(run):
    served = run("--debug", source="no_app = 1")
    assert served.process.wait(20) == 2
    assert "has no application" in served.log.read_text()


def test_reload_of_configuration_and_templates(run, protocol, tmp_path):
    source = """
import os, tomllib, flask
app = flask.Flask(__name__)
app.config.from_file("settings.toml", load=tomllib.load, text=False)

@app.get("/")
def index():
    return flask.render_template("index.html", setting=app.config["SETTING"], variable=os.environ["FROM_ENV"])
"""
    settings, variables, page = tmp_path / "settings.toml", tmp_path / ".env", tmp_path / "templates" / "index.html"
    settings.write_text("SETTING = 'one'")
    variables.write_text("FROM_ENV=two")
    page.parent.mkdir()
    page.write_text("{{ setting }} {{ variable }} three")
    served = run("--interface", protocol, "--reload", source=source)
    assert served.wait_for("three") == "one two three"
    page.write_text("{{ setting }} {{ variable }} changed")
    served.wait_for("one two changed")
    variables.write_text("FROM_ENV=another")
    served.wait_for("one another changed")
    settings.write_text("a mistake")
    assert served.logged("TOMLDecodeError")
    assert served.get()[0] == 500
    settings.write_text("SETTING = 'right'")
    served.wait_for("right another changed")


def test_console_is_off_where_others_can_reach_the_server(run, protocol):
    served = run("--interface", protocol, "--debug", "--host", "0.0.0.0")
    page = served.get("/crash")[1]
    assert "price = 1 / 0" in page
    assert "EVALEX = false" in page
    assert served.logged("its console is off: not only this machine can reach 0.0.0.0")
    assert "VERSION" in served.get("/?__debugger__=yes&cmd=1&frm=0&s=x")[1]


def test_code_that_blocks_the_loop_is_named(run, protocol):
    source = (
        SHOP
        + """
import time

@app.get("/block")
async def block():
    time.sleep(0.3)
    return "blocked"

@app.get("/sync")
def sync():
    time.sleep(0.3)
    return "fine"
"""
    )
    served = run("--interface", protocol, "--debug", source=source)
    served.wait_for("VERSION")
    for _ in range(2):
        assert served.get("/block")[1] == "blocked"
        assert served.get("/sync")[1] == "fine"
    line = source[: source.index("time.sleep")].count("\n") + 1
    assert served.logged(f"{served.file}, line {line}, in block: 'time.sleep(0.3)'")
    assert served.log.read_text().count("The event loop is blocked") == 1


def test_granian_serves_by_default(run):
    served = run("--cert", "adhoc")
    assert served.get()[0] == 200
    assert "(RSGI)" in served.log.read_text()
    trust_all = ssl.create_default_context()
    trust_all.check_hostname, trust_all.verify_mode = False, ssl.CERT_NONE
    trust_all.set_alpn_protocols(["h2"])
    address = ("127.0.0.1", served.port)
    with socket.create_connection(address) as plain, trust_all.wrap_socket(plain) as client:
        assert client.selected_alpn_protocol() == "h2"


def test_werkzeug_serves_where_granian_is_missing(run, tmp_path):
    (tmp_path / "granian.py").write_text("raise ModuleNotFoundError('not installed', name='granian')")
    served = run()
    assert served.get()[0] == 200
    assert served.logged("granian is not installed")


def test_access_line():
    line = ("127.0.0.1", "GET", "/a\nb", 404, 1.25)
    assert re.fullmatch(r"\d\d:\d\d:\d\d 127.0.0.1 GET /a%0ab 404 1.2 ms", development_line(*line, colour=False))
    assert "\x1b[33m404\x1b[0m" in development_line(*line, colour=True)


def test_colour_only_on_a_terminal_and_if_wanted(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
