"""The least that keeps a connection open, in ASGI and RSGI: what WebSockets, event streams and waiting cost a server.

``/echo`` is a WebSocket that returns every message. ``/events`` sends one event and stays open until the client leaves.
``/wait`` answers after 10 ms. ``/collect`` does what Python does by itself at times: a full garbage collection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import typing as t

EVENT = "event: ready\ndata: 1\n\n"


async def asgi(scope: dict[str, t.Any], receive: t.Any, send: t.Any) -> None:
    """Answer as an ASGI application without lifespan."""
    if scope["type"] == "websocket":
        await _asgi_echo(receive, send)
        return
    assert scope["type"] == "http"
    if scope["path"] == "/events":
        await _asgi_events(receive, send)
        return
    await _wait_or_collect(scope["path"])
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"6")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"waited"})


async def _wait_or_collect(path: str) -> None:
    if path == "/collect":
        gc.collect()
    else:
        await asyncio.sleep(0.01)


async def _asgi_echo(receive: t.Any, send: t.Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if (text := message.get("text")) is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def _asgi_events(receive: t.Any, send: t.Any) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": EVENT.encode(), "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def rsgi(scope: t.Any, protocol: t.Any) -> None:
    """Answer as an RSGI application."""
    if scope.proto == "ws":
        await _rsgi_echo(protocol)
    elif scope.path == "/events":
        headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        transport = protocol.response_stream(200, headers)
        await transport.send_str(EVENT)
        await protocol.client_disconnect()
    else:
        await _wait_or_collect(scope.path)
        headers = [("content-type", "text/html; charset=utf-8"), ("content-length", "6")]
        protocol.response_bytes(200, headers, b"waited")


async def _rsgi_echo(protocol: t.Any) -> None:
    transport = await protocol.accept()
    # A send to a client that has left raises; granian's exception type is not the application's to import.
    with contextlib.suppress(RuntimeError):
        while (message := await transport.receive()).kind:
            if message.kind == 2:
                await transport.send_str(message.data)
            else:
                await transport.send_bytes(message.data)
    protocol.close(None)
