"""Background tasks: after the response, in a context of their own."""

import asyncio
import functools
import subprocess
import sys
import threading
import time

import pytest

import carboy
from carboy import current_app, g, request, session


def eventually(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture
def done(app):
    """Waits until all tasks of `app` have ended."""
    return lambda: eventually(lambda: len(app.lifecycle.tasks) == 0)


def as_async(func):
    @functools.wraps(func)
    async def wrapper(*args, **kwargs):
        await asyncio.sleep(0)
        return func(*args, **kwargs)

    return wrapper


KINDS = pytest.mark.parametrize("wrap", [lambda f: f, as_async], ids=["sync", "async"])
VIEWS = pytest.mark.parametrize("wrap_view", [lambda f: f, as_async], ids=["sync-view", "async-view"])


@KINDS
@VIEWS
def test_context(app, client, done, wrap, wrap_view):
    seen = []
    app.teardown_request(lambda error: seen.append("teardown_request"))

    @app.teardown_appcontext
    def torn_down(error):
        seen.append(f"teardown_appcontext {g.pop('database', None)}")

    def task(name, *, more):
        g.mine = "mine"
        seen.append((name, more, request.path, request.endpoint, request.headers["X-Tag"], request.args["q"]))
        seen.append((request.form["name"], session["user"], g.user, "database" in g, current_app.name))
        seen.append(carboy.url_for("show", q="1"))
        g.database = "of the task"

    @app.post("/show")
    @wrap_view
    def show():
        g.user, g.database, session["user"] = "ada", "of the request", "ada"
        current_app.add_background_task(wrap(task), "mash", more=request.form["name"])
        return "shown"

    assert client.post("/show?q=1", data={"name": "cask"}, headers={"X-Tag": "t"}).text == "shown"
    done()
    assert seen == [
        "teardown_request",
        "teardown_appcontext of the request",
        ("mash", "cask", "/show", "show", "t", "1"),
        ("cask", "ada", "ada", False, "carboy_test"),
        "/show?q=1",
        "teardown_appcontext of the task",
    ]


@KINDS
@VIEWS
def test_begins_when_the_whole_stream_was_sent(app, client, done, wrap, wrap_view):
    seen = []

    @app.get("/")
    @wrap_view
    def index():
        app.add_background_task(wrap(seen.append), "task")

        def parts():
            for n in range(3):
                seen.append(n)
                yield str(n)

        return parts()

    assert client.get("/", buffered=True).text == "012"
    done()
    assert seen == [0, 1, 2, "task"]


@KINDS
def test_begins_when_the_client_leaves_a_stream(app, client, done, wrap):
    seen = []

    @app.get("/")
    def index():
        app.add_background_task(wrap(seen.append), "task")

        def parts():
            try:
                while True:
                    yield "x" * 100_000
            finally:
                seen.append("closed")

        return parts()

    response = client.get("/")
    next(response.response)
    assert seen == []
    response.close()
    done()
    assert seen == ["closed", "task"]


@KINDS
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_after_error_handlers_redirects_and_empty_answers(app, client, done, wrap, method):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    seen = []

    @app.get("/<what>")
    def show(what):
        app.add_background_task(wrap(seen.append), what)
        if what == "fails":
            raise ValueError
        return {"redirects": carboy.redirect("/"), "empty": ("", 204)}[what]

    for path, status in ("/fails", 500), ("/redirects", 302), ("/empty", 204):
        assert client.open(path, method=method, buffered=True).status_code == status
        done()
    assert seen == ["fails", "redirects", "empty"]


@KINDS
def test_runs_although_no_response_was_made(app, client, done, wrap):
    seen = []

    @app.get("/<what>")
    def show(what):
        app.add_background_task(wrap(seen.append), what)
        if what == "view":
            raise ValueError("view")
        return "shown"

    @app.teardown_request
    def torn_down(error):
        if error is None:
            raise ValueError("teardown")

    for what in "view", "teardown":
        with pytest.raises(ValueError, match=what):
            client.get(f"/{what}")
        done()
    assert seen == ["view", "teardown"]


@KINDS
def test_added_by_other_functions_of_a_request(app, client, done, wrap):
    seen = []
    add = functools.partial(app.add_background_task, wrap(seen.append))

    @app.before_request
    async def before():
        add("before")

    @app.after_request
    def after(response):
        add("after")
        return response

    @app.teardown_request
    def torn_down(error):
        add("teardown")

    @app.get("/")
    def index():
        @carboy.stream_with_context
        def parts():
            add("stream")
            yield "x"

        def more():
            add("task")

        app.add_background_task(more)
        return parts()

    assert client.get("/", buffered=True).text == "x"
    done()
    assert sorted(seen) == ["after", "before", "stream", "task", "teardown"]


@KINDS
@pytest.mark.parametrize("how", ["middleware", "overridden", "file"])
def test_whatever_way_the_response_goes(app, client, done, wrap, how):
    seen = []

    @app.get("/")
    def index():
        app.add_background_task(wrap(seen.append), "task")
        return carboy.send_file(__file__) if how == "file" else "served"

    if how == "middleware":
        wsgi_app = app.wsgi_app
        app.wsgi_app = lambda environ, start_response: wsgi_app(environ, start_response)
    elif how == "overridden":
        full_dispatch_request = app.full_dispatch_request
        app.full_dispatch_request = lambda: full_dispatch_request()
    assert client.get("/", buffered=True).status_code == 200
    done()
    assert seen == ["task"]


def test_runs_although_the_request_was_cancelled(app, done):
    """As hypercorn does when the client leaves."""
    seen = []

    async def serve():
        begun, never = asyncio.Event(), asyncio.Event()

        @app.get("/")
        async def index():
            app.add_background_task(as_async(seen.append), "async")
            app.add_background_task(seen.append, "sync")
            begun.set()
            await never.wait()

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        request = asyncio.create_task(app(scope, never.wait, never.wait))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await app.lifecycle.shutdown()

    asyncio.run(serve())
    assert sorted(seen) == ["async", "sync"]


def test_the_body_is_gone_but_what_was_parsed_stays(app, client, done):
    seen = []

    def task(what):
        with pytest.raises(RuntimeError, match="Read it in the view"):
            request.stream.read()
        seen.append(getattr(request, what)() if what.startswith("get_") else getattr(request, what))

    @app.post("/parsed")
    def parsed():
        assert request.get_json() == [1]
        app.add_background_task(task, "get_json")
        app.add_background_task(task, "get_data")
        return ""

    @app.post("/unread")
    async def unread():
        app.add_background_task(task, "get_data")
        return ""

    @app.get("/no-body")
    def no_body():
        app.add_background_task(lambda: seen.append(request.get_data()))
        return ""

    client.post("/parsed", json=[1])
    done()
    assert seen == [[1], b"[1]"] or seen == [b"[1]", [1]]
    seen.clear()
    client.post("/unread", json=[1])
    client.get("/no-body")
    done()
    assert seen == [b""]


@KINDS
@VIEWS
def test_an_error_is_logged_once(app, client, done, caplog, wrap, wrap_view):
    app.teardown_appcontext(lambda error: torn_down.append(error))
    torn_down = []

    def brew():
        raise ValueError("no malt")

    @app.get("/", endpoint="start")
    @wrap_view
    def index():
        app.add_background_task(wrap(brew))
        return ""

    client.get("/")
    done()
    [record] = caplog.records
    assert "brew" in record.message and __file__ in record.message and "'start'" in record.message
    assert str(record.exc_info[1]) == "no malt"
    assert [str(error) for error in torn_down] == ["None", "no malt"]


@KINDS
def test_sys_exit_in_a_task_ends_nothing_else(app, client, done, caplog, wrap):
    @app.get("/")
    async def index():
        app.add_background_task(wrap(sys.exit), "enough")
        return "served"

    for _ in range(2):
        assert client.get("/").text == "served"
        done()
    assert [str(record.exc_info[1]) for record in caplog.records] == ["enough"] * 2


def test_limit(app, client, done):
    app.config["BACKGROUND_TASKS_LIMIT"] = 2
    go_on = threading.Event()

    @app.get("/")
    def index():
        app.add_background_task(go_on.wait, 5)
        return ""

    @app.errorhandler(carboy.TooManyBackgroundTasks)
    def too_many(error):
        return str(error), 503

    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 503]
    assert "BACKGROUND_TASKS_LIMIT = 2" in client.get("/").text
    go_on.set()
    done()
    assert client.get("/").status_code == 200
    done()


