"""Flask's tutorial application, unmodified, served by real servers over WSGI, ASGI and RSGI, and used over HTTP.

Flask is not installed where this runs: the application's ``import flask`` can only lead to carboy, which reaches the
servers and their workers by the environment variable alone.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import pytest

thirdparty = runpy.run_path(str(Path(__file__).with_name("thirdparty.py")))

FACTORY = "flaskr:create_app"
SERVERS = {
    "granian-wsgi": ["granian", "--interface", "wsgi", "--factory", FACTORY, "--port"],
    "granian-asgi": ["granian", "--interface", "asgi", "--factory", FACTORY, "--port"],
    "granian-rsgi": ["granian", "--interface", "rsgi", "--factory", FACTORY, "--port"],
    "uvicorn": ["uvicorn", "--factory", FACTORY, "--port"],
    "gunicorn": ["gunicorn", f"{FACTORY}()", "--bind"],
}


class Browser:
    """Keeps cookies and does not follow redirects."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def request(self, method: str, path: str, **form: str) -> tuple[int, str | None, str]:
        """Return status, Location and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(form), headers)
        response = connection.getresponse()
        body = unescape(response.read().decode())
        for header in response.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(header).items():
                self.cookies[name] = morsel.value
        connection.close()
        return response.status, response.headers["Location"], body

    def get(self, path: str) -> str:
        """Return the body of a page that must be there."""
        status, _, body = self.request("GET", path)
        assert status == 200, body
        return body

    def post(self, path: str, **form: str) -> str:
        """Send a form and return where it leads."""
        status, location, body = self.request("POST", path, **form)
        assert status == 302, body
        assert location is not None
        return location


@pytest.fixture
def environment() -> dict[str, str]:
    assert importlib.util.find_spec("flask") is None, "this proves nothing where the real Flask is installed"
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CARBOY_", "FLASK_"))}
    return clean | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def tutorial(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A copy of the application with a fresh database, made by its own command."""
    folder = tmp_path / "tutorial"
    shutil.copytree(thirdparty["sdist"]("flask", thirdparty["FLASK_VERSION"]) / "examples" / "tutorial", folder)
    command = ["carboy", "--app", "flaskr", "init-db"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "Initialized the database.\n"), done.stderr
    return folder


@pytest.fixture(params=SERVERS)
def browser(request: pytest.FixtureRequest, tutorial: Path, environment: dict[str, str]) -> Iterator[Browser]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*SERVERS[request.param], f"127.0.0.1:{port}" if request.param == "gunicorn" else str(port)]
    alias = {"CARBOY_AS_FLASK": "1", "PYTHONPATH": str(tutorial)}
    log = (tutorial / "server.log").open("w+")
    server = subprocess.Popen(command, cwd=tutorial, env=environment | alias, stdout=log, stderr=log)
    try:
        _wait_for(port, server, log.name)
        yield Browser(port)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        log.close()
    assert "Traceback" not in Path(log.name).read_text()


def _wait_for(port: int, server: subprocess.Popen[bytes], log: str) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, Path(log).read_text()
        time.sleep(0.1)
    raise TimeoutError(Path(log).read_text())


def test_the_tutorial_from_register_to_delete(browser: Browser) -> None:
    assert "Log In" in browser.get("/")
    assert "static/style.css" in browser.get("/auth/register")
    assert "font-family" in browser.get("/static/style.css")

    assert browser.post("/auth/register", username="ann", password="<secret>") == "/auth/login"
    status, _, body = browser.request("POST", "/auth/register", username="ann", password="x")
    assert (status, "User ann is already registered." in body) == (200, True)
    status, _, body = browser.request("POST", "/auth/login", username="ann", password="wrong")
    assert (status, "Incorrect password." in body) == (200, True)
    assert browser.request("GET", "/create")[:2] == (302, "/auth/login")
    assert browser.post("/auth/login", username="ann", password="<secret>") == "/"

    assert browser.post("/create", title="Über <b>", body="first\nsecond") == "/"
    page = browser.get("/")
    assert "Über <b>" in page and "first\nsecond" in page and "by ann on" in page and "Log Out" in page
    assert "Title is required." in browser.request("POST", "/create", title="", body="x")[2]

    assert browser.post("/1/update", title="edited", body="third") == "/"
    assert "edited" in browser.get("/") and "third" in browser.get("/1/update")
    assert browser.request("GET", "/2/update")[0] == 404

    stranger = Browser(browser.port)
    stranger.post("/auth/register", username="bob", password="b")
    stranger.post("/auth/login", username="bob", password="b")
    assert stranger.request("POST", "/1/delete")[0] == 403

    assert browser.post("/1/delete") == "/"
    assert "edited" not in browser.get("/")
    assert browser.request("GET", "/auth/logout")[:2] == (302, "/")
    assert "Log In" in browser.get("/")
