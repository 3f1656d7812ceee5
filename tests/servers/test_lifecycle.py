"""Serving hooks and background tasks on real servers."""

import re
import threading

import pytest

ASYNC_SERVERS = ["uvicorn", "hypercorn", "granian-rsgi", "granian-asgi"]
WSGI_SERVERS = ["gunicorn-sync", "gunicorn-gthread", "granian-wsgi"]


@pytest.mark.parametrize("name", [*ASYNC_SERVERS, *WSGI_SERVERS])
def test_order(name, launch, wait_for):
    """A request is in flight, and its tasks not begun, when the server is told to stop."""
    server = launch(name, "app_with_hooks")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.request("GET", "/slow")[::2]))
    thread.start()
    wait_for(lambda: "started" in server.records())
    server.terminate()
    thread.join()
    server.process.wait(20)
    assert answers == [(200, b"served")]
    assert server.records() == [
        *("before", "async before", "begin", "started"),
        *("answered", "task", "async task", "end", "async after", "after"),
    ]


@pytest.mark.parametrize("name", ASYNC_SERVERS)
@pytest.mark.parametrize("workers", [1, 2])
def test_failure_at_the_start_stops_the_server(name, workers, launch, monkeypatch):
    monkeypatch.setenv("CARBOY_TEST_BROKEN", "1")
    server = launch(name, "app_with_hooks", f"--workers {workers}", starts=False)
    status = server.process.wait(20)
    # hypercorn, and uvicorn with several workers, have no exit status for it.
    assert status != 0 or (name, workers) in {("hypercorn", 1), ("hypercorn", 2), ("uvicorn", 2)}
    log = server.log_file.read_text()
    assert "The before_serving function 'async_before' (" in log
    assert re.search(r"app_with_hooks.py, line \d+\) failed: ConnectionRefusedError: no database", log)
    assert set(server.records()) == {"before", "async before"}


@pytest.mark.parametrize("name", WSGI_SERVERS)
def test_failure_at_the_first_request(name, launch, wait_for, monkeypatch):
    monkeypatch.setenv("CARBOY_TEST_BROKEN", "1")
    server = launch(name, "app_with_hooks", starts=False)
    wait_for(lambda: server.answers() or server.records())
    assert server.request("GET", "/")[0] == 500
    server.stop()
    assert "failed: ConnectionRefusedError: no database" in server.log_file.read_text()
    assert set(server.records()) == {"before", "async before"}


def test_gunicorn_can_start_it_before_the_first_request(tmp_path, launch, monkeypatch):
    configuration = tmp_path / "configuration.py"
    configuration.write_text("def post_worker_init(worker):\n    worker.wsgi.lifecycle.startup_blocking()\n")
    server = launch("gunicorn-sync", "app_with_hooks", f"-c {configuration}")
    server.stop()
    assert server.records() == ["before", "async before", "begin", "end", "async after", "after"]
    monkeypatch.setenv("CARBOY_TEST_BROKEN", "1")
    server = launch("gunicorn-sync", "app_with_hooks", f"-c {configuration}", starts=False)
    assert server.process.wait(20) != 0
    assert "no database" in server.log_file.read_text()
