"""The benchmark's cases on Robyn: ``python -m robyn_app PORT``."""

from __future__ import annotations

import asyncio
import sys
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from robyn import Request, Response, Robyn, SSEMessage, SSEResponse, html
from robyn.session import SessionManager
from robyn.templating import JinjaTemplate
from robyn.ws import WebSocketAdapter

app = Robyn(__file__)
app.serve_directory("/static", str(STATIC))
templates = JinjaTemplate(str(TEMPLATES))
sessions = SessionManager(SECRET)


@app.get("/plain")
async def plain() -> Response:
    """Return text."""
    return html("Hello, World!")


@app.get("/json")
async def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@app.post("/order")
async def order(request: Request) -> dict[str, t.Any]:
    """Read a JSON body."""
    lines = request.json()["lines"]
    return {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


@app.get("/page")
async def page() -> Response:
    """Render a template."""
    return templates.render_template("casks.html", title=TITLE, casks=CASKS)


@app.get("/account/visits")
async def visits(request: Request) -> Response:
    """Read and write the session."""
    session = sessions.load(request)
    session["visits"] = session.get("visits", 0) + 1
    response = html(str(session["visits"]))
    sessions.save(session, response)
    return response


@app.post("/upload")
async def upload(request: Request) -> Response:
    """Read an uploaded file."""
    return html(str(sum(len(file) for file in request.files.values())))


@app.get("/wait")
async def wait() -> Response:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return html("waited")


@app.get("/events")
async def events() -> t.Any:
    """Stream events."""

    async def stream() -> t.AsyncIterator[str]:
        for number in range(EVENTS):
            yield SSEMessage(str(number))

    return SSEResponse(stream())


@app.websocket("/echo")
async def echo(websocket: WebSocketAdapter) -> None:
    """Return every message."""
    while True:
        await websocket.send_text(await websocket.receive_text())


async def item(request: Request) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    query = request.query_params
    return {
        "item": int(request.path_params["item"]),
        "page": int(query.get("page", "1")),
        "sort": query.get("sort", None),
    }


for number in range(SHELVES):
    app.get(f"/shelf{number}/items/:item")(item)

if __name__ == "__main__":
    app.start(port=int(sys.argv[1]))
