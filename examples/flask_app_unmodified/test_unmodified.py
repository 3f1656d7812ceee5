"""Run in a process of its own: in this one the real Flask may be imported."""

import subprocess
import sys
from pathlib import Path

APP = Path(__file__).with_name("app.py")

VISIT = """
from carboy import install_as_flask
install_as_flask()
import runpy
app = runpy.run_path({path!r})["app"]
for protocol in ("wsgi", "asgi", "rsgi"):
    client = app.test_client(protocol=protocol)
    assert client.get("/").text == "This is carboy.app.Carboy."
    assert client.post("/guests/", data={{"name": protocol}}).status_code == 302
    assert client.get("/guests/").json == {{"names": [protocol], "messages": ["Thank you!"]}}
print("ok")
"""


def test_through_the_alias() -> None:
    script = VISIT.format(path=str(APP))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_through_the_command() -> None:
    command = [sys.executable, "-m", "carboy", "--app", str(APP), "routes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "guests.book" in done.stdout
