"""The least that answers the two benchmark requests, in each protocol: what a server costs by itself."""

from __future__ import annotations

import json
import typing as t

HTML = "text/html; charset=utf-8"
JSON = "application/json"


def answer(path: str) -> tuple[str, bytes]:
    """Return content type and body for a request to *path*."""
    if path == "/plain":
        return HTML, b"Hello, World!"
    item = int(path.removeprefix("/items/"))
    return JSON, json.dumps({"id": item, "name": "cask"}).encode()


def wsgi(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> list[bytes]:
    """Answer as a WSGI application."""
    kind, body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, t.Any], receive: t.Any, send: t.Callable[..., t.Awaitable[None]]) -> None:
    """Answer as an ASGI application without lifespan."""
    assert scope["type"] == "http"
    kind, body = answer(scope["path"])
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def rsgi(scope: t.Any, protocol: t.Any) -> None:
    """Answer as an RSGI application."""
    kind, body = answer(scope.path)
    protocol.response_bytes(200, [("content-type", kind), ("content-length", str(len(body)))], body)
