"""A taproom: what a guest does goes up a WebSocket, what happens comes down an event stream.

The page (``static/live.js``) opens both again when the server comes back. The room lives in this process's memory: with
several workers each would have a room of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import typing as t
from collections import deque

from carboy import Carboy, ServerSentEvent, render_template, request, sse, websocket

KEPT = 30
"""Lines that a guest sees who comes in late."""

app = Carboy(__name__)
app.config["WEBSOCKET_MAX_MESSAGE_SIZE"] = 4096


class Room:
    """The state that all guests share, and a queue for each of them. Used on the server's loop only."""

    def __init__(self) -> None:
        # Numbers start anew with the server; this tells a guest's old ones from new ones.
        self.opening = secrets.token_hex(4)
        self.number = 0
        self.cheers = 0
        self.lines: deque[tuple[int, dict[str, t.Any]]] = deque(maxlen=KEPT)
        self.guests: set[asyncio.Queue[ServerSentEvent]] = set()

    def event(self, name: str, data: dict[str, t.Any]) -> ServerSentEvent:
        """Return an event with the number of the last line as its id."""
        return ServerSentEvent(data, event=name, id=f"{self.opening}-{self.number}")

    def tell(self, name: str, data: dict[str, t.Any]) -> None:
        """Send an event to every guest; one who reads too slowly misses it."""
        event = self.event(name, data)
        for queue in self.guests:
            if not queue.full():
                queue.put_nowait(event)

    def board(self) -> dict[str, t.Any]:
        """Return what the board at the wall says."""
        return {"cheers": self.cheers, "guests": len(self.guests), "opening": self.opening}

    def say(self, name: str, text: str) -> int:
        """Add a line and return its number."""
        self.number += 1
        line = {"number": self.number, "name": name, "text": text}
        self.lines.append((self.number, line))
        self.tell("line", line)
        return self.number

    def raise_glass(self) -> int:
        """Count a glass raised and return how many there were."""
        self.cheers += 1
        self.tell("board", self.board())
        return self.cheers

    def missed(self, last_id: str) -> list[dict[str, t.Any]]:
        """Return the lines since the event with *last_id*, or all that are kept."""
        opening, _, number = last_id.partition("-")
        seen = int(number) if opening == self.opening and number.isdecimal() else 0
        return [line for n, line in self.lines if n > seen]


room = Room()


@app.get("/", run="loop")
def index() -> str:
    """Show the room."""
    return render_template("live.html")


@app.get("/events")
@sse(retry=500)
async def events() -> t.AsyncIterator[ServerSentEvent]:
    """Stream what happens, beginning with what the guest has missed."""
    queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(maxsize=100)
    room.guests.add(queue)
    try:
        for line in room.missed(request.last_event_id or ""):
            yield room.event("line", line)
        room.tell("board", room.board())
        while True:
            yield await queue.get()
    finally:
        room.guests.discard(queue)
        room.tell("board", room.board())


@app.websocket("/bar")
async def bar() -> None:
    """Take orders, and confirm each one."""
    while True:
        order = await websocket.receive_json()
        match order:
            case {"say": str(text), "name": str(name), "order": int(number)} if text.strip():
                line = room.say(name.strip()[:24] or "a guest", text.strip()[:200])
                await websocket.send_json({"done": number, "line": line})
            case {"cheers": True, "order": int(number)}:
                await websocket.send_json({"done": number, "cheers": room.raise_glass()})
            case _:
                await websocket.close(1008, "That is not on the menu.")
                return
