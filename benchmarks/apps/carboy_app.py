"""The benchmark's cases on carboy with sync views, which is Flask's code with another import."""

from __future__ import annotations

import time
import typing as t

from cellar import CASKS, EVENTS, SECRET, SHELVES, STATIC, TEMPLATES, TITLE

from carboy import Carboy, Response, render_template, request, session

app = Carboy("benchmark", static_folder=STATIC, static_url_path="/static", template_folder=TEMPLATES)
app.secret_key = SECRET


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
    lines = request.get_json()["lines"]
    return {"lines": len(lines), "litres": sum(line["litres"] for line in lines)}


@app.get("/page")
def page() -> str:
    """Render a template."""
    return render_template("casks.html", title=TITLE, casks=CASKS)


@app.get("/account/visits")
def visits() -> str:
    """Read and write the session."""
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.post("/form")
def form() -> str:
    """Read a form."""
    return f"{request.form['name']}: {request.form['litres']}"


@app.post("/upload")
def upload() -> str:
    """Read an uploaded file."""
    return str(len(request.files["file"].read()))


@app.get("/wait")
def wait() -> str:
    """Answer after 10 ms."""
    time.sleep(0.01)
    return "waited"


@app.get("/events")
def events() -> Response:
    """Stream events."""
    return Response((f"data: {number}\n\n" for number in range(EVENTS)), mimetype="text/event-stream")


@app.get("/async")
async def asynchronous() -> str:
    """Return text, from an async view."""
    return "Hello, World!"


def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds values from the path and the query."""
    return {"item": item, "page": request.args.get("page", type=int), "sort": request.args["sort"]}


for number in range(SHELVES):
    app.add_url_rule(f"/shelf{number}/items/<int:item>", view_func=item)
