"""Sync and async views side by side, with the same ``request``, ``g`` and hooks.

Under ASGI and RSGI an async view runs on the server's event loop and a sync one in a
worker thread; under WSGI a sync view runs in the server's thread and an async one on an
event loop that lives as long as the process. The code is the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from carboy import Carboy, Response, g, request

app = Carboy(__name__)


@app.before_request
def start_clock() -> None:
    g.started = time.perf_counter()


@app.after_request
async def show_clock(response: Response) -> Response:
    response.headers["Server-Timing"] = f"app;dur={(time.perf_counter() - g.started) * 1000:.1f}"
    return response


async def price(shop: str) -> int:
    """Ask a shop; it takes its time."""
    await asyncio.sleep(0.1)
    return len(shop) * 100


@app.get("/prices")
async def prices() -> dict[str, Any]:
    """Ask all shops at once: three answers in the time of one."""
    shops = request.args.getlist("shop") or ["Malt & Co", "Hop House", "Yeast Bay"]
    return dict(zip(shops, await asyncio.gather(*map(price, shops)), strict=True))


@app.get("/report")
def report() -> dict[str, Any]:
    """Block for a while; other requests go on."""
    time.sleep(0.1)
    return {"lines": 3}


@app.get("/ping", run="loop")
def ping() -> str:
    """Never block: under ASGI and RSGI this one needs no thread."""
    return "pong"
