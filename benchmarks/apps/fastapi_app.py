"""The benchmark's cases on FastAPI."""

import asyncio
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from fastapi import FastAPI, Form, Request, UploadFile, WebSocket
from fastapi.responses import HTMLResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()
templates = Jinja2Templates(directory=TEMPLATES)


class Line(BaseModel):
    """A line of an order."""

    cask: str
    litres: int
    note: str


class Order(BaseModel):
    """The JSON body."""

    customer: str
    lines: list[Line]


@app.get("/plain", response_class=HTMLResponse)
async def plain() -> str:
    """Return text."""
    return "Hello, World!"


@app.get("/json")
async def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@app.post("/order")
async def order(order: Order) -> dict[str, t.Any]:
    """Read a JSON body."""
    return {"lines": len(order.lines), "litres": sum(line.litres for line in order.lines)}


@app.get("/page", response_class=HTMLResponse)
async def page(request: Request) -> Response:
    """Render a template."""
    return templates.TemplateResponse(request, "casks.html", {"title": TITLE, "casks": CASKS})


account = FastAPI()
account.add_middleware(SessionMiddleware, secret_key=SECRET)


@account.get("/visits", response_class=HTMLResponse)
async def visits(request: Request) -> str:
    """Read and write the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return str(request.session["visits"])


app.mount("/account", account)
app.mount("/static", StaticFiles(directory=STATIC, check_dir=False))


@app.post("/form", response_class=HTMLResponse)
async def form(name: t.Annotated[str, Form()], litres: t.Annotated[int, Form()]) -> str:
    """Read a form."""
    return f"{name}: {litres}"


@app.post("/upload", response_class=HTMLResponse)
async def upload(file: UploadFile) -> str:
    """Read an uploaded file."""
    return str(len(await file.read()))


@app.get("/wait", response_class=HTMLResponse)
async def wait() -> str:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return "waited"


@app.get("/events", response_class=EventSourceResponse)
async def events() -> t.AsyncIterator[ServerSentEvent]:
    """Stream events."""
    for number in range(EVENTS):
        yield ServerSentEvent(raw_data=str(number))


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Return every message."""
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


async def item(item: int, page: int, sort: str) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    return {"item": item, "page": page, "sort": sort}


for number in range(SHELVES):
    app.get(f"/shelf{number}/items/{{item}}")(item)
