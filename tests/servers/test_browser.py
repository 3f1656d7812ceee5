"""A browser opens the example ``live``, whose page talks over a WebSocket and an event stream.

Debian's chromium is driven through its own ``chromedriver``. Without them these tests are skipped, and fail in CI.
"""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .conftest import eventually, free_port

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "live"
SERVERS = {
    "uvicorn": "uvicorn app:app --log-level warning --port {port}",
    "granian-asgi": "granian app:app --interface asgi --port {port}",
    "granian-rsgi": "granian app:app --interface rsgi --port {port}",
    "carboy-serve": "carboy --app app serve --port {port}",
}
PICTURES = os.environ.get("CARBOY_TEST_PICTURES")
"""A folder for pictures of the page; by default none are taken."""


class Browser:
    """A window of chromium, driven by WebDriver's commands (https://www.w3.org/TR/webdriver2/)."""

    def __init__(self, directory):
        self.port = free_port()
        with (directory / "chromedriver.log").open("wb") as log:
            self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=log, stderr=log)
        try:
            assert eventually(self.is_ready, 20), (directory / "chromedriver.log").read_text()
            flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
            flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
            flags += ["--disable-dev-shm-usage", "--window-size=1000,720", f"--user-data-dir={directory / 'profile'}"]
            options = {"args": flags, "binary": shutil.which("chromium")}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            self.session = f"/session/{self.command('POST', '/session', wanted)['sessionId']}"
        except BaseException:
            self.driver.kill()
            self.driver.wait()
            raise

    def command(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["value"]

    def is_ready(self):
        try:
            return self.command("GET", "/status")["ready"]
        except OSError:
            return False

    def open(self, url):
        self.command("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        return self.command("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def picture(self, name):
        if PICTURES:
            data = base64.b64decode(self.command("GET", f"{self.session}/screenshot"))
            (Path(PICTURES) / f"{name}.png").write_bytes(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.command("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait(20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        message = f"{' and '.join(missing)} not found. Debian: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def start(tmp_path):
    """Starts a server for the example on a port, and stops it at the end."""
    processes = []

    def start_server(command, port):
        with (tmp_path / f"server-{len(processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command.format(port=port).split()], cwd=EXAMPLE, stdout=log, stderr=log
            )
        processes.append(process)
        return process

    yield start_server
    for process in processes:
        # How a server stops is tested elsewhere; the browser may still hold its connections.
        if process.poll() is None:
            kill_all(process)


def is_connected(browser, state="connected"):
    links = "return [...document.querySelectorAll('.link')].map((link) => link.dataset.state)"
    return browser.run(links) == [state, state]


def say(browser, text):
    browser.run(
        "const form = document.querySelector('#say'); form.elements.name.value = 'Ada';"
        "form.elements.text.value = arguments[0]; form.requestSubmit()",
        text,
    )


def lines(browser):
    return browser.run("return [...document.querySelectorAll('#lines li')].map((line) => line.innerText)")


def field(browser):
    return browser.run("return document.querySelector('#say').elements.text.value")


def kill_all(process):
    """End the server and its workers at once, as a crash would."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), 9)
    process.wait()


def reload_until_there(browser, url):
    """Open *url* as soon as the server answers."""

    def answers():
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    assert eventually(answers, 20)
    browser.open(url)


@pytest.mark.parametrize("name", SERVERS)
def test_page_talks_and_comes_back(name, browser, start):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    server = start(SERVERS[name], port)
    reload_until_there(browser, url)
    assert eventually(lambda: is_connected(browser))

    # Up the WebSocket, confirmed by its answer; down the event stream.
    say(browser, "Good evening!")
    assert eventually(lambda: lines(browser) == ["AdaGood evening!"]), lines(browser)
    assert eventually(lambda: field(browser) == "")
    browser.run("document.querySelector('#raise').click()")
    assert eventually(lambda: browser.text("#cheers") == "1")
    assert browser.text("#guests") == "One guest"
    browser.picture(f"{name}-open")

    kill_all(server)
    assert eventually(lambda: is_connected(browser, "waiting"))
    assert browser.run("return document.querySelector('#raise').disabled")
    browser.picture(f"{name}-lost")

    start(SERVERS[name], port)
    assert eventually(lambda: is_connected(browser), 20)
    # The room is a new one, and works.
    assert eventually(lambda: browser.text("#cheers") == "0")
    say(browser, "Back again.")
    assert eventually(lambda: lines(browser) == ["AdaBack again."]), lines(browser)
    assert eventually(lambda: field(browser) == "")
