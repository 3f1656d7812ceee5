"""Requests that take too long are answered with 503, and what they held is freed."""

import asyncio
import contextlib
import threading

import pytest

from carboy import Blueprint, after_this_request, g


@pytest.fixture
def calls(app):
    """What ran, in order."""
    calls = []

    @app.teardown_request
    def tear_down(error):
        calls.append(f"teardown {type(error).__name__}")

    return calls


def test_async_view_is_cancelled(app, client, calls):
    @app.get("/", timeout=0.05)
    async def view():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise

    answer = client.get("/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert calls == ["cancelled", "teardown NoneType"]


def test_resources_are_returned(app, client):
    pool = []

    @contextlib.asynccontextmanager
    async def connection():
        pool.append("taken")
        try:
            yield
        finally:
            await asyncio.sleep(0)
            pool.append("returned")

    @app.get("/", timeout=0.05)
    async def view():
        async with connection():
            await asyncio.sleep(60)

    assert client.get("/").status_code == 503
    assert pool == ["taken", "returned"]


def test_the_applications_timeout_holds_where_a_route_has_none(app, client):
    app.config["REQUEST_TIMEOUT"] = 0.05

    async def wait():
        await asyncio.sleep(0.1)
        return "done"

    app.add_url_rule("/default", "default", wait)
    app.add_url_rule("/longer", "longer", wait, timeout=3)
    app.add_url_rule("/never", "never", wait, timeout=None)
    assert [client.get(f"/{name}").status_code for name in ("default", "longer", "never")] == [503, 200, 200]


def test_blueprint_route_has_a_timeout(app, client):
    blueprint = Blueprint("slow", __name__)

    @blueprint.get("/", timeout=0.05)
    async def view():
        await asyncio.sleep(60)

    app.register_blueprint(blueprint)
    assert client.get("/").status_code == 503


def test_error_handler_and_after_functions_see_the_503(app, client):
    @app.errorhandler(503)
    def unavailable(error):
        return {"retry": error.retry_after}, 503

    @app.after_request
    def mark(response):
        response.headers["X-After"] = "yes"
        return response

    @app.get("/", timeout=0.05)
    async def view():
        await asyncio.sleep(60)

    answer = client.get("/")
    assert (answer.status_code, answer.json, answer.headers["X-After"]) == (503, {"retry": 1}, "yes")


@pytest.mark.parametrize("protocol", ["asgi", "rsgi"], indirect=True)
def test_async_hook_counts(app, client):
    @app.before_request
    async def hook():
        await asyncio.sleep(60)

    @app.get("/", timeout=0.05)
    async def view():
        return "not reached"

    assert client.get("/").status_code == 503


@pytest.mark.parametrize("protocol", ["asgi", "rsgi"], indirect=True)
def test_sync_view_goes_on_in_its_thread(app, client, calls):
    release = threading.Event()
    ended = threading.Event()

    @app.errorhandler(503)
    def unavailable(error):
        return "too long", 503

    @app.post("/", timeout=0.05)
    def view():
        @after_this_request
        def note(response):
            calls.append("after")
            return response

        g.value = "own"
        release.wait(10)
        calls.append(f"view {g.value}")
        return "late"

    @app.teardown_appcontext
    def done(error):
        if release.is_set():
            ended.set()

    answer = client.post("/", data={"a": "b"})
    assert (answer.status_code, answer.text) == (503, "too long")
    # The context that answers has its own teardown, the thread's has another.
    assert calls == ["teardown Overdue"]
    release.set()
    assert ended.wait(10)
    assert calls == ["teardown Overdue", "view own", "after", "teardown NoneType"]


def test_timeout_error_of_the_view_is_its_own(app, client):
    @app.get("/", timeout=3)
    async def view():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        client.get("/")


@pytest.mark.parametrize("timeout", [0, -1])
def test_timeout_must_be_positive(app, timeout):
    with pytest.raises(ValueError, match="'timeout' is a number of seconds"):
        app.add_url_rule("/", "view", lambda: "", timeout=timeout)


def test_cancelling_a_request_runs_its_teardown(app, calls):
    """A server may cancel a request's task: nothing swallows that."""

    async def request():
        started = asyncio.Event()

        @app.get("/", timeout=3)
        async def view():
            started.set()
            await asyncio.sleep(60)

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [(b"host", b"a")]}
        task = asyncio.ensure_future(app(scope, asyncio.Event().wait, print))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(request())
    assert calls == ["teardown CancelledError"]
