"""Where code runs: async plans on the server's loop with nothing added, a sync plan in one thread hop."""

import asyncio
import threading
from collections import Counter

import pytest

import carboy
from carboy import g, request
from carboy.concurrency import WorkerThreads
from carboy.testing.protocols import event_loop

on_a_loop = pytest.mark.parametrize("protocol", ["asgi", "rsgi"])


@pytest.fixture
def work(monkeypatch):
    """Counts tasks made on the test client's loop and hops to a thread; each request is one task of the client's."""
    loop = event_loop()
    counts = Counter()
    run = WorkerThreads.run

    def make_task(loop, coroutine, **options):
        counts["tasks"] += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    def hop(*args):
        counts["hops"] += 1
        return run(*args)

    loop.set_task_factory(make_task)
    monkeypatch.setattr(WorkerThreads, "run", hop)
    yield counts
    loop.set_task_factory(None)


@pytest.fixture
def threads(app):
    """Notes the thread of each step of a request."""
    seen = {}

    def note(step):
        seen[step] = threading.get_ident()

    return seen, note


def add_steps(app, note, asynchronous):
    def sync_after(response):
        note("after")
        return response

    async def async_after(response):
        note("after")
        return response

    async def async_note(step):
        note(step)

    async def async_view():
        note("view")
        await asyncio.sleep(0)
        return "x"

    def sync_view():
        note("view")
        return "x"

    step = async_note if asynchronous else note

    def before():
        return step("before")

    async def async_before():
        await step("before")

    async def async_teardown(error):
        note("teardown")

    app.before_request(async_before if asynchronous else before)
    app.after_request(async_after if asynchronous else sync_after)
    app.teardown_request(async_teardown if asynchronous else lambda error: note("teardown"))
    app.add_url_rule("/", "index", async_view if asynchronous else sync_view, methods=["GET", "POST"])


@on_a_loop
def test_async_plan_runs_on_the_loop_with_no_task_and_no_thread(app, client, work, threads):
    seen, note = threads
    add_steps(app, note, asynchronous=True)
    client.get("/")
    client.post("/", data=b"x" * 100_000)
    assert work == {"tasks": 2}
    loop_thread = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, threading), event_loop()).result()
    assert loop_thread is threading
    assert len(set(seen.values())) == 1
    assert threading.get_ident() not in seen.values()


@on_a_loop
def test_sync_plan_is_one_hop_to_one_thread(app, client, work, threads):
    seen, note = threads
    add_steps(app, note, asynchronous=False)
    client.get("/")
    assert work == {"tasks": 1, "hops": 1}
    client.post("/", data={"a": "b"})
    assert work == {"tasks": 2, "hops": 2}
    assert set(seen) == {"before", "view", "after", "teardown"}
    assert len(set(seen.values())) == 1


@on_a_loop
def test_sync_steps_of_a_mixed_plan_share_hops(app, client, work):
    idents = {}

    def note(step):
        idents[step] = threading.get_ident()

    app.before_request(lambda: note("before 1"))
    app.before_request(lambda: note("before 2"))

    @app.get("/")
    async def index():
        note("view")
        return "x"

    client.get("/")
    assert work == {"tasks": 1, "hops": 1}
    assert idents["before 1"] == idents["before 2"] != idents["view"]


@on_a_loop
def test_sync_view_that_promises_not_to_block_runs_on_the_loop(app, client, work):
    app.add_url_rule("/", "index", lambda: "x", run="loop")
    assert client.get("/").text == "x"
    assert work == {"tasks": 1}


@on_a_loop
def test_static_error_pages_and_options_need_no_second_hop(app, client, work):
    app.add_url_rule("/", "index", lambda: "x")
    client.get("/none")
    client.options("/")
    assert work["tasks"] == 2
    assert work["hops"] <= 2


@on_a_loop
def test_blocking_sync_view_does_not_hold_up_the_loop(app, protocol):
    release = threading.Event()

    @app.get("/slow")
    def slow():
        assert release.wait(10)
        return "slow"

    @app.get("/fast")
    async def fast():
        return "fast"

    answers = []
    clients = [app.test_client(protocol=protocol, lint=True) for _ in range(2)]
    thread = threading.Thread(target=lambda: answers.append(clients[0].get("/slow").text))
    thread.start()
    assert clients[1].get("/fast").text == "fast"
    release.set()
    thread.join()
    assert answers == ["slow"]


def test_async_code_runs_on_one_loop_from_request_to_request(app, client):
    """So that connection pools bound to a loop keep working."""
    loops = set()

    @app.get("/")
    async def index():
        loops.add(asyncio.get_running_loop())
        return ""

    client.get("/")
    client.get("/")
    assert len(loops) == 1


def test_sync_plan_under_wsgi_stays_in_the_server_s_thread(app):
    app.add_url_rule("/", "index", lambda: str(threading.get_ident()))
    assert app.test_client().get("/").text == str(threading.get_ident())


@pytest.mark.parametrize("view_async", [False, True])
def test_context_variables_set_by_a_hook_reach_the_view(app, client, view_async):
    from contextvars import ContextVar

    variable = ContextVar("variable")

    @app.before_request
    async def put():
        variable.set(1)
        g.value = 2

    async def async_view():
        return [variable.get(), g.value]

    def sync_view():
        return [variable.get(), g.value]

    app.add_url_rule("/", "index", async_view if view_async else sync_view)
    assert client.get("/").json == [1, 2]


def test_task_started_by_a_view_keeps_the_request(app, client):
    @app.get("/<name>")
    async def index(name):
        async def work():
            await asyncio.sleep(0)
            return request.path

        return await asyncio.create_task(carboy.copy_current_request_context(work)())

    assert client.get("/a").text == "/a"


def test_gathered_tasks_see_the_request(app, client):
    @app.get("/<name>")
    async def index(name):
        async def part(n):
            await asyncio.sleep(0)
            return f"{request.view_args['name']}{n}"

        return list(await asyncio.gather(*(part(n) for n in range(3))))

    assert client.get("/a").json == ["a0", "a1", "a2"]


def test_async_function_called_through_ensure_sync(app, client):
    @app.get("/")
    def index():
        async def work():
            await asyncio.sleep(0)
            return request.path

        return app.ensure_sync(work)()

    assert client.get("/").text == "/"


def test_async_handlers_and_teardown_after_a_sync_view(app, client):
    calls = []

    @app.errorhandler(LookupError)
    async def handle(error):
        await asyncio.sleep(0)
        calls.append("handler")
        return "handled", 400

    @app.teardown_request
    async def teardown(error):
        await asyncio.sleep(0)
        calls.append(("teardown", request.path))

    @app.get("/")
    def index():
        raise LookupError

    assert client.get("/").text == "handled"
    assert calls == ["handler", ("teardown", "/")]


@pytest.mark.parametrize("hook_async", [False, True])
def test_stop_iteration_in_a_sync_view_is_an_error_like_any_other(app, client, hook_async):
    """No future could carry it to who waits."""

    async def hook():
        pass

    app.before_request(hook if hook_async else lambda: None)
    app.add_url_rule("/", "index", lambda: next(iter(())))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.get("/").status_code == 500
