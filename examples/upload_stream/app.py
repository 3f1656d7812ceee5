"""Take an upload of any size while it arrives: ``curl -T big.iso http://localhost:5000/digest``, or a form with files:
``curl -F title=Mash -F photo=@mash.jpg http://localhost:5000/photos``.

With ``stream_body=True`` the body is not received before the view. A view that reads
slowly slows the client; one that stops reading stops it.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from werkzeug.utils import secure_filename

from carboy import Carboy, abort, request

app = Carboy(__name__)
app.config["MAX_CONTENT_LENGTH"] = 10 * 1024 * 1024 * 1024
app.config["FOLDER"] = Path(tempfile.gettempdir())


@app.put("/digest", stream_body=True)
async def digest() -> dict[str, Any]:
    """Read asynchronously, chunk by chunk."""
    sha256, size = hashlib.sha256(), 0
    async for chunk in request.stream:
        sha256.update(chunk)
        size += len(chunk)
    return {"sha256": sha256.hexdigest(), "size": size}


@app.put("/lines", stream_body=True)
def lines() -> dict[str, int]:
    """Read in a sync view: each ``read`` waits until something is there."""
    count = 0
    while chunk := request.stream.read(64 * 1024):
        count += chunk.count(b"\n")
    return {"lines": count}


@app.post("/photos", stream_body=True)
async def photos() -> dict[str, Any]:
    """Save the files of a form as they arrive, each to its own file, and read its fields."""
    answer: dict[str, Any] = {}
    async for part in request.parts():
        if part.filename is None:
            answer[part.name] = (await part.read()).decode()
            continue
        name = secure_filename(part.filename) or abort(400, "A file without a usable name.")
        answer[name] = await part.save(app.config["FOLDER"] / name, limit=1024 * 1024 * 1024)
    return answer
