"""The benchmark's cases on Falcon under ASGI."""

from __future__ import annotations

import asyncio
import typing as t

import falcon
import falcon.asgi
import jinja2
from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from falcon.asgi import Request, Response, SSEvent, WebSocket
from itsdangerous import URLSafeTimedSerializer

templates = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
signer = URLSafeTimedSerializer(SECRET)


class Plain:
    """Text."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return it."""
        resp.content_type = falcon.MEDIA_HTML
        resp.text = "Hello, World!"


class Json:
    """JSON."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Return it."""
        resp.media = {"message": "Hello, World!"}


class Order:
    """A JSON body."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Read it."""
        lines = (await req.get_media())["lines"]
        resp.media = {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


class Page:
    """A template."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Render it."""
        resp.content_type = falcon.MEDIA_HTML
        resp.text = templates.get_template("casks.html").render(title=TITLE, casks=CASKS)


class Visits:
    """A session, which Falcon leaves to others: a signed cookie."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Read and write it."""
        cookie = req.cookies.get("session")
        session = signer.loads(cookie) if cookie else {}
        session["visits"] = session.get("visits", 0) + 1
        resp.set_cookie("session", signer.dumps(session), secure=False)
        resp.content_type = falcon.MEDIA_HTML
        resp.text = str(session["visits"])


class Form:
    """A form."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Read it."""
        fields = await req.get_media()
        resp.content_type = falcon.MEDIA_HTML
        resp.text = f"{fields['name']}: {fields['litres']}"


class Upload:
    """An uploaded file."""

    async def on_post(self, req: Request, resp: Response) -> None:
        """Read it."""
        async for part in await req.get_media():
            if part.name == "file":
                size = len(await part.stream.read())
        resp.content_type = falcon.MEDIA_HTML
        resp.text = str(size)


class Wait:
    """A slow answer."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer after 10 ms."""
        await asyncio.sleep(0.01)
        resp.content_type = falcon.MEDIA_HTML
        resp.text = "waited"


class Events:
    """An event stream."""

    async def on_get(self, req: Request, resp: Response) -> None:
        """Stream events."""

        async def stream() -> t.AsyncIterator[SSEvent]:
            for number in range(EVENTS):
                yield SSEvent(text=str(number))

        resp.sse = stream()


class Echo:
    """A WebSocket."""

    async def on_websocket(self, req: Request, ws: WebSocket) -> None:
        """Return every message."""
        await ws.accept()
        try:
            while True:
                await ws.send_text(await ws.receive_text())
        except falcon.WebSocketDisconnected:
            pass


class Item:
    """JSON that holds values from the path and the query."""

    async def on_get(self, req: Request, resp: Response, item: int) -> None:
        """Return it."""
        resp.media = {"item": item, "page": req.get_param_as_int("page"), "sort": req.get_param("sort")}


app = falcon.asgi.App()
app.add_route("/plain", Plain())
app.add_route("/json", Json())
app.add_route("/order", Order())
app.add_route("/page", Page())
app.add_route("/account/visits", Visits())
app.add_route("/form", Form())
app.add_route("/upload", Upload())
app.add_route("/wait", Wait())
app.add_route("/events", Events())
app.add_route("/echo", Echo())
app.add_static_route("/static", str(STATIC.resolve()))
for number in range(SHELVES):
    app.add_route(f"/shelf{number}/items/{{item:int}}", Item())
