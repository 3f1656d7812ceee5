"""The benchmark's cases on Litestar."""

import asyncio
import dataclasses
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE
from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.contrib.jinja import JinjaTemplateEngine
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.params import Body
from litestar.response import ServerSentEvent, Template
from litestar.static_files import create_static_files_router
from litestar.template.config import TemplateConfig


@dataclasses.dataclass
class Line:
    """A line of an order."""

    cask: str
    litres: int
    note: str


@dataclasses.dataclass
class Order:
    """The JSON body."""

    customer: str
    lines: list[Line]


@dataclasses.dataclass
class Cask:
    """The form."""

    name: str
    litres: int
    note: str


@dataclasses.dataclass
class Upload:
    """The multipart body."""

    file: UploadFile


@get("/plain", media_type=MediaType.HTML)
async def plain() -> str:
    """Return text."""
    return "Hello, World!"


@get("/json")
async def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@post("/order", status_code=200)
async def order(data: Order) -> dict[str, t.Any]:
    """Read a JSON body."""
    return {"lines": len(data.lines), "litres": sum(line.litres for line in data.lines)}


@get("/page")
async def page() -> Template:
    """Render a template."""
    return Template("casks.html", context={"title": TITLE, "casks": CASKS})


@get(
    "/account/visits",
    media_type=MediaType.HTML,
    middleware=[CookieBackendConfig(secret=SECRET.encode()).middleware],
)
async def visits(request: Request) -> str:
    """Read and write the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return str(request.session["visits"])


@post("/form", status_code=200, media_type=MediaType.HTML)
async def form(data: t.Annotated[Cask, Body(media_type=RequestEncodingType.URL_ENCODED)]) -> str:
    """Read a form."""
    return f"{data.name}: {data.litres}"


@post("/upload", status_code=200, media_type=MediaType.HTML)
async def upload(data: t.Annotated[Upload, Body(media_type=RequestEncodingType.MULTI_PART)]) -> str:
    """Read an uploaded file."""
    return str(len(await data.file.read()))


@get("/wait", media_type=MediaType.HTML)
async def wait() -> str:
    """Answer after 10 ms."""
    await asyncio.sleep(0.01)
    return "waited"


@get("/events")
async def events() -> ServerSentEvent:
    """Stream events."""

    async def stream() -> t.AsyncIterator[str]:
        for number in range(EVENTS):
            yield str(number)

    return ServerSentEvent(stream())


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Return every message."""
    await socket.accept()
    async for message in socket.iter_data():
        await socket.send_text(message)


async def item(item: int, page: int, sort: str) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    return {"item": item, "page": page, "sort": sort}


app = Litestar(
    [
        *(plain, json, order, page, visits, form, upload, wait, events, echo),
        create_static_files_router("/static", directories=[STATIC]),
        *(get(f"/shelf{number}/items/{{item:int}}")(item) for number in range(SHELVES)),
    ],
    template_config=TemplateConfig(directory=TEMPLATES, engine=JinjaTemplateEngine),
    openapi_config=None,
)
