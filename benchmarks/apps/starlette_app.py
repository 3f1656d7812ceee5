"""The benchmark's cases on Starlette; ``sync_app`` has sync endpoints, which it runs in threads."""

from __future__ import annotations

import asyncio
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.websockets import WebSocket

templates = Jinja2Templates(directory=TEMPLATES)


async def plain(request: Request) -> HTMLResponse:
    """Return text."""
    return HTMLResponse("Hello, World!")


async def json(request: Request) -> JSONResponse:
    """Return JSON."""
    return JSONResponse({"message": "Hello, World!"})


async def order(request: Request) -> JSONResponse:
    """Read a JSON body."""
    lines = (await request.json())["lines"]
    return JSONResponse({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


async def page(request: Request) -> Response:
    """Render a template."""
    return templates.TemplateResponse(request, "casks.html", {"title": TITLE, "casks": CASKS})


async def visits(request: Request) -> HTMLResponse:
    """Read and write the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HTMLResponse(str(request.session["visits"]))


async def form(request: Request) -> HTMLResponse:
    """Read a form."""
    async with request.form() as fields:
        return HTMLResponse(f"{fields['name']}: {fields['litres']}")


async def upload(request: Request) -> HTMLResponse:
    """Read an uploaded file."""
    async with request.form() as fields:
        return HTMLResponse(str(len(await fields["file"].read())))


async def wait(request: Request) -> HTMLResponse:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return HTMLResponse("waited")


async def events(request: Request) -> EventSourceResponse:
    """Stream events."""

    async def stream() -> t.AsyncIterator[dict[str, str]]:
        for number in range(EVENTS):
            yield {"data": str(number)}

    return EventSourceResponse(stream())


async def echo(websocket: WebSocket) -> None:
    """Return every message."""
    await websocket.accept()
    async for message in websocket.iter_text():
        await websocket.send_text(message)


async def item(request: Request) -> JSONResponse:
    """Return JSON that holds values from the path and the query."""
    query = request.query_params
    return JSONResponse({"item": request.path_params["item"], "page": int(query["page"]), "sort": query["sort"]})


app = Starlette(
    routes=[
        Route("/plain", plain),
        Route("/json", json),
        Route("/order", order, methods=["POST"]),
        Route("/page", page),
        Route("/account/visits", visits, middleware=[Middleware(SessionMiddleware, secret_key=SECRET)]),
        Route("/form", form, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/wait", wait),
        Route("/events", events),
        WebSocketRoute("/echo", echo),
        Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        *(Route(f"/shelf{number}/items/{{item:int}}", item) for number in range(SHELVES)),
    ]
)


def sync_plain(request: Request) -> HTMLResponse:
    """Return text."""
    return HTMLResponse("Hello, World!")


def sync_json(request: Request) -> JSONResponse:
    """Return JSON."""
    return JSONResponse({"message": "Hello, World!"})


def sync_item(request: Request) -> JSONResponse:
    """Return JSON that holds values from the path and the query."""
    query = request.query_params
    return JSONResponse({"item": request.path_params["item"], "page": int(query["page"]), "sort": query["sort"]})


sync_app = Starlette(
    routes=[
        Route("/plain", sync_plain),
        Route("/json", sync_json),
        *(Route(f"/shelf{number}/items/{{item:int}}", sync_item) for number in range(SHELVES)),
    ]
)
