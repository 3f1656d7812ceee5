"""The commands, and the workers that others start."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from carboy.jobs import GiveUp


@pytest.fixture
def carboy(app, jobs):
    """Runs a command, and returns what it says."""

    @jobs.job(name="brew")
    def brew(name):
        if name == "vinegar":
            raise GiveUp("sour")
        return name

    def run(*args, code=0):
        result = app.test_cli_runner().invoke(args=["jobs", *args])
        assert result.exit_code == code, result.output
        return result.output

    with app.app_context():
        yield run


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_looking_and_doing(carboy, app, jobs):
    brew = jobs.registry["brew"]
    assert "no such jobs" in carboy("list")
    good, bad, later = brew.enqueue("stout"), brew.enqueue("vinegar"), brew.enqueue_in(3600, "port")
    jobs.drain()
    assert [line.split()[1] for line in carboy("list").splitlines()[1:]] == ["scheduled", "dead", "done"]
    assert bad.id in carboy("list", "--state", "dead") and good.id not in carboy("list", "--state", "dead")
    shown = carboy("show", bad.id)
    assert 'brew("vinegar")' in shown and "GiveUp: sour" in shown
    assert "no job" in carboy("show", "nix", code=1)
    assert "default" in carboy("stats")
    assert "1 queued again" in carboy("retry", "--all-dead")
    assert "cancelled" in carboy("cancel", later.id)
    assert "no such job" in carboy("cancel", "nix", code=1)
    assert "0 queued again" in carboy("retry", good.id, code=1)
    assert "2 deleted" in carboy("purge", "--yes", "--state", "done", "--state", "cancelled")
    assert carboy("list", "--json").count("\n") == 1
    assert "Cancel them first" in carboy("purge", "--yes", "--state", "running", code=2)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("command", [["jobs", "worker"], ["run", "--no-reload"], ["serve", "--jobs"]])
def test_whoever_is_asked_runs_the_jobs(tmp_path, command, kind):
    (tmp_path / "app.py").write_text(
        "from carboy import Carboy\n\napp = Carboy(__name__)\n\n\n"
        "@app.job\ndef brew(name):\n    print('brewed', name, flush=True)\n\n\n"
        "@app.get('/')\ndef index():\n    return brew.enqueue('stout').id\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CARBOY_EMBED_JOBS"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = [] if command[0] == "jobs" else ["--port", port]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "carboy", *command, *options],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + 30
        asked = False
        while b"brewed stout" not in (said := (tmp_path / "log").read_bytes()):
            assert process.poll() is None and time.monotonic() < end, said.decode()
            if not asked and command[0] == "jobs":
                code = "import app\nwith app.app.app_context():\n    app.brew.enqueue('stout')"
                subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=30)
                asked = True
            elif not asked:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    asked = True
                except OSError:
                    pass
            time.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(30) in (0, -15)
