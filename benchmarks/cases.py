"""The HTTP cases: what is requested, and what every application must answer."""

from __future__ import annotations

import dataclasses
import http.client
import json
import random
import sys
import typing as t
import urllib.parse

import environment

sys.path.append(str(environment.ROOT / "benchmarks" / "apps"))
import cellar

HTML, JSON, TEXT, EVENT_STREAM = "text/html", "application/json", "text/plain", "text/event-stream"
UPLOAD_SIZE = 2**20
BOUNDARY = "----benchmark-7d9f2c"
CHECKED = 30
"""Requests whose answers are compared before time is taken; they also warm the application."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A request and its answer."""

    name: str
    """As on the command line."""
    title: str
    path: str
    kind: str
    """Content type of the answer, without parameters."""
    answer: t.Any
    """Content of the answer, as `content` reads it."""
    method: str = "GET"
    content_type: str = ""
    body: bytes = b""
    connections: int = 16
    group: str = "ordinary"
    """Of `GROUPS` the one whose servers answer it."""


@dataclasses.dataclass(frozen=True)
class Group:
    """How the servers of some cases are started."""

    routes: int = 200
    threads: int = 1
    """Of a WSGI server."""


GROUPS = {
    "ordinary": Group(),
    "routes": Group(routes=5000),
    "waiting": Group(threads=256),
    "database": Group(),
}


def _shelf(routes: int) -> str:
    # In the middle, which is the mean for a router that tries one route after the other.
    return f"/shelf{routes // 2}/items/42?page=3&sort=name"


def _order() -> bytes:
    lines = [{"cask": f"cask {i}", "litres": 10 + i, "note": "from the back of the cellar"} for i in range(14)]
    return json.dumps({"customer": "Ada", "lines": lines}).encode()


def _upload() -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="cask.bin"\r\n'
    content = random.Random(0).randbytes(UPLOAD_SIZE)
    return (
        f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


def _page() -> str:
    lines = "".join(
        f"""\n  <tr class="{"full" if cask["litres"] > 20 else "low"}"><td>{cask["number"]}</td>"""
        f"""<td>cask {cask["number"]} &lt;oak&gt;</td><td>{cask["litres"]}</td></tr>"""
        for cask in cellar.CASKS
    )
    title = cellar.TITLE.replace("&", "&amp;")
    head = "<table>\n  <tr><th>number</th><th>name</th><th>litres</th></tr>"
    return f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n{head}{lines}\n</table>"


_FORM = {
    "name": "Golden Ale & friends",
    "litres": "42",
    "note": "from the back of the cellar",
    "kind": "pale",
    "year": 7,
}
_ROW = {"id": 42, "name": "cask 42", "litres": 42}
_ITEM = {"item": 42, "page": 3, "sort": "name"}

CASES = {
    case.name: case
    for case in (
        Case("plain", "plain text", "/plain", HTML, "Hello, World!"),
        Case("json", "JSON", "/json", JSON, {"message": "Hello, World!"}),
        Case("path", "path and query, 200 routes", _shelf(200), JSON, _ITEM),
        Case("routes", "path and query, 5,000 routes", _shelf(5000), JSON, _ITEM, group="routes"),
        Case(
            "order",
            "JSON body, 1 KB",
            "/order",
            JSON,
            {"lines": 14, "litres": 231},
            method="POST",
            content_type="application/json",
            body=_order(),
        ),
        Case("page", "page of 50 rows", "/page", HTML, _page()),
        Case("session", "session", "/account/visits", HTML, "2"),
        Case(
            "form",
            "form",
            "/form",
            HTML,
            f"{_FORM['name']}: {_FORM['litres']}",
            method="POST",
            content_type="application/x-www-form-urlencoded",
            body=urllib.parse.urlencode(_FORM).encode(),
        ),
        Case(
            "upload",
            "upload, 1 MB",
            "/upload",
            HTML,
            str(UPLOAD_SIZE),
            method="POST",
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
            body=_upload(),
            connections=4,
        ),
        Case("static", "file, 64 KB", "/static/notes.txt", TEXT, environment.NOTES),
        Case("wait", "wait, 10 ms, 256 at once", "/wait", HTML, "waited", connections=256, group="waiting"),
        Case("row", "database row", "/rows/42", JSON, _ROW, group="database"),
        Case("events", "100 events", "/events", EVENT_STREAM, [str(i) for i in range(cellar.EVENTS)]),
    )
}


def content(kind: str, body: bytes) -> t.Any:
    """Return *body* as it is compared: JSON and events parsed, anything else as text."""
    if kind == JSON:
        return json.loads(body)
    if kind == EVENT_STREAM:
        return [line.removeprefix("data:").strip() for line in body.decode().splitlines() if line.startswith("data:")]
    return body.decode().strip()


def check(case: Case, port: int, label: str) -> dict[str, str]:
    """Compare the answers of the server at *port* with what all must answer.

    Args:
        label: What to call it in a message.

    Returns:
        The headers to request the case with, which for a session include its cookie.

    Raises:
        RuntimeError: An answer differs in status, content type or content.
    """
    headers = {"Content-Type": case.content_type} if case.content_type else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    if case.name == "session":
        headers["Cookie"] = _cookie(connection, case, label)
    for _ in range(CHECKED):
        connection.request(case.method, case.path, case.body or None, headers)
        response = connection.getresponse()
        verify(case, response.status, response.headers.get("content-type", ""), response.read(), label)
    connection.close()
    return headers


def verify(case: Case, status: int, content_type: str, body: bytes, label: str) -> None:
    """Compare one answer with what all must answer.

    Raises:
        RuntimeError: It differs in status, content type or content.
    """
    kind = content_type.partition(";")[0]
    if (status, kind) != (200, case.kind) or content(kind, body) != case.answer:
        raise RuntimeError(f"{label} answered {case.method} {case.path} by {status}, {content_type}: {body[:2000]!r}")


def _cookie(connection: http.client.HTTPConnection, case: Case, label: str) -> str:
    connection.request("GET", case.path)
    response = connection.getresponse()
    body = response.read()
    if (response.status, body) != (200, b"1"):
        raise RuntimeError(f"{label} answered {case.path}, without a cookie, by {response.status}: {body[:2000]!r}")
    return "; ".join(cookie.partition(";")[0] for cookie in response.headers.get_all("Set-Cookie", []))
