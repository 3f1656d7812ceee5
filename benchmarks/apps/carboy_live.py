"""What ``bare_live`` does, on carboy; and ``/sleep``, a sync view that holds its thread for 10 ms."""

from __future__ import annotations

import asyncio
import gc
import time
import typing as t

from carboy import Carboy, ServerSentEvent, sse, websocket

app = Carboy("benchmark", static_folder=None)
# Autobahn's largest message has 16 MiB; uvicorn's own limit is the same.
app.config["WEBSOCKET_MAX_MESSAGE_SIZE"] = 16 * 2**20


@app.websocket("/echo")
async def echo() -> None:
    """Return every message."""
    async for message in websocket:
        await websocket.send(message)


@app.get("/events")
@sse
async def events() -> t.AsyncIterator[ServerSentEvent]:
    """Send one event and stay open until the client leaves."""
    yield ServerSentEvent("1", event="ready")
    await asyncio.Event().wait()


@app.get("/wait")
async def wait() -> str:
    """Answer after 10 ms, without a thread."""
    await asyncio.sleep(0.01)
    return "waited"


@app.get("/sleep")
def sleep() -> str:
    """Answer after 10 ms, holding a thread."""
    time.sleep(0.01)
    return "slept"


@app.get("/now")
async def now() -> str:
    """Answer at once."""
    return "now"


@app.get("/collect")
async def collect() -> str:
    """Collect garbage, all generations of it; return how many objects are left."""
    gc.collect()
    return str(len(gc.get_objects()))
