"""What outlives a request: a store that is opened and closed with the process, and work after the response.

The order is answered at once. The label is printed afterwards, by a sync function in a
thread; the brewery is told, by an async one on the event loop. When the server stops, it
waits for both before the store is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from carboy import Carboy, current_app, g, request

app = Carboy(__name__)


class Store:
    """Stands for a database: each of its writes takes a while."""

    def __init__(self) -> None:
        self.is_open = True
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        if not self.is_open:
            raise RuntimeError("The store is closed.")
        self.lines.append(line)


@app.while_serving
async def store() -> AsyncIterator[None]:
    app.extensions["store"] = store = Store()
    yield
    store.is_open = False


@app.before_request
def who() -> None:
    g.customer = request.headers.get("X-Customer", "somebody")


def print_label(number: int) -> None:
    time.sleep(0.05)
    current_app.extensions["store"].write(f"label {number} for {g.customer}")


async def tell_brewery(number: int) -> None:
    await asyncio.sleep(0.05)
    current_app.extensions["store"].write(f"brewery knows of {number}")


@app.post("/orders/<int:number>")
def order(number: int) -> tuple[dict[str, Any], int]:
    app.add_background_task(print_label, number)
    app.add_background_task(tell_brewery, number)
    return {"accepted": number}, 202
