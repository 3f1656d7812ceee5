"""The lifespan of a server's process (ASGI lifespan 2.0)."""

from __future__ import annotations

import typing as t

from ..lifecycle import ShutdownError, StartupError

if t.TYPE_CHECKING:
    from ..app import Carboy


async def serve(
    app: Carboy,
    receive: t.Callable[[], t.Awaitable[t.MutableMapping[str, t.Any]]],
    send: t.Callable[[t.MutableMapping[str, t.Any]], t.Awaitable[None]],
) -> None:
    """Start the application when the server starts, and shut it down when it stops."""
    while True:
        event = (await receive())["type"]
        try:
            if event == "lifespan.startup":
                await app.lifecycle.startup()
            else:
                await app.lifecycle.shutdown()
        except (StartupError, ShutdownError) as e:
            await send({"type": f"{event}.failed", "message": str(e)})
            return
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
