"""Speed, kept by counting: how many Python functions a warm request calls in carboy and its libraries.

A count is the same on every machine, however busy. Counted are the calls, and each time a coroutine goes on, that
``sys.setprofile`` tells of, but not those of this file: the views, the hooks and the server. ``call_counts.json`` has
the exact numbers for each version of Python and of the libraries; with versions that are not in it only the budget is
asserted.

To record the numbers of the versions that run the tests, after a change that is meant to move them::

    CARBOY_RECORD_CALLS=1 python -m pytest -q tests/perf/test_call_counts.py
"""

import asyncio
import functools
import gc
import importlib.metadata
import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy.orm import Mapped, mapped_column

import carboy
from carboy.concurrency import WorkerThreads
from carboy.db import Database

COUNTS = Path(__file__).with_name("call_counts.json")
VERSIONS = "Python {}.{}".format(*sys.version_info) + "".join(
    f", {library} {importlib.metadata.version(library)}" for library in ("Werkzeug", "ItsDangerous")
)
RECORDING = "CARBOY_RECORD_CALLS" in os.environ

BUDGET = 20
"""Most calls for JSON with a path parameter and no hooks; Flask 3.1 makes 159, Starlette 31."""

DATABASE_BUDGET = 24
"""Most calls of carboy's for a row of a database by its key, beside those of the same answer without it."""

FORM = b"name=cask&litres=40"

# -- The application ---------------------------------------------------------------


def plain():
    return "Hello, World!"


def item(number):
    return {"id": number, "name": "cask"}


def read_session():
    return carboy.session["user"]


def form():
    return carboy.request.form["name"]


def as_async(view):
    @functools.wraps(view)
    async def async_view(**values):
        return view(**values)

    return async_view


def before():
    carboy.g.seen = True


def after(response):
    return response


def make_app(is_async, hooks=False):
    """The application of the cases; with *hooks*, one runs before and one after the view."""
    app = carboy.Carboy("counted", static_folder=None)
    app.config["SECRET_KEY"] = "counted"
    wrap = as_async if is_async else lambda view: view
    for path, view in ("/plain", plain), ("/items/<int:number>", item), ("/session", read_session):
        app.add_url_rule(path, view_func=wrap(view))
    app.add_url_rule("/form", view_func=wrap(form), methods=["POST"])
    if hooks:
        app.before_request(as_async(before) if is_async else before)
        app.after_request(async_after if is_async else after)
    return app


async def async_after(response):
    return response


CASES = {
    "plain text": ("GET", "/plain", b"Hello, World!"),
    "JSON, path parameter": ("GET", "/items/42", b'{"id":42,"name":"cask"}\n'),
    "session read": ("GET", "/session", b"ada"),
    "before and after hook": ("GET", "/plain", b"Hello, World!"),
    "form": ("POST", "/form", b"cask"),
}


# -- The servers --------------------------------------------------------------------
# Each takes an application and a request, and returns a function that serves it and the list of what is sent. Over
# ASGI and RSGI that function gives a coroutine, which waits for nothing.


def request_headers(app, method, path):
    headers = {"host": "localhost"}
    if method == "POST":
        headers |= {"content-type": "application/x-www-form-urlencoded", "content-length": str(len(FORM))}
    if path == "/session":
        headers["cookie"] = "session=" + app.session_interface.get_signing_serializer(app).dumps({"user": "ada"})
    return headers


def wsgi_server(app, method, path):
    sent = []
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(FORM if method == "POST" else b""),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request_headers(app, method, path).items():
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value

    def start_response(status, headers, exc_info=None):
        assert status == "200 OK"

    def serve():
        sent.extend(app(environ, start_response))

    return serve, sent


def asgi_server(app, method, path):
    sent = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in request_headers(app, method, path).items()],
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
    }

    async def receive():
        return {"type": "http.request", "body": FORM, "more_body": False}

    async def send(message):
        assert message.get("status", 200) == 200
        sent.append(message.get("body", b""))

    return lambda: app(scope, receive, send), sent


class RSGIHeaders(dict):
    def get_all(self, name):
        return [self[name]] if name in self else []


class RSGIScope:
    proto = "http"
    rsgi_version = "1.6"
    http_version = "1.1"
    scheme = "http"
    server = "127.0.0.1:8000"
    client = "127.0.0.1:50000"
    query_string = ""
    authority = None

    def __init__(self, method, path, headers):
        self.method = method
        self.path = path
        self.headers = RSGIHeaders(headers)


