"""A soak: no request ever sees another's context, and nothing of a request stays behind.

``CARBOY_SOAK_REQUESTS`` sets the number of requests; by default 100,000.
"""

import asyncio
import gc
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from werkzeug.test import create_environ, run_wsgi_app

import carboy
from carboy import g, request, session
from carboy.context import RequestContext, _cv_app, _cv_request
from carboy.testing.protocols import RSGIHeaders

REQUESTS = int(os.environ.get("CARBOY_SOAK_REQUESTS", "100000"))
USERS = 100
AT_A_TIME = 64


@pytest.fixture
def mismatches():
    return []


@pytest.fixture
def app(mismatches):
    """Views that compare, after every wait, what is active with what they were called with."""
    app = carboy.Flask("soak")
    app.secret_key = "for tests only"

    def check(n):
        seen = (request.view_args["n"], request.args["n"], request.headers["X-N"], g.n, session["user"])
        if seen != (n, str(n), str(n), n, n % USERS):
            mismatches.append((n, seen))

    with_async_hooks = carboy.Blueprint("hooks", __name__)
    add_hooks(app, check)
    add_async_hooks(with_async_hooks, check)
    add_views(app, with_async_hooks, check)
    add_streams(app, check)
    add_events(app, check)
    add_errors(app, check)
    app.register_blueprint(with_async_hooks)
    return app


def add_hooks(app, check):
    @app.before_request
    def before():
        g.n = int(request.headers["X-N"])

    @app.after_request
    def after(response):
        check(g.n)
        response.headers["X-N"] = str(g.n)
        return response

    @app.teardown_request
    def teardown(error):
        check(g.n)


def add_async_hooks(blueprint, check):
    @blueprint.before_request
    async def before():
        check(g.n)
        await asyncio.sleep(0)
        check(g.n)

    @blueprint.teardown_request
    async def teardown(error):
        await asyncio.sleep(0)
        check(g.n)


def add_views(app, with_async_hooks, check):
    @app.get("/sync/<int:n>")
    def sync_view(n):
        for _ in range(3):
            time.sleep(random.random() / 5000)
            check(n)
        return str(n)

    @app.get("/async/<int:n>")
    @with_async_hooks.get("/hooks/<int:n>")
    async def async_view(n):
        for _ in range(3):
            await asyncio.sleep(random.choice([0, 0, 0.001]))
            check(n)
        return str(n)

    @with_async_hooks.get("/sync-hooks/<int:n>")
    def sync_view_with_hooks(n):
        check(n)
        return str(n)

    @app.get("/session/<int:n>")
    async def session_view(n):
        session["last"] = n
        await asyncio.sleep(0)
        check(n)
        return str(n)


def add_streams(app, check):
    @app.get("/sync-stream/<int:n>")
    def sync_stream(n):
        def parts():
            for digit in str(n):
                time.sleep(0)
                check(n)
                yield digit

        return carboy.stream_with_context(parts())

    @app.get("/async-stream/<int:n>")
    async def async_stream(n):
        async def parts():
            for digit in str(n):
                await asyncio.sleep(0)
                check(n)
                yield digit

        return carboy.stream_with_context(parts())


def add_events(app, check):
    @app.get("/sync-events/<int:n>")
    @carboy.sse
    def sync_events(n):
        for digit in str(n):
            time.sleep(0)
            check(n)
            yield digit

    @app.get("/async-events/<int:n>")
    @carboy.sse
    async def async_events(n):
        for digit in str(n):
            await asyncio.sleep(0)
            check(n)
            yield digit


def add_errors(app, check):
    @app.get("/error/<int:n>")
    async def error_view(n):
        await asyncio.sleep(0)
        raise LookupError

    @app.errorhandler(LookupError)
    async def handle(error):
        n = g.n
        await asyncio.sleep(0)
        check(n)
        return str(n)


KINDS = [
    "sync",
    "async",
    "async",
    "hooks",
    "sync-hooks",
    "session",
    "sync-stream",
    "async-stream",
    "sync-events",
    "async-events",
    "error",
]


