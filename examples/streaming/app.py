"""Responses that are made while they are sent: from a generator, an async generator, a template."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator

from carboy import Carboy, Response, jsonl, request, stream_template_string, stream_with_context

app = Carboy(__name__)

LOG = "<ul>\n{% for line in lines %}<li>{{ line }}</li>\n{% endfor %}</ul>\n"


@app.get("/squares.csv")
def squares() -> Response:
    """Send a table of any length in little memory; ``request`` stays there to the end."""

    @stream_with_context
    def rows() -> Iterator[str]:
        line = io.StringIO()
        writer = csv.writer(line)
        for number in range(request.args.get("rows", 10, type=int)):
            writer.writerow([number, number * number])
            yield line.getvalue()
            line.seek(0)
            line.truncate()

    return Response(rows(), mimetype="text/csv")


@app.get("/squares.jsonl")
@jsonl
def squares_as_json() -> Iterator[dict[str, int]]:
    """Send the same as JSON Lines: one item to a line."""
    for number in range(request.args.get("rows", 10, type=int)):
        yield {"number": number, "square": number * number}


@app.get("/countdown")
async def countdown() -> AsyncIterator[str]:
    """Wait between the parts without holding a thread."""

    async def parts() -> AsyncIterator[str]:
        for number in range(3, 0, -1):
            yield f"{number}\n"
            await asyncio.sleep(0.05)
        yield "Cheers!\n"

    return parts()


@app.get("/log")
def log() -> Iterator[str]:
    """Render a template piece by piece while its data comes in."""
    return stream_template_string(LOG, lines=(f"line {number}" for number in range(1000)))
