"""The least that answers the benchmark's requests, in each protocol: what a server costs by itself.

Without sessions, templates, files and databases, for which a framework or a library is taken.
"""

from __future__ import annotations

import asyncio
import json
import time
import typing as t
import urllib.parse

from cellar import EVENTS

HTML = "text/html; charset=utf-8"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"


def answer(path: str, query: str) -> tuple[str, bytes]:
    """Return content type and body for a GET request."""
    if path == "/plain":
        return HTML, b"Hello, World!"
    if path == "/json":
        return JSON, json.dumps({"message": "Hello, World!"}).encode()
    if path == "/wait":
        return HTML, b"waited"
    arguments = urllib.parse.parse_qs(query)
    item = int(path.rpartition("/")[2])
    return JSON, json.dumps({"item": item, "page": int(arguments["page"][0]), "sort": arguments["sort"][0]}).encode()


def answer_body(path: str, body: bytes) -> tuple[str, bytes]:
    """Return content type and body for a POST request."""
    if path == "/order":
        lines = json.loads(body)["lines"]
        return JSON, json.dumps({"lines": len(lines), "litres": sum(line["litres"] for line in lines)}).encode()
    fields = urllib.parse.parse_qs(body.decode())
    return HTML, f"{fields['name'][0]}: {fields['litres'][0]}".encode()


def wsgi(environ: dict[str, t.Any], start_response: t.Callable[..., t.Any]) -> t.Iterable[bytes]:
    """Answer as a WSGI application."""
    path = environ["PATH_INFO"]
    if path == "/events":
        start_response("200 OK", [("Content-Type", EVENT_STREAM)])
        return (b"data: %d\n\n" % number for number in range(EVENTS))
    if environ["REQUEST_METHOD"] == "POST":
        kind, body = answer_body(path, environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    else:
        if path == "/wait":
            time.sleep(0.01)
        kind, body = answer(path, environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope: dict[str, t.Any], receive: t.Any, send: t.Callable[..., t.Awaitable[None]]) -> None:
    """Answer as an ASGI application without lifespan."""
    assert scope["type"] == "http"
    path = scope["path"]
    if path == "/events":
        await _asgi_events(send)
        return
    if scope["method"] == "POST":
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        kind, body = answer_body(path, body)
    else:
        if path == "/wait":
            await asyncio.sleep(0.01)
        kind, body = answer(path, scope["query_string"].decode())
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _asgi_events(send: t.Callable[..., t.Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", EVENT_STREAM.encode())]})
    for number in range(EVENTS):
        await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def rsgi(scope: t.Any, protocol: t.Any) -> None:
    """Answer as an RSGI application."""
    path = scope.path
    if path == "/events":
        transport = protocol.response_stream(200, [("content-type", EVENT_STREAM)])
        for number in range(EVENTS):
            await transport.send_bytes(b"data: %d\n\n" % number)
        return
    if scope.method == "POST":
        kind, body = answer_body(path, await protocol())
    else:
        if path == "/wait":
            await asyncio.sleep(0.01)
        kind, body = answer(path, scope.query_string)
    protocol.response_bytes(200, [("content-type", kind), ("content-length", str(len(body)))], body)
