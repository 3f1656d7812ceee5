"""The benchmark's cases on Sanic."""

from __future__ import annotations

import asyncio

from cellar import EVENTS, SHELVES, STATIC
from sanic import HTTPResponse, Request, Sanic, Websocket, html, json

app = Sanic("benchmark")
# Sanic Extensions, which ``sanic_page`` needs, would change every request.
app.config.AUTO_EXTEND = False
app.static("/static", STATIC)


@app.get("/plain")
async def plain(request: Request) -> HTTPResponse:
    """Return text."""
    return html("Hello, World!")


@app.get("/json")
async def answer(request: Request) -> HTTPResponse:
    """Return JSON."""
    return json({"message": "Hello, World!"})


@app.post("/order")
async def order(request: Request) -> HTTPResponse:
    """Read a JSON body."""
    lines = request.json["lines"]
    return json({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


@app.post("/form")
async def form(request: Request) -> HTTPResponse:
    """Read a form."""
    return html(f"{request.form.get('name')}: {request.form.get('litres')}")


@app.post("/upload")
async def upload(request: Request) -> HTTPResponse:
    """Read an uploaded file."""
    return html(str(len(request.files.get("file").body)))


@app.get("/wait")
async def wait(request: Request) -> HTTPResponse:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return html("waited")


@app.get("/events")
async def events(request: Request) -> None:
    """Stream events."""
    response = await request.respond(content_type="text/event-stream")
    for number in range(EVENTS):
        await response.send(f"data: {number}\n\n")
    await response.eof()


@app.websocket("/echo")
async def echo(request: Request, websocket: Websocket) -> None:
    """Return every message."""
    async for message in websocket:
        await websocket.send(message)


async def item(request: Request, item: int) -> HTTPResponse:
    """Return JSON that holds values from the path and the query."""
    return json({"item": item, "page": int(request.args.get("page")), "sort": request.args.get("sort")})


for number in range(SHELVES):
    app.add_route(item, f"/shelf{number}/items/<item:int>", name=f"item{number}")
