"""Serving hooks: before the first request, around all, after the last."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import weakref

import pytest

import carboy
from carboy import current_app


@contextlib.contextmanager
def asgi_lifespan(app):
    """Send the lifespan events as a server does; give the answers."""
    answers = []
    with asyncio.Runner() as runner:
        events, sent = asyncio.Queue(), asyncio.Queue()

        async def begin():
            task = asyncio.create_task(app({"type": "lifespan"}, events.get, sent.put))
            await events.put({"type": "lifespan.startup"})
            answers.append(await sent.get())
            return task

        async def end():
            await events.put({"type": "lifespan.shutdown"})
            answers.append(await sent.get())
            await task

        task = runner.run(begin())
        yield answers
        if answers[-1]["type"] == "lifespan.startup.complete":
            runner.run(end())


@contextlib.contextmanager
def rsgi_lifespan(app):
    """Call what granian calls around the run of its loop."""
    loop = asyncio.new_event_loop()
    try:
        app.__rsgi_init__(loop)
        yield
        app.__rsgi_del__(loop)
    finally:
        loop.close()


@contextlib.contextmanager
def wsgi_lifespan(app):
    """There is no such event: the first request, and the end of the process."""
    app.test_client().get("/")
    yield
    app.lifecycle.shutdown_blocking()


LIFESPANS = {"wsgi": wsgi_lifespan, "asgi": asgi_lifespan, "rsgi": rsgi_lifespan}


@pytest.fixture
def lifespan(app, protocol):
    """Starts and ends `app` as a server of each protocol does."""
    return lambda: LIFESPANS[protocol](app)


@pytest.fixture
def events(app):
    """What the hooks of `app`, sync and async, have done."""
    events = []

    @app.before_serving
    def first():
        events.append(f"before 1 {current_app.name}")

    @app.before_serving
    async def second():
        events.append(f"before 2 {current_app.name}")

    @app.while_serving
    async def around():
        events.append("while 1 begins")
        yield
        events.append(f"while 1 ends {current_app.name}")

    @app.while_serving
    def around_inner():
        events.append("while 2 begins")
        yield
        events.append("while 2 ends")

    @app.after_serving
    async def last():
        events.append(f"after 1 {current_app.name}")

    @app.after_serving
    def last_but_one():
        events.append("after 2")

    @app.get("/")
    async def index():
        return "served"

    @app.get("/sync")
    def sync():
        return "served"

    return events


STARTED = ["before 1 carboy_test", "before 2 carboy_test", "while 1 begins", "while 2 begins"]
ENDED = ["while 2 ends", "while 1 ends carboy_test", "after 2", "after 1 carboy_test"]


def test_order(lifespan, events):
    with lifespan():
        assert events == STARTED
    assert events == STARTED + ENDED


def test_the_first_request_starts_what_no_server_has(app, client, events):
    for path in "/", "/sync", "/":
        assert client.get(path).text == "served"
    assert events == STARTED
    app.lifecycle.shutdown_blocking()
    assert events == STARTED + ENDED


def test_requests_while_the_server_says_when(client, lifespan, events):
    with lifespan():
        assert client.get("/sync").text == "served"
    assert events == STARTED + ENDED


def test_one_lifespan_after_the_other(client, lifespan, events):
    for _ in range(2):
        with lifespan():
            assert client.get("/").text == "served"
    assert events == (STARTED + ENDED) * 2


def test_requests_at_once_start_it_once_and_wait(app, client, protocol):
    begun, go_on, starts = threading.Event(), threading.Event(), []

    @app.before_serving
    def slow():
        starts.append(begun.set())
        assert go_on.wait(5)

    @app.get("/")
    def index():
        return str(go_on.is_set())

    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(app.test_client(protocol=protocol).get("/").text))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(5)
    assert answers == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert (answers, len(starts)) == (["True"] * 4, 1)


def test_without_hooks(app, client):
    """The end is the end of background tasks, and a request comes after it as after any other."""
    seen = []

    @app.get("/")
    def index():
        app.add_background_task(seen.append, app.lifecycle.draining)
        return app.lifecycle.state

    assert client.get("/").text == "new"
    app.lifecycle.shutdown_blocking()
    assert (seen, app.lifecycle.draining) == ([False], True)
    assert client.get("/").text == "serving"
    app.lifecycle.shutdown_blocking()
    assert seen == [False, False]
    app.add_background_task(seen.append, "from a command")
    for _ in range(2):
        app.lifecycle.shutdown_blocking()
    assert seen == [False, False, "from a command"]


def test_hooks_of_the_end_run_on_the_loop_of_the_start(app, client):
    loops = []

    @app.while_serving
    async def around():
        loops.append(asyncio.get_running_loop())
        yield
        loops.append(asyncio.get_running_loop())

    @app.get("/")
    async def index():
        loops.append(asyncio.get_running_loop())
        return ""

    client.get("/")
    app.lifecycle.shutdown_blocking()
    assert loops == loops[:1] * 3


def test_blueprints(app, lifespan):
    events = []
    outer, inner = carboy.Blueprint("outer", __name__), carboy.Blueprint("inner", __name__)
    for name, owner in ("outer", outer), ("app", app), ("inner", inner):
        owner.before_serving(lambda name=name: events.append(f"before {name}"))
        owner.after_serving(lambda name=name: events.append(f"after {name}"))

    @inner.while_serving
    def around():
        events.append("while begins")
        yield
        events.append("while ends")

    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.register_blueprint(outer, name="again")
    with lifespan():
        pass
    assert events == [
        *("before app", "before outer", "before inner", "while begins"),
        *("while ends", "after inner", "after outer", "after app"),
    ]


@pytest.mark.parametrize("broken", ["before_serving", "while_serving"])
@pytest.mark.parametrize("is_async", [False, True])
def test_failure_at_the_start_ends_what_was_started(app, protocol, events, caplog, broken, is_async):
    def sync_failure():
        raise ConnectionRefusedError("no database")
        yield

    async def async_failure():
        raise ConnectionRefusedError("no database")
        yield

    def sync_function():
        next(sync_failure())

    async def async_function():
        raise ConnectionRefusedError("no database")

    if broken == "while_serving":
        app.while_serving(async_failure if is_async else sync_failure)
    else:
        app.before_serving(async_function if is_async else sync_function)
    expected = [*STARTED, "while 2 ends", "while 1 ends carboy_test"]
    if broken == "before_serving":
        expected = STARTED[:2]
    line = f"_function' ({__file__}, line" if broken == "before_serving" else f"_failure' ({__file__}, line"
    reason = "failed: ConnectionRefusedError: no database"
    if protocol == "asgi":
        with asgi_lifespan(app) as [answer]:
            assert answer["type"] == "lifespan.startup.failed"
            assert line in answer["message"] and reason in answer["message"]
    else:
        with pytest.raises(RuntimeError, match=reason), LIFESPANS[protocol](app):
            pass
    assert events == expected
    if protocol != "wsgi":
        [record] = caplog.records
        assert line in record.message and reason in record.message and record.exc_info
    assert app.lifecycle.state == "new"


def test_failure_of_the_start_at_a_request(app, client, events, caplog):
    """It is answered with 500 and logged once; the next request tries again."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    broken = [True, True]

    @app.before_serving
    async def connect():
        if broken:
            broken.pop()
            raise ConnectionRefusedError("no database")

    for _ in range(2):
        assert client.get("/").status_code == 500
    assert client.get("/").text == "served"
    assert len(caplog.records) == 2
    assert "connect" in str(caplog.records[0].exc_info[1])
    app.lifecycle.shutdown_blocking()


