"""Server-sent events: a thermometer that a page watches, and work that reports how far it is.

``curl -N http://localhost:5000/temperature``, or in a browser ``new EventSource("/temperature")``.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator

from carboy import Carboy, ServerSentEvent, request, sse

app = Carboy(__name__)
app.config["INTERVAL"] = 1.0


@app.get("/temperature")
@sse(retry=2000)
async def temperature() -> AsyncIterator[ServerSentEvent]:
    """Go on from the reading that the client saw last; an open stream costs no thread."""
    number = int(request.last_event_id or 0)
    while True:
        number += 1
        reading = {"celsius": round(66 + random.random() * 2, 1)}
        yield ServerSentEvent(reading, event="reading", id=number)
        await asyncio.sleep(app.config["INTERVAL"])


@app.post("/mash")
@sse
def mash() -> Iterator[ServerSentEvent]:
    """Report from blocking code, which has a thread of its own for as long as it takes."""
    for percent in range(0, 101, 25):
        time.sleep(app.config["INTERVAL"] / 10)
        yield ServerSentEvent(percent, event="progress")
    yield ServerSentEvent("The mash is done.", event="done")
