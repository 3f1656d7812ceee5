"""`carboy serve` as a user starts it: what it chooses, how it starts, goes on and stops."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
from websockets.asyncio.client import connect

from carboy.server import resources

SHOP = """\
import asyncio, os, time
import flask

app = flask.Flask(__name__)

@app.get("/")
async def index():
    return f"VERSION {os.getpid()} {flask.request.scheme}"

@app.get("/slow")
async def slow():
    print("slow has begun", flush=True)
    await asyncio.sleep(float(flask.request.args["seconds"]))
    return "slow"

@app.teardown_request
def torn_down(error):
    if error is not None:
        print("torn down after", type(error).__name__, flush=True)

@app.get("/grow")
async def grow():
    flask.current_app.kept = b"x" * 200 * 2**20
    return "grown"

@app.after_serving
async def after():
    print("after serving", flush=True)
"""

SYNC = """\
import time
import flask

app = flask.Flask(__name__)

@app.get("/")
def index():
    return flask.request.environ["SERVER_SOFTWARE"]

@app.get("/slow")
def slow():
    print("slow has begun", flush=True)
    time.sleep(float(flask.request.args["seconds"]))
    return "slow"

@app.after_serving
def after():
    print("after serving", flush=True)
"""


def eventually(condition, seconds=15):
    """Return what *condition* gives once it is true, or at last."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result


class Serve:
    """A `carboy serve` process, with one application in a folder of its own."""

    def __init__(self, folder, source, *args, **environ):
        self.file = folder / "shop.py"
        self.file.write_text(source)
        self.log_file = folder / "log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FLASK_", "CARBOY_", "WEB_", "PORT"))}
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "carboy", "--app", "shop", "serve", *args],
                cwd=folder,
                env={**clean, "PORT": str(self.port), "PYTHONUNBUFFERED": "1", **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_file.read_text()

    def wait_for(self, text, count=1):
        """Wait until *text* is in the log, or the process has ended."""
        assert eventually(lambda: self.log.count(text) >= count or self.process.poll() is not None)
        assert self.log.count(text) >= count, self.log

    def get(self, path="/", timeout=20):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def in_background(self, path):
        """Begin a request; return a function that waits for its answer."""
        answers = []

        def request():
            with contextlib.suppress(OSError, http.client.HTTPException):
                answers.append(self.get(path))

        thread = threading.Thread(target=request)
        thread.start()

        def answer():
            thread.join(20)
            return answers[0] if answers else None

        return answer

    def workers(self):
        """Return the process numbers of the workers that are ready, oldest first."""
        return [int(number) for number in re.findall(r"is ready: process (\d+)", self.log)]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(source=SHOP, *args, ready=1, **environ):
        served = Serve(tmp_path, source, *args, **environ)
        started.append(served)
        if ready:
            served.wait_for("is ready", ready)
        return served

    yield start
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(10)


# -- Choosing ------------------------------------------------------------------------

BASE = "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef index(): return 'x'\n"


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ("", "WSGI (no code is async)"),
        ("@app.get('/a')\nasync def a(): return 'a'", "RSGI (the view of 'a' is async)"),
        ("@app.get('/a')\nasync def a(): yield 'a'", "RSGI (the view of 'a' is async)"),
        ("@app.before_request\nasync def b(): pass", "is async)"),
        ("@app.errorhandler(404)\nasync def e(error): return 'e'", "RSGI (the error handler 'e' is async)"),
        ("@app.while_serving\nasync def w(): yield", "RSGI (the while_serving function 'w' is async)"),
        ("@app.websocket('/ws')\ndef ws(): pass", "ASGI ('/ws' is a WebSocket)"),
        ("inner = app.wsgi_app\napp.wsgi_app = lambda *args: inner(*args)", "WSGI ('app.wsgi_app' is wrapped"),
        ("inner = app.asgi_app\napp.asgi_app = lambda *args: inner(*args)", "ASGI ('app.asgi_app' is wrapped"),
    ],
)
def test_interface_is_chosen_for_the_application(serve, more, chosen):
    served = serve(BASE + more)
    assert chosen in served.log
    assert served.get() == (200, "x")


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "rsgi"])
def test_interface_as_told(serve, interface):
    served = serve(SHOP, "--interface", interface)
    assert f"over {interface.upper()} (as told), 1 worker" in served.log
    assert served.get()[0] == 200


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "rsgi"])
@pytest.mark.parametrize(("own", "expected"), [("", "10000"), ("import gc; gc.set_threshold(500, 5, 5)\n", "500")])
def test_garbage_collection_is_calm(serve, interface, own, expected):
    view = "@app.get('/gc')\ndef gc_(): import gc; return f'{gc.get_threshold()[0]} {gc.get_freeze_count() > 0}'\n"
    assert serve(own + BASE + view, "--interface", interface).get("/gc") == (200, f"{expected} True")


