"""The benchmark's two routes on Starlette."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route


async def plain(request: Request) -> HTMLResponse:
    """Return text."""
    return HTMLResponse("Hello, World!")


async def item(request: Request) -> JSONResponse:
    """Return JSON that holds a value from the path."""
    return JSONResponse({"id": request.path_params["item"], "name": "cask"})


app = Starlette(routes=[Route("/plain", plain), Route("/items/{item:int}", item)])
