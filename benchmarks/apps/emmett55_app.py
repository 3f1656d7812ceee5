"""The benchmark's cases on Emmett55."""

from __future__ import annotations

import asyncio
import typing as t

from cellar import EVENTS, FILES, SECRET, SHELVES
from emmett55 import App, request, response, session, websocket
from emmett55.sessions import SessionManager
from emmett55.tools import service, sse

app = App(__name__, root_path=str(FILES.resolve()))


@app.route("/plain", methods=["get"], output="str")
async def plain() -> str:
    """Return text."""
    response.content_type = "text/html"
    return "Hello, World!"


@app.route("/json", methods=["get"])
@service.json
async def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@app.route("/order", methods=["post"])
@service.json
async def order() -> dict[str, t.Any]:
    """Read a JSON body."""
    lines = (await request.body_params)["lines"]
    return {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


@app.route("/account/visits", methods=["get"], output="str", pipeline=[SessionManager.cookies(SECRET)])
async def visits() -> str:
    """Read and write the session."""
    session.visits = (session.visits or 0) + 1
    response.content_type = "text/html"
    return str(session.visits)


@app.route("/form", methods=["post"], output="str")
async def form() -> str:
    """Read a form."""
    fields = await request.body_params
    response.content_type = "text/html"
    return f"{fields.name}: {fields.litres}"


@app.route("/upload", methods=["post"], output="str")
async def upload() -> str:
    """Read an uploaded file."""
    files = await request.files
    response.content_type = "text/html"
    return str(len(files.file.read()))


@app.route("/wait", methods=["get"], output="str")
async def wait() -> str:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    response.content_type = "text/html"
    return "waited"


@app.route("/events", methods=["get"])
@sse()
async def events() -> t.AsyncIterator[dict[str, str]]:
    """Stream events."""
    for number in range(EVENTS):
        yield {"data": str(number)}


@app.websocket("/echo")
async def echo() -> None:
    """Return every message."""
    await websocket.accept()
    while True:
        await websocket.send(await websocket.receive())


async def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    query = request.query_params
    return {"item": item, "page": int(query.page), "sort": query.sort}


for number in range(SHELVES):
    app.route(f"/shelf{number}/items/<int:item>", name=f"item{number}", methods=["get"])(service.json(item))