@pytest.mark.parametrize(
    ("cgroup", "most"), [("max 100000", 10_000), ("150000 100000", 2), ("50000 100000", 1), ("", 10_000)]
)
def test_cpus_of_a_container(cgroup, most, tmp_path, monkeypatch):
    file = tmp_path / "cpu.max"
    file.write_text(cgroup)
    monkeypatch.setattr(resources, "_CGROUP_2", str(file))
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: range(8))
    assert resources.usable_cpus() == min(8, most)


def test_options_from_the_environment(serve):
    served = serve(
        SHOP, ready=2, CARBOY_WORKERS="2", CARBOY_HOST="localhost", CARBOY_LOG_LEVEL="info", WEB_CONCURRENCY="3"
    )
    assert f"http://localhost:{served.port}" in served.log
    assert "2 workers" in served.log


# -- Starting ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("app = flask.Flask(__name__", "SyntaxError: '(' was never closed"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("app = 1", "has no application"),
        (BASE + "@app.before_serving\ndef b(): raise RuntimeError('no database')", "RuntimeError: no database"),
        (BASE + "@app.before_serving\nasync def b(): raise RuntimeError('no database')", "RuntimeError: no database"),
    ],
)
def test_application_that_does_not_start_ends_the_server(serve, source, reason):
    served = serve(source, "--workers", "2", ready=0)
    assert served.process.wait(20) == 1
    assert served.log.count("did not start") == 1
    assert reason in served.log


def test_address_that_cannot_be_used(serve):
    first = serve()
    for args, reason in [
        (["--port", str(first.port)], f"Cannot listen on 127.0.0.1, port {first.port}: Address already in use."),
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        (["--uds", "/no/such/folder"], "Cannot listen on /no/such/folder: No such file"),
    ]:
        second = serve(SHOP, *args, ready=0)
        assert second.process.wait(20) == 1
        assert reason in second.log


def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    served = serve(SHOP, "--uds", path, "--workers", "2", ready=2)
    assert f"on unix:{path} over" in served.log
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b"VERSION" in b"".join(iter(lambda: client.recv(4096), b""))
    assert served.stop() == 0
    assert not os.path.exists(path)


def test_tls_and_http_2(serve, tmp_path):
    from werkzeug.serving import make_ssl_devcert

    cert, key = make_ssl_devcert(str(tmp_path / "cert"), host="localhost")
    served = serve(SHOP, "--cert", cert, "--key", key)
    trust = ssl.create_default_context(cafile=cert)
    trust.check_hostname = False
    connection = http.client.HTTPSConnection("localhost", served.port, context=trust, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().read().endswith(b"https")
    connection.close()
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("localhost", served.port)) as plain, trust.wrap_socket(plain) as client:
        assert client.selected_alpn_protocol() == "h2"


def test_certificate_without_key(serve, tmp_path):
    served = serve(SHOP, "--cert", "shop.py", ready=0)
    assert served.process.wait(20) == 2
    assert "'--cert' and '--key' belong together" in served.log


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "rsgi"])
def test_access_log(serve, interface):
    plain = serve(
        SHOP, "--interface", interface, "--access-log", "--access-log-format", "%(method)s %(path)s %(status)d"
    )
    plain.get("/%1b[2J?page=2")
    plain.wait_for("GET /%1b[2J 404\n")


def test_access_log_as_json_without_probes(serve):
    served = serve(SHOP, "--access-log", "--access-log-format", "json", "--liveness", "/alive")
    assert served.get("/alive") == (200, "alive\n")
    assert served.get("/nowhere?page=2")[0] == 404
    served.wait_for("nowhere")
    (line,) = [json.loads(line) for line in served.log.splitlines() if line.startswith("{")]
    assert {name: line[name] for name in ("method", "path", "query_string", "status")} == {
        "method": "GET",
        "path": "/nowhere",
        "query_string": "page=2",
        "status": 404,
    }


# -- Stopping ------------------------------------------------------------------------


