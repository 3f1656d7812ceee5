"""The benchmark's cases on aiohttp: ``python -m aiohttp_app PORT``."""

from __future__ import annotations

import asyncio
import sys
import typing as t

import aiohttp_jinja2
import aiohttp_session
import jinja2
import uvloop
from aiohttp import WSMsgType, web
from aiohttp_session.cookie_storage import EncryptedCookieStorage
from aiohttp_sse import EventSourceResponse, sse_response
from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE

routes = web.RouteTableDef()


@routes.get("/plain")
async def plain(request: web.Request) -> web.Response:
    """Return text."""
    return web.Response(text="Hello, World!", content_type="text/html")


@routes.get("/json")
async def json(request: web.Request) -> web.Response:
    """Return JSON."""
    return web.json_response({"message": "Hello, World!"})


@routes.post("/order")
async def order(request: web.Request) -> web.Response:
    """Read a JSON body."""
    lines = (await request.json())["lines"]
    return web.json_response({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


@routes.get("/page")
@aiohttp_jinja2.template("casks.html")
async def page(request: web.Request) -> dict[str, t.Any]:
    """Render a template."""
    return {"title": TITLE, "casks": CASKS}


async def visits(request: web.Request) -> web.Response:
    """Read and write the session, which is encrypted."""
    session = await aiohttp_session.get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    return web.Response(text=str(session["visits"]), content_type="text/html")


@routes.post("/form")
async def form(request: web.Request) -> web.Response:
    """Read a form."""
    fields = await request.post()
    return web.Response(text=f"{fields['name']}: {fields['litres']}", content_type="text/html")


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    """Read an uploaded file."""
    fields = await request.post()
    return web.Response(text=str(len(fields["file"].file.read())), content_type="text/html")


@routes.get("/wait")
async def wait(request: web.Request) -> web.Response:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return web.Response(text="waited", content_type="text/html")


@routes.get("/events")
async def events(request: web.Request) -> EventSourceResponse:
    """Stream events."""
    async with sse_response(request) as response:
        for number in range(EVENTS):
            await response.send(str(number))
    return response


@routes.get("/echo")
async def echo(request: web.Request) -> web.WebSocketResponse:
    """Return every message."""
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type == WSMsgType.TEXT:
            await websocket.send_str(message.data)
    return websocket


async def item(request: web.Request) -> web.Response:
    """Return JSON that holds values from the path and the query."""
    query = request.query
    return web.json_response(
        {"item": int(request.match_info["item"]), "page": int(query["page"]), "sort": query["sort"]}
    )


def application() -> web.Application:
    """Return the application."""
    app = web.Application(client_max_size=4 * 2**20)
    app.add_routes(routes)
    app.router.add_static("/static", STATIC)
    app.add_routes([web.get(rf"/shelf{number}/items/{{item:\d+}}", item) for number in range(SHELVES)])
    aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(TEMPLATES))
    account = web.Application()
    account.add_routes([web.get("/visits", visits)])
    aiohttp_session.setup(account, EncryptedCookieStorage(SECRET.encode()))
    app.add_subapp("/account", account)
    return app


if __name__ == "__main__":
    web.run_app(
        application(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