def test_failure_at_the_end_leaves_nothing_out(app, protocol, events, caplog):
    @app.after_serving
    def broken():
        raise ValueError("first")

    @app.while_serving
    async def broken_too():
        yield
        raise ValueError("second")

    @app.while_serving
    def endless():
        while True:
            yield

    reasons = ["more than one 'yield'", "second", "first"]
    if protocol == "asgi":
        with asgi_lifespan(app) as answers:
            pass
        assert answers[1]["type"] == "lifespan.shutdown.failed"
        assert all(reason in answers[1]["message"] for reason in reasons)
    else:
        with pytest.raises(RuntimeError, match="first"), LIFESPANS[protocol](app):
            pass
    assert events == STARTED + ENDED
    assert [reason in record.message for reason, record in zip(reasons, caplog.records, strict=True)] == [True] * 3


def test_while_serving_wants_a_yield(app, lifespan):
    with pytest.raises(TypeError, match="before_serving"):
        app.while_serving(lambda: None)

    @app.while_serving
    def nothing():
        if app is None:
            yield

    app.config["PROPAGATE_EXCEPTIONS"] = True
    try:
        with lifespan() as answers:
            message = answers[0]["message"]
    except RuntimeError as e:
        message = str(e)
    assert "without a 'yield'" in message


def test_teardown_functions_run_once_for_the_start_and_once_for_the_end(app, lifespan, events):
    app.teardown_appcontext(lambda error: events.append("teardown"))
    with lifespan():
        # WSGI is started by a request, which has its own.
        assert events[:5] == [*STARTED, "teardown"]
    assert events[-5:] == [*ENDED, "teardown"]


def test_a_hook_may_use_the_application(app, protocol, events):
    @app.before_serving
    def warm_up():
        events.append(app.test_client().get("/sync").text)

    assert app.test_client(protocol=protocol).get("/sync").text == "served"
    assert events[2] == "served"
    app.lifecycle.shutdown_blocking()


def test_hooks_see_nothing_of_the_request_that_comes_first(app, client):
    seen = []
    app.before_serving(lambda: seen.append(carboy.has_request_context()))

    @app.get("/")
    def index():
        return "served"

    client.get("/")
    assert seen == [False]
    app.lifecycle.shutdown_blocking()


def test_sync_hooks_do_not_block_the_loop(app, protocol):
    seen = []

    @app.before_serving
    def where():
        seen.append(asyncio._get_running_loop())

    @app.while_serving
    def around():
        seen.append(asyncio._get_running_loop())
        yield
        seen.append(asyncio._get_running_loop())

    app.add_url_rule("/", view_func=lambda: "", endpoint="index")
    with LIFESPANS[protocol](app):
        pass
    assert seen == [None] * 3