def test_sync_tasks_wait_their_turn_and_leave_requests_alone(app, client, done):
    app.config["BACKGROUND_TASK_THREADS"] = 2
    go_on, running, most = threading.Event(), [], []

    def task():
        running.append(1)
        most.append(len(running))
        go_on.wait(5)
        running.pop()

    @app.get("/")
    def index():
        for _ in range(60):
            app.add_background_task(task)
        return "served"

    for _ in range(2):
        assert client.get("/").text == "served"
    go_on.set()
    done()
    assert (max(most), len(most)) == (2, 120)


def test_outside_a_request(app, done):
    seen = []
    app.add_background_task(lambda: seen.append(current_app.name))
    app.add_background_task(as_async(lambda: seen.append(current_app.name)))
    with app.app_context():
        g.user = "ada"
        app.add_background_task(lambda: seen.append(g.user))
    with app.test_request_context("/path"):
        app.add_background_task(lambda: seen.append(request.path))
        assert len(app.lifecycle.tasks) >= 1 and "/path" not in seen
    done()
    assert sorted(seen) == ["/path", "ada", "carboy_test", "carboy_test"]


def test_runs_on_the_servers_loop(app, protocol, done):
    loops = []

    async def task():
        loops.append(asyncio.get_running_loop())

    @app.get("/sync")
    def sync():
        app.add_background_task(task)
        return ""

    @app.get("/async")
    async def index():
        loops.append(asyncio.get_running_loop())
        app.add_background_task(task)
        return ""

    client = app.test_client(protocol=protocol)
    client.get("/async")
    client.get("/sync")
    done()
    assert loops == loops[:1] * 3


