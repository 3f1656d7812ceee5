"""End what is open for long, in the time in which granian still serves it."""

from __future__ import annotations

import asyncio
import time
import typing as t

if t.TYPE_CHECKING:
    from ..app import Carboy

_LINGER = 0.05


async def end_long_lived(app: Carboy, patience: float) -> None:
    """End WebSockets and event streams, before granian is stopped: it cuts off what is open then.

    Args:
        patience: How long to wait for them, in seconds.
    """
    long_lived = app.lifecycle.long_lived
    had_any = bool(long_lived)
    app.lifecycle.drain()
    until = time.monotonic() + patience
    while long_lived and time.monotonic() < until:  # noqa: ASYNC110 - a set, on which nobody can wait
        await asyncio.sleep(0.01)
    if had_any:
        # Granian's threads send what was given to them, and tell nobody when they have.
        await asyncio.sleep(_LINGER)
