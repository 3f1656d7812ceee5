"""The async twin of the test client."""

import asyncio
import threading

import pytest
from werkzeug.test import ClientRedirectError, TestResponse

import carboy
from carboy import redirect, request, session, websocket
from carboy.testing import WebSocketClosed, WebSocketRefused


@pytest.fixture
def client(app, protocol):
    """An async client of `app` on each protocol, which fails where the application breaks the protocol's rules."""
    return app.async_test_client(protocol=protocol, lint=True)


@pytest.fixture(params=["asgi", "rsgi"])
def loop_client(app, request):
    """The same on the protocols that run the application on the test's loop, and have WebSockets."""
    return app.async_test_client(protocol=request.param, lint=True)


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options", "head", "trace"])
def test_methods(app, client, method):
    @app.route("/", methods=[method], provide_automatic_options=False)
    async def index():
        return {"method": request.method, "json": request.get_json(silent=True)}

    async def main():
        response = await getattr(client, method)("/", json=None if method in ("get", "head", "trace") else [1])
        assert isinstance(response, TestResponse)
        assert response.status_code == 200
        return response

    response = asyncio.run(main())
    if method == "head":
        assert response.data == b""
    else:
        assert response.json["method"] == method.upper()
        assert response.text == response.data.decode()


def test_application_runs_on_the_loop_of_the_test(app, loop_client):
    async def main():
        turn = asyncio.Queue()

        @app.get("/")
        async def index():
            return await turn.get()

        pending = asyncio.create_task(loop_client.get("/"))
        await asyncio.sleep(0)
        await turn.put("from the test")
        return (await pending).text

    assert asyncio.run(main()) == "from the test"


def test_wsgi_application_runs_in_a_thread(app):
    app.add_url_rule("/", view_func=lambda: str(threading.get_ident()))
    response = asyncio.run(app.async_test_client(protocol="wsgi").get("/"))
    assert int(response.text) != threading.get_ident()


def test_nothing_of_the_test_is_active_in_the_application(app, client):
    app.add_url_rule("/", view_func=lambda: request.path)

    async def main():
        with app.test_request_context("/other"):
            return (await client.get("/")).text

    assert asyncio.run(main()) == "/"


def test_requests_may_overlap(app, client):
    @app.get("/<int:number>")
    async def index(number):
        await asyncio.sleep(0.01 * (3 - number))
        return str(number)

    async def main():
        return [response.text for response in await asyncio.gather(*(client.get(f"/{n}") for n in range(4)))]

    assert asyncio.run(main()) == ["0", "1", "2", "3"]


def test_cookies_and_session(app, client):
    @app.get("/")
    def index():
        session["n"] = session.get("n", 0) + 1
        return f"{session['n']} {request.cookies.get('a')}"

    async def main():
        client.set_cookie("a", "b")
        texts = [(await client.get("/")).text for _ in range(2)]
        async with client.session_transaction() as stored:
            stored["n"] += 10
        client.delete_cookie("a")
        return [*texts, (await client.get("/")).text]

    assert asyncio.run(main()) == ["1 b", "2 b", "13 None"]
    assert client.get_cookie("session") is not None
    with pytest.raises(KeyError):
        asyncio.run(_fail_in_transaction(client))


async def _fail_in_transaction(client):
    async with client.session_transaction():
        raise KeyError


def test_redirects(app, client):
    app.add_url_rule("/a", view_func=lambda: redirect("/b", 307), methods=["POST"], endpoint="a")
    app.add_url_rule("/b", view_func=lambda: redirect("/c"), methods=["POST"], endpoint="b")
    app.add_url_rule("/c", view_func=lambda: request.method, endpoint="c")
    app.add_url_rule("/circle", view_func=lambda: redirect("/circle"), endpoint="circle")

    async def main():
        response = await client.post("/a", data=b"x", follow_redirects=True)
        assert (response.text, response.request.path) == ("GET", "/c")
        assert [passed.status_code for passed in response.history] == [307, 302]
        assert (await client.post("/a")).status_code == 307
        with pytest.raises(ClientRedirectError, match="in a circle"):
            await client.get("/circle", follow_redirects=True)

    asyncio.run(main())


def test_body_is_streamed(app, client):
    closed = threading.Event()

    @app.get("/")
    def index():
        async def parts():
            try:
                for number in range(1000):
                    yield b"%d " % number
                    await asyncio.sleep(0)
            finally:
                closed.set()

        return parts()

    async def main():
        response = await client.get("/", buffered=False)
        with pytest.raises(RuntimeError, match=r"await response.read\(\)"):
            _ = response.data
        async for part in response:
            assert part == b"0 "
            break
        await response.aclose()
        assert closed.is_set()
        closed.clear()
        async with await client.get("/", buffered=False) as response:
            assert response.status_code == 200
        assert closed.is_set()
        response = await client.get("/", buffered=False)
        assert await response.read() == response.data
        assert len(response.text.split()) == 1000
        assert b"".join([part async for part in response]) == response.data

    asyncio.run(main())


