"""The lifespan of a server's process (ASGI lifespan 2.0)."""

from __future__ import annotations

import typing as t


async def serve(
    receive: t.Callable[[], t.Awaitable[t.MutableMapping[str, t.Any]]],
    send: t.Callable[[t.MutableMapping[str, t.Any]], t.Awaitable[None]],
) -> None:
    """Tell the server that the application is ready, and later that it may stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
