"""The benchmark's cases on Bottle."""

from __future__ import annotations

import time
import typing as t

from bottle import Bottle, jinja2_template, request, response, static_file
from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE

app = Bottle()


@app.get("/plain")
def plain() -> str:
    """Return text."""
    return "Hello, World!"


@app.get("/json")
def json() -> dict[str, t.Any]:
    """Return JSON."""
    return {"message": "Hello, World!"}


@app.post("/order")
def order() -> dict[str, t.Any]:
    """Read a JSON body."""
    lines = request.json["lines"]
    return {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


@app.get("/page")
def page() -> str:
    """Render a template."""
    return jinja2_template(
        "casks.html",
        title=TITLE,
        casks=CASKS,
        template_lookup=[str(TEMPLATES)],
        template_settings={"autoescape": True},
    )


@app.get("/account/visits")
def visits() -> str:
    """Read and write a session: Bottle's signed cookie."""
    visits = request.get_cookie("visits", 0, secret=SECRET) + 1
    response.set_cookie("visits", visits, secret=SECRET)
    return str(visits)


@app.post("/form")
def form() -> str:
    """Read a form."""
    return f"{request.forms['name']}: {request.forms['litres']}"


@app.post("/upload")
def upload() -> str:
    """Read an uploaded file."""
    return str(len(request.files["file"].file.read()))


@app.get("/static/<path:path>")
def static(path: str) -> t.Any:
    """Return a file."""
    return static_file(path, STATIC)


@app.get("/wait")
def wait() -> str:
    """Answer after 10 ms."""
    time.sleep(0.01)
    return "waited"


@app.get("/events")
def events() -> t.Iterator[str]:
    """Stream events."""
    response.content_type = "text/event-stream"
    for number in range(EVENTS):
        yield f"data: {number}\n\n"


def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    return {"item": item, "page": int(request.query["page"]), "sort": request.query["sort"]}


for number in range(SHELVES):
    app.get(f"/shelf{number}/items/<item:int>")(item)