def test_draining(app, lifespan):
    ended = []

    class Connection:
        def end(self):
            ended.append(app.lifecycle.draining)
            raise ValueError("One that cannot be ended keeps none of the others open.")

    app.before_serving(lambda: None)
    app.add_url_rule("/", view_func=lambda: "", endpoint="index")
    with lifespan():
        app.lifecycle.long_lived |= {Connection(), Connection()}
        assert not app.lifecycle.draining
        app.lifecycle.drain()
        assert ended == [True, True]
    assert (app.lifecycle.draining, len(ended)) == (True, 2)
    with lifespan():
        assert not app.lifecycle.draining
    assert len(ended) == 4


def test_an_event_loop_that_ends_ends_what_it_started(app, events):
    """uvicorn --lifespan off."""

    async def serve():
        received = [{"type": "http.request", "body": b"", "more_body": False}]
        sent = []
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}

        async def receive():
            return received.pop()

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        assert sent[1]["body"] == b"served"

    for _ in range(2):
        asyncio.run(serve())
    assert events == (STARTED + ENDED) * 2


@pytest.mark.parametrize("broken", [False, True])
def test_a_websocket_starts_it_too(app, events, broken):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    sent = []

    @app.before_serving
    def connect():
        if broken:
            raise ConnectionRefusedError("no database")

    @app.websocket("/ws")
    async def handler():
        done = asyncio.Event()

        async def task():
            sent.append("task")
            done.set()

        app.add_background_task(task)
        # It starts at once: there is no response to wait for.
        await done.wait()
        await carboy.websocket.send("served")

    async def serve():
        incoming = [{"type": "websocket.connect"}]
        scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": []}

        async def receive():
            return incoming.pop() if incoming else await asyncio.Event().wait()

        async def send(event):
            sent.append(event.get("text", event["type"]))

        await app(scope, receive, send)

    asyncio.run(serve())
    if broken:
        assert sent == ["websocket.close"]
        assert events == ["before 1 carboy_test", "before 2 carboy_test"]
    else:
        assert sent == ["task", "websocket.accept", "served", "websocket.close"]
        assert events == STARTED + ENDED


def test_start_inside_a_running_loop(app, events):
    """granian, embedded."""

    async def serve():
        loop = asyncio.get_running_loop()
        app.__rsgi_init__(loop)
        await app.lifecycle.ensure_started()
        assert events == STARTED
        app.__rsgi_del__(loop)
        await app.lifecycle.shutdown()

    asyncio.run(serve())
    assert events == STARTED + ENDED


def test_a_start_that_is_cancelled_ends_what_was_started(app, events):
    begun = asyncio.Event()

    @app.while_serving
    async def endless():
        begun.set()
        await asyncio.Event().wait()
        yield

    async def serve():
        task = asyncio.create_task(app.lifecycle.startup())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(serve())
    assert events == [*STARTED, "while 2 ends", "while 1 ends carboy_test"]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.split()


APPLICATION = """
import asyncio, os, sys, io, carboy
app = carboy.Carboy('x')
environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'SERVER_NAME': 'a', 'SERVER_PORT': '80',
 'wsgi.url_scheme': 'http', 'wsgi.input': io.BytesIO()}
say = lambda *words: os.write(1, ' '.join(map(str, words)).encode() + b'\\n')
@app.while_serving
async def around():
    # Python 3.12.1 cannot start a thread when the process ends: this one is used again then.
    await asyncio.to_thread(say, 'begin')
    yield
    await asyncio.to_thread(say, 'end')
@app.after_serving
def after():
    say('after')
@app.get('/')
def index():
    return 'x'
"""


def test_the_end_of_the_process_ends_what_a_request_started():
    assert run(f"{APPLICATION}\nprint(*app(environ, print), flush=True)")[-3:] == ["b'x'", "end", "after"]


def test_a_child_of_multiprocessing_is_ended_too_and_leaves_its_parents_alone():
    code = f"""{APPLICATION}
import multiprocessing
list(app(environ, lambda *args: None))
child = multiprocessing.get_context('fork').Process(target=lambda: list(app(environ, lambda *args: say('child'))))
child.start()
child.join()
say('parent')
"""
    assert run(code) == ["begin", "begin", "child", "end", "after", "parent", "end", "after"]


def test_sync_hooks_under_wsgi_need_no_event_loop():
    application = APPLICATION.replace("import asyncio, ", "import ").replace("async def", "def")
    application = application.replace("await asyncio.to_thread(say, ", "say(")
    code = f"{application}\nlist(app(environ, lambda *args: None)); print('asyncio' in sys.modules, flush=True)"
    assert run(code) == ["begin", "False", "end", "after"]


def test_an_application_that_was_never_started_is_freed_without_the_garbage_collector():
    app = carboy.Carboy("freed", static_folder=None)
    app.before_serving(lambda: None)
    assert app.lifecycle.state == "new"
    reference = weakref.ref(app)
    gc.disable()
    try:
        del app
        assert reference() is None
    finally:
        gc.enable()
