"""The application that real servers serve in these tests.

What a client cannot see goes, one line for each event, to the file named by ``CARBOY_TEST_RECORD``.
"""

import asyncio
import hashlib
import os
import time

import carboy
from carboy import request, websocket

app = carboy.Flask(__name__, static_folder=os.environ["CARBOY_TEST_STATIC"], static_url_path="/static")
app.secret_key = "for tests only"
app.config["MAX_CONTENT_LENGTH"] = 8_000_000


def record(line):
    with open(os.environ["CARBOY_TEST_RECORD"], "a") as file:
        file.write(line + "\n")


@app.teardown_request
def torn_down(error):
    record(f"teardown {request.path}")


@app.get("/")
def index():
    return "Hello!"


@app.get("/async")
async def async_index():
    await asyncio.sleep(0)
    return "Hello!"


@app.get("/name")
def name():
    return request.host


@app.post("/json")
def json():
    return {"got": request.get_json()}


@app.post("/form")
async def form():
    return request.form.to_dict(flat=False)


@app.post("/upload")
def upload():
    data = request.files["file"].read()
    return {"name": request.files["file"].filename, "field": request.form["field"], "sha256": digest(data)}


@app.post("/stream-upload", stream_body=True)
def stream_upload():
    data = b""
    while part := request.stream.read(65536):
        data += part
    return {"sha256": digest(data)}


@app.post("/async-stream-upload", stream_body=True)
async def async_stream_upload():
    return {"sha256": digest(b"".join([part async for part in request.stream]))}


@app.post("/unread")
def unread():
    return "unread"


def digest(data):
    return hashlib.sha256(data).hexdigest()


@app.get("/login/<name>")
def login(name):
    carboy.session["name"] = name
    return carboy.redirect(carboy.url_for("whoami"))


@app.get("/whoami")
async def whoami():
    return carboy.session.get("name", "nobody")


@app.get("/stream")
def stream():
    return (f"part {n}\n" for n in range(100))


@app.get("/async-stream")
async def async_stream():
    for n in range(100):
        await asyncio.sleep(0)
        yield f"part {n}\n"


@app.get("/endless")
def endless():
    def parts():
        try:
            while True:
                yield b"x" * 10_000
        finally:
            record("generator /endless")

    return parts()


@app.get("/async-endless")
async def async_endless():
    try:
        while True:
            yield b"x" * 10_000
    finally:
        record("generator /async-endless")


@app.get("/events")
@carboy.sse(heartbeat=0.2)
def events():
    try:
        yield carboy.ServerSentEvent("first", id=1)
        while True:
            time.sleep(0.3)
            yield None
    finally:
        record("generator /events")


@app.get("/async-events")
@carboy.sse(heartbeat=0.2)
async def async_events():
    try:
        yield carboy.ServerSentEvent(request.last_event_id or "first", id=1)
        await asyncio.sleep(60)
    finally:
        record("generator /async-events")


@app.get("/wait-for-leaving")
def wait_for_leaving():
    record("started /wait-for-leaving")
    record(f"left {request.disconnected(5)}")
    return "nobody reads this"


@app.get("/async-wait-for-leaving")
async def async_wait_for_leaving():
    record("started /async-wait-for-leaving")
    record(f"left {await request.disconnected(5)}")
    return "nobody reads this"


@app.post("/parts", stream_body=True)
def parts():
    return {part.name: [part.filename, digest(b"".join(part))] for part in request.parts()}


@app.post("/async-parts", stream_body=True)
async def async_parts():
    return {
        part.name: [part.filename, digest(b"".join([chunk async for chunk in part]))] async for part in request.parts()
    }


@app.get("/slow")
def slow():
    record("started /slow")
    time.sleep(1)
    return "slow"


@app.get("/async-slow")
async def async_slow():
    record("started /async-slow")
    await asyncio.sleep(1)
    return "slow"


@app.get("/slow-stream")
def slow_stream():
    record("started /slow-stream")
    for _ in range(10):
        time.sleep(0.1)
        yield "x"


@app.get("/fail")
def fail():
    raise ZeroDivisionError("the reason")


@app.get("/async-fail")
async def async_fail():
    raise ZeroDivisionError("the reason")


@app.errorhandler(404)
def not_found(error):
    return carboy.render_template_string("<h1>No {{ request.path }} here</h1>"), 404


@app.get("/protocol")
def protocol():
    """Which protocol the server speaks with the application."""
    environ = request.environ
    return "asgi" if "asgi.scope" in environ else "rsgi" if "rsgi.scope" in environ else "wsgi"


@app.teardown_websocket
def websocket_torn_down(error):
    record(f"teardown {request.path} {type(error).__name__}")


@app.websocket("/ws/echo")
async def ws_echo():
    async for message in websocket:
        await websocket.send(message)


@app.websocket("/ws/echo-sync/<int:number>")
def ws_echo_sync(number):
    websocket.send(str(number))
    for message in websocket:
        websocket.send(message)


@app.websocket("/ws/whoami")
async def ws_whoami():
    if "name" not in carboy.session:
        carboy.abort(401)
    await websocket.send(carboy.session["name"])


@app.websocket("/ws/close")
async def ws_close():
    await websocket.accept()
    await websocket.close(4001, "full")


@app.websocket("/ws/fail")
async def ws_fail():
    await websocket.accept()
    raise ZeroDivisionError("the reason")


@app.websocket("/ws/subprotocol")
async def ws_subprotocol():
    await websocket.accept(subprotocol="b")
    await websocket.receive()


@app.websocket("/ws/elsewhere")
async def ws_elsewhere():
    await websocket.accept()
    try:
        await asyncio.sleep(60)
    finally:
        record("left /ws/elsewhere")


@app.websocket("/ws/flood")
async def ws_flood():
    """Send until the client does not take any more; say how much that was."""
    sent = 0
    try:
        while sent < 1000:
            async with asyncio.timeout(0.3):
                await websocket.send(b"x" * 100_000)
            sent += 1
    except TimeoutError:
        record(f"flood stopped after {sent}")
