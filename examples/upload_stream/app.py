"""Take an upload of any size while it arrives: ``curl -T big.iso http://localhost:5000/digest``.

With ``stream_body=True`` the body is not received before the view. A view that reads
slowly slows the client; one that stops reading stops it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from carboy import Carboy, request

app = Carboy(__name__)
app.config["MAX_CONTENT_LENGTH"] = 10 * 1024 * 1024 * 1024


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
