"""WebSocket echo on Sanic."""

from __future__ import annotations

from sanic import Request, Sanic, Websocket

app = Sanic("benchmark")


@app.websocket("/echo")
async def echo(request: Request, websocket: Websocket) -> None:
    """Return every message."""
    async for message in websocket:
        await websocket.send(message)
