import asyncio
import subprocess
import sys
import threading

import pytest

from carboy.health import Health, add_check, failing_checks


@pytest.fixture
def messages(app, monkeypatch):
    """What is logged."""
    messages = []
    monkeypatch.setattr(app.logger, "warning", lambda text, *args: messages.append(text % args))
    return messages


def test_an_application_has_no_such_routes_by_itself(app, client):
    add_check(app, "disk", lambda: None)
    assert client.get("/readyz").status_code == 404


def test_alive_and_ready(app, client):
    Health(app)
    for path in "/healthz", "/readyz":
        answer = client.get(path)
        assert (answer.status_code, answer.json) == (200, {"status": "ok"})
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers


def test_a_check_that_fails_makes_it_unready_without_telling_why(app, client, messages):
    Health(app)

    async def queue():
        await asyncio.sleep(0)
        raise LookupError("no queue at 10.0.0.1")

    add_check(app, "queue", queue)
    add_check(app, "disk", lambda: "is full")
    add_check(app, "cache", lambda: None)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"status": "unavailable"})
    assert client.get("/healthz").status_code == 200

    app.debug = True
    assert client.get("/readyz").json["failing"] == {"queue": "LookupError: no queue at 10.0.0.1", "disk": "is full"}
    assert messages == [
        "Health check 'queue' fails: LookupError: no queue at 10.0.0.1",
        "Health check 'disk' fails: is full",
    ]


def test_changes_are_logged_once(app, messages):
    wrong = []
    add_check(app, "disk", lambda: wrong[0] if wrong else None)
    for now in [], ["full"], ["full"], [], []:
        wrong[:] = now
        assert failing_checks(app) == ({"disk": "full"} if now else {})
    assert messages == ["Health check 'disk' fails: full", "Health check 'disk' passes again."]


def test_a_check_that_hangs_holds_up_nothing_and_is_not_called_again(app, client, messages):
    Health(app, timeout=0.05, details=True)
    go_on = threading.Event()
    calls = []

    def hang():
        calls.append(1)
        go_on.wait(5)

    add_check(app, "hanging", hang)
    add_check(app, "disk", lambda: None)
    for _ in range(2):
        assert client.get("/readyz").json["failing"] == {"hanging": "no answer within 0.05 seconds"}
    assert calls == [1]
    go_on.set()
    while failing_checks(app):
        pass
    assert client.get("/readyz").status_code == 200


def test_checks_run_at_the_same_time_and_in_the_context_of_the_application(app, client):
    Health(app)
    barrier = threading.Barrier(2, timeout=5)

    def meet():
        from carboy import current_app

        barrier.wait()
        return None if current_app == app else "another application"

    add_check(app, "one", meet)
    add_check(app, "two", meet)
    assert client.get("/readyz").status_code == 200


def test_async_checks_run_on_the_loop_of_the_server(app):
    Health(app, details=True)
    loops = []

    async def look():
        loops.append(asyncio.get_running_loop())

    add_check(app, "loop", look)

    async def test():
        assert (await app.async_test_client().get("/readyz")).status_code == 200
        assert loops == [asyncio.get_running_loop()]

    asyncio.run(test())


def test_a_server_that_stops_is_not_ready(app, client):
    Health(app)
    app.lifecycle.drain()
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_paths_can_be_others_or_none(app, client):
    Health(app, live=None, ready="/internal/ready")
    assert client.get("/internal/ready").status_code == 200
    assert client.get("/healthz").status_code == 404


def test_a_check_takes_the_place_of_another_of_its_name(app):
    add_check(app, "disk", lambda: "is full")
    add_check(app, "disk", lambda: None)
    assert failing_checks(app) == {}


def test_a_sync_application_stays_sync():
    """No event loop is started for a check."""
    code = (
        "import sys, carboy, carboy.health\n"
        "app = carboy.Carboy('x')\n"
        "carboy.health.Health(app)\n"
        "carboy.health.add_check(app, 'disk', lambda: None)\n"
        "assert carboy.health.failing_checks(app) == {}\n"
        "print('asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
