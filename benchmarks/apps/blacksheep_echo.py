"""WebSocket echo on BlackSheep."""

from __future__ import annotations

from blacksheep import Application, WebSocket, WebSocketDisconnectError, ws

app = Application()


@ws("/echo")
async def echo(websocket: WebSocket) -> None:
    """Return every message."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnectError:
        pass