class RSGIProtocol:
    def __init__(self, sent):
        self.sent = sent
        self.body = [FORM]

    async def __call__(self):
        return self.body.pop()

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.body:
            raise StopAsyncIteration
        return self.body.pop()

    def response_bytes(self, status, headers, body):
        assert status == 200
        self.sent.append(body)


def rsgi_server(app, method, path):
    sent = []
    scope, protocol = RSGIScope(method, path, request_headers(app, method, path)), RSGIProtocol(sent)
    return lambda: app.__rsgi__(scope, protocol), sent


SERVERS = {"wsgi": wsgi_server, "asgi": asgi_server, "rsgi": rsgi_server}


# -- Counting ------------------------------------------------------------------------


def serve_without_loop(serve):
    coroutine = serve()
    if coroutine is not None:
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("The request waits for something.")


def calls_of(protocol, case):
    """The calls of a warm request, in order."""
    app = make_app(protocol != "wsgi", hooks=case == "before and after hook")
    return [name for _, name in calls_and_modules_of(app, protocol, *CASES[case])]


def calls_and_modules_of(app, protocol, method, path, expected):
    calls = []

    def profile(frame, event, arg):
        if event == "call" and frame.f_code.co_filename != __file__:
            calls.append((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))

    for warm in False, False, True:
        serve, sent = SERVERS[protocol](app, method, path)
        previous = sys.getprofile()
        # What the garbage collector finishes is none of the request's.
        gc.disable()
        sys.setprofile(profile if warm else previous)
        try:
            serve_without_loop(serve)
        finally:
            sys.setprofile(previous)
            gc.enable()
        assert b"".join(sent) == expected
    return calls


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("protocol", SERVERS)
def test_calls_are_as_recorded(protocol, case):
    calls = calls_of(protocol, case)
    recorded = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    if RECORDING:
        recorded.setdefault(VERSIONS, {}).setdefault(protocol, {})[case] = len(calls)
        COUNTS.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")
    expected = recorded.get(VERSIONS, {}).get(protocol, {}).get(case, len(calls))
    assert len(calls) == expected, "\n".join(calls)


@pytest.mark.parametrize("protocol", ["wsgi", "rsgi"])
def test_json_with_a_path_parameter_is_within_the_budget(protocol):
    calls = calls_of(protocol, "JSON, path parameter")
    assert len(calls) <= BUDGET, "\n".join(calls)


def test_a_row_of_a_database_is_within_its_budget(tmp_path):
    """Only carboy's own calls are counted: SQLAlchemy's are those of its version."""
    db = Database()

    class Cask(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    app = carboy.Carboy("counted", static_folder=None)
    app.config["DATABASE_URL"] = f"sqlite:///{tmp_path / 'casks.sqlite'}"
    db.init_app(app)
    app.add_url_rule("/constant", "constant", view_func=lambda: {"name": "cask"})
    app.add_url_rule("/row", "row", view_func=lambda: {"name": db.get_or_404(Cask, 42).name})
    with app.app_context():
        db.create_all()
        db.session.add(Cask(id=42, name="cask"))
        db.session.commit()
    calls = {
        path: [
            name
            for module, name in calls_and_modules_of(app, "wsgi", "GET", path, b'{"name":"cask"}\n')
            if module.startswith("carboy.")
        ]
        for path in ("/constant", "/row")
    }
    with app.app_context():
        db.engines.dispose()
    assert len(calls["/row"]) - len(calls["/constant"]) <= DATABASE_BUDGET, "\n".join(calls["/row"])


# -- No task, no thread ----------------------------------------------------------------


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that tells which tasks were made on it."""

    def __init__(self):
        super().__init__()
        self.tasks = []

    def create_task(self, coroutine, **options):
        self.tasks.append(coroutine)
        return super().create_task(coroutine, **options)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("protocol", ["asgi", "rsgi"])
def test_an_async_plan_needs_neither_task_nor_thread(protocol, case, monkeypatch):
    """It runs in the server's own task, on the loop's own thread."""
    handed_over = []
    monkeypatch.setattr(WorkerThreads, "run", lambda self, context, func, *args: handed_over.append(func))
    method, path, expected = CASES[case]
    app = make_app(True, hooks=case == "before and after hook")
    seen = []

    @app.before_request
    async def look():
        seen.append((asyncio.current_task(), threading.current_thread()))

    async def server():
        here = asyncio.current_task(), threading.current_thread()
        threads = threading.active_count()
        serve, sent = SERVERS[protocol](app, method, path)
        await serve()
        assert b"".join(sent) == expected
        assert seen == [here]
        assert threading.active_count() == threads

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        runner.run(server())
        assert [task.__name__ for task in loop.tasks] == ["server"]
        assert handed_over == []
