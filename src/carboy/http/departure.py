"""Whether the client has left: one watch for a request, shared by all who ask.

A server tells of it on the channel that the body comes through (ASGI), where two
must not wait at once.
"""

from __future__ import annotations

import typing as t
from contextvars import Context

if t.TYPE_CHECKING:
    import asyncio

    from .request import Request


def watch(request: Request) -> asyncio.Task[None]:
    """Return the task that ends when the client has left, begun at the first call; on the server's loop only."""
    task = request.departure
    if task is None:
        import asyncio

        loop = asyncio.get_running_loop()
        task = request.departure = loop.create_task(_wait(request), context=Context())
    return task


def forget(request: Request) -> None:
    """End the watch, when the request was answered."""
    if request.departure is not None:
        request.departure.cancel()
        # What the task ends with holds the request, which would hold the task: a cycle.
        request.departure = request.client_channel = None


async def _wait(request: Request) -> None:
    if request.reads_body:
        # What the server tells now belongs to the view, which may read while it answers.
        await request._input.ended()
        if request._input.client_left:
            return
    connection = request.client_channel
    if hasattr(connection, "client_disconnect"):
        await connection.client_disconnect()
        return
    while (await connection())["type"] != "http.disconnect":
        pass


async def departed(request: Request, seconds: float | None) -> bool:
    """Return whether the client has left; wait for it at most *seconds*."""
    import asyncio

    if request.client_channel is None:
        await asyncio.sleep(known_timeout(seconds))
        return False
    task = watch(request)
    if not task.done():
        if seconds == 0:
            # Long enough for the server to tell what it knows.
            await asyncio.sleep(0)
        else:
            await asyncio.wait((task,), timeout=seconds)
    return task.done() and not task.cancelled()


def known_timeout(timeout: float | None) -> float:
    """Return *timeout*.

    Raises:
        RuntimeError: It is None: the wait would never end.
    """
    if timeout is None:
        raise RuntimeError(
            "request.disconnected(timeout=None) would wait for ever: the server speaks WSGI, which does not tell that"
            " the client has left. Give a timeout in seconds, or serve the application over ASGI or RSGI."
        )
    return timeout