@pytest.mark.parametrize("wrong", [None, "name", lambda: (yield), pytest.param("coroutine", id="coroutine")])
def test_what_cannot_be_a_task(app, wrong):
    async def work():
        raise AssertionError

    with pytest.raises(TypeError, match="background task"):
        app.add_background_task(work() if wrong == "coroutine" else wrong)


# The shutdown


@KINDS
def test_shutdown_waits(app, client, wrap):
    seen = []

    @app.get("/")
    async def index():
        app.add_background_task(wrap(lambda: seen.append(time.sleep(0.05))))
        return ""

    client.get("/")
    app.lifecycle.shutdown_blocking()
    assert seen == [None]


def test_shutdown_waits_for_so_long_only(app, client, caplog):
    app.config["BACKGROUND_TASK_TIMEOUT"] = 0.05
    app.config["BACKGROUND_TASK_THREADS"] = 1
    go_on, seen = threading.Event(), []
    app.teardown_appcontext(lambda error: seen.append(type(error)))

    async def endless():
        await asyncio.Event().wait()

    def blocked():
        go_on.wait(5)

    @app.get("/", endpoint="start")
    def index():
        for task in endless, blocked, blocked:
            app.add_background_task(task)
        return ""

    client.get("/")
    started = time.monotonic()
    app.lifecycle.shutdown_blocking()
    assert time.monotonic() - started < 2
    assert sorted(record.message.partition("'start' ")[2] for record in caplog.records) == [
        f"{what} 0.05 s after the shutdown began (BACKGROUND_TASK_TIMEOUT)."
        for what in (
            "did not finish and is left behind, for a thread cannot be cancelled,",
            "did not finish and was cancelled",
            "was not started any more",
        )
    ]
    assert asyncio.CancelledError in seen
    go_on.set()
    eventually(lambda: len(app.lifecycle.tasks) == 0)


def test_tasks_end_before_the_hooks_of_the_end(app, client):
    seen = []
    app.after_serving(lambda: seen.append("after"))

    @app.get("/")
    def index():
        app.add_background_task(lambda: (time.sleep(0.05), seen.append("task")))
        return ""

    client.get("/")
    app.lifecycle.shutdown_blocking()
    assert seen == ["task", "after"]


def test_tasks_of_the_hooks(app, caplog):
    seen = []
    refused = []

    @app.before_serving
    async def before():
        app.add_background_task(as_async(seen.append), "async")

    @app.before_serving
    def before_too():
        app.add_background_task(seen.append, "sync")

    @app.after_serving
    def after():
        try:
            app.add_background_task(seen.append, "late")
        except RuntimeError as e:
            refused.append(str(e))

    async def serve():
        await app.lifecycle.startup()
        await app.lifecycle.shutdown()

    asyncio.run(serve())
    assert sorted(seen) == ["async", "sync"]
    assert "shutting down" in refused[0]


def test_a_failed_start_waits_for_nothing(app, caplog):
    @app.before_serving
    async def before():
        app.add_background_task(asyncio.Event().wait)

    @app.before_serving
    def broken():
        raise ValueError

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(app.lifecycle.startup())
    assert "was cancelled because the application could not be started" in caplog.records[0].message


def test_a_task_whose_loop_ends_is_logged(app, caplog):
    async def begin():
        app.add_background_task(asyncio.Event().wait)
        await asyncio.sleep(0)

    asyncio.run(begin())
    assert ["was cancelled" in record.message for record in caplog.records] == [True]
    assert len(app.lifecycle.tasks) == 0


def test_the_process_ends_when_the_tasks_have():
    code = (
        "import time, asyncio, carboy\n"
        "app = carboy.Carboy('x')\n"
        "app.config['BACKGROUND_TASK_TIMEOUT'] = 1\n"
        "async def later(): await asyncio.to_thread(time.sleep, 0.1); print('async', flush=True)\n"
        "app.add_background_task(later)\n"
        "app.add_background_task(lambda: (time.sleep(0.05), print('sync', flush=True)))\n"
        "app.add_background_task(time.sleep, 60)\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.returncode) == ("sync\nasync\n", 0)
    assert "left behind" in done.stderr
    assert time.monotonic() - started < 10


def test_sync_tasks_need_no_event_loop():
    code = (
        "import sys, carboy\n"
        "app = carboy.Carboy('x')\n"
        "app.add_background_task(print, 'task')\n"
        "app.lifecycle.shutdown_blocking()\n"
        "print('asyncio' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "task\nFalse\n"
