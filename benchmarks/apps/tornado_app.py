"""The benchmark's cases on Tornado: ``python -m tornado_app PORT``."""

from __future__ import annotations

import asyncio
import json
import sys

import tornado.web
import tornado.websocket
import uvloop
from cellar import EVENTS, SECRET, SHELVES, STATIC
from tornado.web import RequestHandler


class Plain(RequestHandler):
    """Text."""

    async def get(self) -> None:
        """Return it."""
        self.write("Hello, World!")


class Json(RequestHandler):
    """JSON."""

    async def get(self) -> None:
        """Return it."""
        self.write({"message": "Hello, World!"})


class Order(RequestHandler):
    """A JSON body."""

    async def post(self) -> None:
        """Read it."""
        lines = json.loads(self.request.body)["lines"]
        self.write({"lines": len(lines), "litres": sum(line["litres"] for line in lines)})


class Visits(RequestHandler):
    """A session: Tornado's signed cookie."""

    async def get(self) -> None:
        """Read and write it."""
        cookie = self.get_signed_cookie("session")
        session = json.loads(cookie) if cookie else {}
        session["visits"] = session.get("visits", 0) + 1
        self.set_signed_cookie("session", json.dumps(session))
        self.write(str(session["visits"]))


class Form(RequestHandler):
    """A form."""

    async def post(self) -> None:
        """Read it."""
        self.write(f"{self.get_body_argument('name')}: {self.get_body_argument('litres')}")


class Upload(RequestHandler):
    """An uploaded file."""

    async def post(self) -> None:
        """Read it."""
        self.write(str(len(self.request.files["file"][0].body)))


class Wait(RequestHandler):
    """A slow answer."""

    async def get(self) -> None:
        """Answer after 10 ms."""
        await asyncio.sleep(0.01)
        self.write("waited")


class Events(RequestHandler):
    """An event stream."""

    async def get(self) -> None:
        """Stream events."""
        self.set_header("Content-Type", "text/event-stream")
        for number in range(EVENTS):
            self.write(f"data: {number}\n\n")
            await self.flush()


class Echo(tornado.websocket.WebSocketHandler):
    """A WebSocket."""

    def on_message(self, message: str | bytes) -> None:
        """Return the message."""
        self.write_message(message)


class Item(RequestHandler):
    """JSON that holds values from the path and the query."""

    async def get(self, item: str) -> None:
        """Return it."""
        self.write(
            {"item": int(item), "page": int(self.get_query_argument("page")), "sort": self.get_query_argument("sort")}
        )


async def main() -> None:
    """Serve until the process is ended."""
    application = tornado.web.Application(
        [
            ("/plain", Plain),
            ("/json", Json),
            ("/order", Order),
            ("/account/visits", Visits),
            ("/form", Form),
            ("/upload", Upload),
            ("/wait", Wait),
            ("/events", Events),
            ("/echo", Echo),
            *((rf"/shelf{number}/items/(\d+)", Item) for number in range(SHELVES)),
        ],
        cookie_secret=SECRET,
        static_path=str(STATIC.resolve()),
        log_function=lambda handler: None,
    )
    application.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