def busy_app(is_async):
    source = """\
import asyncio, time
import carboy, flask

app = flask.Flask(__name__)
app.config["WEBSOCKET_ALLOWED_ORIGINS"] = "*"

@app.get("/")
def index():
    return "x"

async def task():
    await asyncio.sleep(0.5)
    print("task done", flush=True)

@app.get("/task")
async def begin():
    app.add_background_task(task)
    return "begun"

@app.get("/work")
async def work():
    print("work has begun", flush=True)
    await asyncio.sleep(0.5)
    return "worked"

@app.get("/events")
@carboy.sse
async def events():
    print("stream has begun", flush=True)
    try:
        while True:
            yield "on"
            await asyncio.sleep(0.02)
    finally:
        print("stream has ended", flush=True)

@app.after_serving
async def after():
    print("after serving", flush=True)
"""
    if not is_async:
        return source.replace("async ", "").replace("await ", "").replace("asyncio.sleep", "time.sleep")
    return (
        source
        + """
@app.websocket("/ws")
async def echo():
    async for message in carboy.websocket:
        await carboy.websocket.send(message)
"""
    )


async def fetch(port, path):
    """Return the answer to a request, which ends with the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "rsgi"])
def test_graceful_stop_cuts_nothing_off_that_can_finish(serve, interface):
    """50 requests, 20 WebSockets, 10 event streams and 5 background tasks are in flight when the signal comes."""
    served = serve(busy_app(interface != "wsgi"), "--interface", interface, "--threads", "64")

    async def use():
        sockets = []
        if interface != "wsgi":
            sockets = [await connect(f"ws://127.0.0.1:{served.port}/ws") for _ in range(20)]
        for each in sockets:
            await each.send("hello")
            assert await each.recv() == "hello"
        streams = [asyncio.create_task(fetch(served.port, "/events")) for _ in range(10)]
        for _ in range(5):
            assert b"begun" in await fetch(served.port, "/task")
        requests = [asyncio.create_task(fetch(served.port, "/work")) for _ in range(50)]
        await asyncio.to_thread(served.wait_for, "has begun", 60)
        served.process.send_signal(signal.SIGTERM)
        for each in sockets:
            await asyncio.wait_for(each.wait_closed(), 10)
        return [each.close_code for each in sockets], await asyncio.gather(*streams), await asyncio.gather(*requests)

    codes, streams, requests = asyncio.run(use())
    assert served.process.wait(20) == 0, served.log
    assert sum(answer.startswith(b"HTTP/1.1 200") and b"worked" in answer for answer in requests) == 50
    # Ended, with the last chunk, not cut off.
    assert sum(b"data: on" in answer and answer.endswith(b"\r\n0\r\n\r\n") for answer in streams) == 10
    assert served.log.count("stream has ended") == 10
    # Over RSGI granian sends no close code.
    assert set(codes) <= ({1001} if interface == "asgi" else {1005})
    assert served.log.count("task done") == 5
    assert served.log.count("after serving") == 1
    assert served.log.index("task done") < served.log.index("after serving")


@pytest.mark.parametrize("source", [SHOP, SYNC], ids=["loop", "wsgi"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_refuses_new_connections_and_finishes_old_ones(serve, source, number):
    served = serve(source, "--workers", "2", ready=2)
    answer = served.in_background("/slow?seconds=1")
    served.wait_for("slow has begun")
    # As a terminal does for CTRL+C.
    os.killpg(served.process.pid, number)

    def refused():
        with contextlib.suppress(ConnectionRefusedError):
            # One that comes just before the socket is closed is closed without an answer.
            with contextlib.suppress(ConnectionResetError):
                served.get(timeout=3)
            return False
        return True

    assert eventually(refused, 0.7)
    assert answer() == (200, "slow")
    assert served.process.wait(20) == 0, served.log
    assert served.log.count("after serving") == 2


@pytest.mark.parametrize("source", [SHOP, SYNC], ids=["loop", "wsgi"])
def test_limit_of_a_stop(serve, source):
    """The request is cut off, but the application is shut down."""
    served = serve(source, "--graceful-timeout", "1")
    answer = served.in_background("/slow?seconds=20")
    served.wait_for("slow has begun")
    begun = time.monotonic()
    assert served.stop() == 1
    assert time.monotonic() - begun < 1.5
    assert answer() in (None, (500, ""))
    assert "requests did not finish in time and are cut off" in served.log
    assert "after serving" in served.log
    if source is SHOP:
        assert "torn down after CancelledError" in served.log


def test_second_signal_ends_at_once(serve):
    served = serve()
    answer = served.in_background("/slow?seconds=20")
    served.wait_for("slow has begun")
    served.process.send_signal(signal.SIGTERM)
    served.wait_for("SIGTERM received")
    begun = time.monotonic()
    assert served.stop(signal.SIGINT) == 1
    assert time.monotonic() - begun < 1
    assert answer() is None


def test_workers_end_when_their_parent_was_killed(serve):
    served = serve(SHOP, "--workers", "2", ready=2)
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait(10)
    assert eventually(lambda: served.log.count("after serving") == 2), served.log


@pytest.mark.parametrize("interface", ["wsgi", "asgi", "rsgi"])
def test_liveness_and_readiness(serve, interface):
    served = serve(
        SHOP,
        "--interface",
        interface,
        "--liveness",
        "/alive",
        "--readiness",
        "/ready",
        "--drain-delay",
        "0.5",
        CARBOY_READINESS="/not-this",
    )
    assert served.get("/alive") == (200, "alive\n")
    assert served.get("/ready") == (200, "ready\n")
    assert served.get("/not-this")[0] == 404
    served.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: served.get("/ready") == (503, "stopping\n"), 0.4)
    assert served.get("/alive") == (200, "alive\n")
    assert served.get()[0] == 200
    assert served.process.wait(20) == 0


# -- Going on ------------------------------------------------------------------------


class Load:
    """Clients that ask one after the other, each over connections of its own."""

    def __init__(self, served, clients=8):
        self.served = served
        self.errors = []
        self.answers = []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def ask(self):
        while not self.ended.is_set():
            try:
                status, body = self.served.get("/")
                assert status == 200
                self.answers.append((time.monotonic(), body))
            except (OSError, http.client.HTTPException) as error:
                self.errors.append((time.monotonic(), error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("interface", ["wsgi", "rsgi"])
def test_killed_worker_is_replaced_under_load(serve, interface):
    served = serve(SHOP, "--interface", interface, "--workers", "2", ready=2)
    victim = served.workers()[0]
    with Load(served) as load:
        assert eventually(lambda: len(load.answers) > 50)
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        served.wait_for("is ready", 3)
        back = served.workers()[-1]
        assert eventually(lambda: any(f" {back} " in body for _, body in load.answers[-50:]), 3)
        took = time.monotonic() - killed
    assert took < 3
    # Each client had one request in flight, at most.
    assert len(load.errors) <= 8
    assert all(when - killed < 1 for when, _ in load.errors)
    assert served.stop() == 0
    assert "ended by SIGKILL" in served.log


def test_no_respawn(serve):
    served = serve(SHOP, "--no-respawn", "--workers", "2", ready=2)
    os.kill(served.workers()[0], signal.SIGKILL)
    assert served.process.wait(20) == 1
    assert "(--no-respawn)" in served.log
    assert "after serving" in served.log


def test_hangup_loads_changed_code_without_an_error(serve):
    served = serve(SHOP, "--workers", "2", ready=2)
    with Load(served, 4) as load:
        served.file.write_text(SHOP.replace("VERSION", "SECOND"))
        served.process.send_signal(signal.SIGHUP)
        served.wait_for("after serving", 2)
    # A connection that comes just when a worker stops is closed without an answer.
    assert len(load.errors) <= 1
    assert served.get()[1].startswith("SECOND")
    assert served.stop() == 0


def test_hangup_with_a_mistake_in_the_code_keeps_the_old_workers(serve):
    served = serve()
    served.file.write_text("a mistake")
    served.process.send_signal(signal.SIGHUP)
    served.wait_for("SyntaxError")
    assert served.get()[1].startswith("VERSION")
    assert served.stop() == 0


def test_worker_that_holds_too_much_memory_is_replaced(serve):
    served = serve(SHOP, "--max-memory", "200")
    first = served.get()[1]
    with Load(served, 2) as load:
        assert served.get("/grow") == (200, "grown")
        served.wait_for("more than 200 (--max-memory)")
        served.wait_for("after serving")
    assert not load.errors
    assert served.get()[1] != first


def test_worker_is_replaced_at_the_end_of_its_life(serve):
    served = serve(SHOP, "--worker-lifetime", "1")
    first = served.get()[1]
    served.wait_for("is ready", 2)
    assert eventually(lambda: served.get()[1] != first)
