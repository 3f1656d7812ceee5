"""WebSocket echo on Litestar."""

from __future__ import annotations

from litestar import Litestar, WebSocket, websocket


# Litestar reads annotations at run time.
@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Return every message."""
    await socket.accept()
    async for message in socket.iter_data():
        await socket.send_text(message)


app = Litestar([echo], openapi_config=None)
