"""The benchmark's cases on BlackSheep."""

import asyncio
import typing as t

from blacksheep import (
    Application,
    FromFiles,
    FromForm,
    FromJSON,
    Request,
    Response,
    Router,
    WebSocket,
    WebSocketDisconnectError,
    get,
    html,
    json,
    post,
    ws,
)
from blacksheep.server.rendering.jinja2 import JinjaRenderer
from blacksheep.server.responses import view
from blacksheep.server.sse import ServerSentEventsResponse, TextServerSentEvent
from blacksheep.settings.html import html_settings
from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from jinja2 import FileSystemLoader

app = Application()
app.serve_files(STATIC, root_path="static")
html_settings.use(JinjaRenderer(FileSystemLoader(TEMPLATES)))


@get("/plain")
async def plain() -> Response:
    """Return text."""
    return html("Hello, World!")


@get("/json")
async def answer() -> Response:
    """Return JSON."""
    return json({"message": "Hello, World!"})


@post("/order")
async def order(data: FromJSON[dict]) -> Response:
    """Read a JSON body."""
    lines = data.value["lines"]
    return json({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


@get("/page")
async def page() -> Response:
    """Render a template."""
    return view("casks", title=TITLE, casks=CASKS)


@post("/form")
async def form(data: FromForm[dict]) -> Response:
    """Read a form."""
    return html(f"{data.value['name']}: {data.value['litres']}")


@post("/upload")
async def upload(files: FromFiles) -> Response:
    """Read an uploaded file."""
    return html(str(len(files.value[0].data)))


@get("/wait")
async def wait() -> Response:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return html("waited")


@get("/events")
async def events() -> Response:
    """Stream events."""

    async def stream() -> t.AsyncIterator[TextServerSentEvent]:
        for number in range(EVENTS):
            yield TextServerSentEvent(str(number))

    return ServerSentEventsResponse(stream)


@ws("/echo")
async def echo(websocket: WebSocket) -> None:
    """Return every message."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnectError:
        pass


async def item(item: int, page: int, sort: str) -> Response:
    """Return JSON that holds values from the path and the query."""
    return json({"item": item, "page": page, "sort": sort})


for number in range(SHELVES):
    app.router.add_get(f"/shelf{number}/items/{{int:item}}", item)

# Sessions are a middleware of a whole application.
sessions_app = Application(router=Router())
sessions_app.use_sessions(SECRET)


@sessions_app.router.get("/account/visits")
async def visits(request: Request) -> Response:
    """Read and write the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return html(str(request.session["visits"]))
