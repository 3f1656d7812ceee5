"""WebSocket echo on Quart."""

from __future__ import annotations

from quart import Quart, websocket

app = Quart("benchmark", static_folder=None)


@app.websocket("/echo")
async def echo() -> None:
    """Return every message."""
    while True:
        await websocket.send(await websocket.receive())