class Requests:
    """Makes requests of *app*, over any protocol, and checks the answers."""

    def __init__(self, app, mismatches):
        self.app = app
        self.mismatches = mismatches
        serializer = app.session_interface.get_signing_serializer(app)
        self.cookies = [f"session={serializer.dumps({'user': user})}" for user in range(USERS)]
        self.serializer = serializer

    def headers(self, n):
        return [("host", "localhost"), ("x-n", str(n)), ("cookie", self.cookies[n % USERS])]

    def answered(self, n, headers, body):
        headers = {name.lower(): value for name, value in headers}
        if headers["content-type"] == "text/event-stream":
            body = b"".join(line[6:] for line in body.split(b"\n") if line.startswith(b"data: "))
        if body != str(n).encode() or headers["x-n"] != str(n):
            self.mismatches.append((n, headers, body))
        if "last" in headers.get("set-cookie", ""):
            cookie = headers["set-cookie"].partition("=")[2].partition(";")[0]
            if self.serializer.loads(cookie) != {"user": n % USERS, "last": n}:
                self.mismatches.append((n, cookie))

    async def asgi(self, kind, n):
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": f"/{kind}/{n}",
            "query_string": b"n=%d" % n,
            "headers": [(name.encode(), value.encode()) for name, value in self.headers(n)],
        }
        sent = []
        over = asyncio.Event()

        async def receive():
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(event):
            sent.append(event)

        await self.app(scope, receive, send)
        headers = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        self.answered(n, headers, b"".join(event["body"] for event in sent[1:]))

    async def rsgi(self, kind, n):
        scope = Scope()
        scope.path = f"/{kind}/{n}"
        scope.query_string = f"n={n}"
        scope.headers = RSGIHeaders(self.headers(n))
        protocol = Protocol()
        await self.app.__rsgi__(scope, protocol)
        self.answered(n, protocol.headers, protocol.body)

    def wsgi(self, kind, n):
        environ = create_environ(f"/{kind}/{n}", query_string=f"n={n}", headers=self.headers(n))
        body, _, headers = run_wsgi_app(self.app, environ, buffered=True)
        self.answered(n, headers, b"".join(body))

    async def soak(self, numbers):
        """Make one request for each number, many at a time, of random kinds and protocols."""
        loop = asyncio.get_running_loop()
        threads = ThreadPoolExecutor(4)
        numbers = iter(numbers)

        async def work():
            for n in numbers:
                kind = random.choice(KINDS)
                protocol = random.choice([self.asgi, self.asgi, self.rsgi, self.rsgi, self.wsgi])
                if protocol == self.wsgi:
                    await loop.run_in_executor(threads, self.wsgi, kind, n)
                else:
                    await protocol(kind, n)

        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
        threads.shutdown()


class Scope:
    proto = "http"
    http_version = "1.1"
    rsgi_version = "1.6"
    server = "localhost:80"
    client = "127.0.0.1:5000"
    scheme = "http"
    method = "GET"
    authority = None


class Protocol:
    """Keeps the answer; the client never leaves."""

    def __init__(self):
        self.body = b""
        self.headers = []

    def response_empty(self, status, headers):
        self.headers = headers

    def response_bytes(self, status, headers, body):
        self.headers, self.body = headers, body

    def response_str(self, status, headers, body):
        self.response_bytes(status, headers, body.encode())

    def response_stream(self, status, headers):
        self.headers = headers
        return self

    async def send_bytes(self, data):
        self.body += data

    async def client_disconnect(self):
        await asyncio.Event().wait()


def contexts_alive(app):
    return sum(isinstance(item, RequestContext) and item.app is app for item in gc.get_objects())


def test_nothing_is_mixed_up_and_nothing_is_left(app, mismatches):
    requests = Requests(app, mismatches)

    async def main():
        await requests.soak(range(REQUESTS // 2))
        gc.collect()
        half = sys.getallocatedblocks()
        await requests.soak(range(REQUESTS // 2, REQUESTS))
        gc.collect()
        return half, sys.getallocatedblocks()

    half, end = asyncio.run(main())
    assert mismatches == []
    assert (_cv_request.get(None), _cv_app.get(None)) == (None, None)
    assert contexts_alive(app) == 0
    # A block is about an object: one kept by each request would be half of REQUESTS.
    assert end - half < 1000 + REQUESTS // 50


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_no_cyclic_garbage(app, mismatches, kind, protocol):
    """A request is freed as it ends, with the garbage collector off."""
    requests = Requests(app, mismatches)

    async def main():
        for n in range(20):
            await call(n)
        gc.collect()
        gc.disable()
        try:
            for n in range(50):
                await call(n)
            # What the loop still has to do for the last one.
            await asyncio.sleep(0.01)
            return gc.collect()
        finally:
            gc.enable()

    async def call(n):
        result = getattr(requests, protocol)(kind, n)
        if result is not None:
            await result

    assert asyncio.run(main()) == 0
    assert mismatches == []