def test_large_bodies(app, client):
    app.add_url_rule("/", view_func=lambda: request.get_data(), methods=["POST"])
    assert asyncio.run(client.post("/", data=b"x" * 3_000_000)).data == b"x" * 3_000_000


def test_exception_is_raised_in_the_test(app, client):
    @app.get("/early")
    def early():
        raise ZeroDivisionError

    @app.get("/late")
    def late():
        def parts():
            yield b"x"
            raise ZeroDivisionError

        return parts()

    async def main():
        for path in ("/early", "/late"):
            with pytest.raises(ZeroDivisionError):
                await client.get(path)

    asyncio.run(main())


def test_context_of_the_latest_request_stays(app, client):
    @app.get("/<name>")
    async def index(name):
        carboy.g.name = name
        return name

    async def main():
        async with client:
            await client.get("/a")
            assert (carboy.g.name, request.path) == ("a", "/a")
            await client.get("/b")
            assert carboy.g.name == "b"
        assert not request

    asyncio.run(main())


def test_cancelled_request_cancels_the_application(app, loop_client):
    ended = []

    @app.get("/")
    async def index():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop_client.get("/"), 0.02)
        await asyncio.sleep(0.01)
        assert ended

    asyncio.run(main())


def test_websocket(app, loop_client):
    shared = []

    @app.websocket("/")
    async def echo():
        shared.append(asyncio.get_running_loop())
        async for message in websocket:
            await websocket.send(message)
            if message == "stop":
                await websocket.close(4000)

    async def main():
        async with loop_client.websocket("/") as ws:
            await ws.send("a")
            await ws.send(b"b")
            await ws.send_json([1])
            assert [await ws.receive(), await ws.receive(), await ws.receive_json()] == ["a", b"b", [1]]
            with pytest.raises(TimeoutError):
                await ws.receive(timeout=0.01)
            await ws.send("stop")
            assert [message async for message in ws] == ["stop"]
            assert ws.close_code == (4000 if loop_client.protocol == "asgi" else 1005)
            with pytest.raises(WebSocketClosed):
                await ws.receive()
        assert shared == [asyncio.get_running_loop()]
        async with loop_client.websocket("/") as ws:
            await ws.close(1001)
        with pytest.raises(WebSocketRefused, match="404"):
            await loop_client.websocket("/nowhere").__aenter__()

    asyncio.run(main())


def test_two_websockets_talk(app, loop_client):
    members = set()

    @app.websocket("/")
    async def chat():
        mine = asyncio.Queue()
        members.add(mine)

        async def forward():
            while True:
                await websocket.send(await mine.get())

        forwarding = asyncio.create_task(forward())
        try:
            async for message in websocket:
                for member in members:
                    member.put_nowait(message)
        finally:
            members.discard(mine)
            forwarding.cancel()

    async def main():
        async with loop_client.websocket("/") as one, loop_client.websocket("/") as two:
            await one.send("hello")
            await two.send("you")
            assert {await one.receive(), await one.receive()} == {await two.receive(), await two.receive()}
        assert not members

    asyncio.run(main())


def test_events(app, client):
    @app.get("/")
    def index():
        async def events():
            for number in range(3):
                yield f"data: {number}\n\n"

        return carboy.Response(events(), mimetype="text/event-stream")

    async def main():
        async with client.events("/") as events:
            assert (await anext(events)).data == "0"
            assert [event.data async for event in events] == ["1", "2"]

    asyncio.run(main())


def test_lifespan(app, client):
    done = []
    app.before_serving(lambda: done.append("start"))
    app.after_serving(lambda: done.append("stop"))
    app.add_url_rule("/", view_func=lambda: str(done))

    async def main():
        async with client.lifespan():
            assert (await client.get("/")).text == "['start']"
        assert done == ["start", "stop"]

    asyncio.run(main())


def test_environ_base(app, client):
    app.add_url_rule("/", view_func=lambda: request.headers["X-A"])
    client.environ_base["HTTP_X_A"] = "b"
    assert asyncio.run(client.get("/")).text == "b"
    client.environ_base = {**client.environ_base, "HTTP_X_A": "c"}
    assert asyncio.run(client.get("/")).text == "c"
