"""The benchmark's cases on Quart."""

from __future__ import annotations

import asyncio
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from quart import Quart, Response, render_template, request, session, websocket

app = Quart("benchmark", static_folder=str(STATIC), static_url_path="/static", template_folder=str(TEMPLATES))
app.secret_key = SECRET


@app.get("/plain")
async def plain() -> str:
    """Return text."""
    return "Hello, World!"


@app.get("/json")
async def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@app.post("/order")
async def order() -> dict[str, t.Any]:
    """Read a JSON body."""
    lines = (await request.get_json())["lines"]
    return {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


@app.get("/page")
async def page() -> str:
    """Render a template."""
    return await render_template("casks.html", title=TITLE, casks=CASKS)


@app.get("/account/visits")
async def visits() -> str:
    """Read and write the session."""
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.post("/form")
async def form() -> str:
    """Read a form."""
    fields = await request.form
    return f"{fields['name']}: {fields['litres']}"


@app.post("/upload")
async def upload() -> str:
    """Read an uploaded file."""
    files = await request.files
    return str(len(files["file"].read()))


@app.get("/wait")
async def wait() -> str:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return "waited"


@app.get("/events")
async def events() -> Response:
    """Stream events."""

    async def stream() -> t.AsyncIterator[bytes]:
        for number in range(EVENTS):
            yield f"data: {number}\n\n".encode()

    return Response(stream(), mimetype="text/event-stream")


@app.websocket("/echo")
async def echo() -> None:
    """Return every message."""
    while True:
        await websocket.send(await websocket.receive())


async def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    return {"item": item, "page": request.args.get("page", type=int), "sort": request.args["sort"]}


for number in range(SHELVES):
    app.add_url_rule(f"/shelf{number}/items/<int:item>", view_func=item)
