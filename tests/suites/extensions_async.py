"""Uses extensions in sync and async views on three servers: ``python tests/suites/extensions_async.py [EXTENSION]...``.

``async_apps/`` has an application for each extension, written for Flask, with every view twice: under ``/sync``, and
under ``/async`` as an ``async def`` function. Each is served by granian (RSGI), uvicorn (ASGI) and granian (WSGI) with
carboy as ``flask``, and the checks below are made over HTTP by eight visitors at once. What came of it is kept in
``results/extensions-async.json``, for the second table of ``docs/extensions.md``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from browser import Browser
from extensions_page import PAGE, RESULTS, page
from thirdparty import FLASK_VERSION, ROOT, clean_environ, environment, poison_folder

HERE = Path(__file__).parent
APPS = HERE / "async_apps"
VISITORS = 8
PREFIXES = {"sync": "sync view", "async": "async view"}
SERVERS = {
    "granian RSGI": "granian {module}:app --interface rsgi --port {port}",
    "uvicorn": "uvicorn {module}:app --port {port}",
    "granian WSGI": "granian {module}:app --interface wsgi --blocking-threads 8 --port {port}",
}
Check = Callable[[Browser, str, int], None]


class Use(NamedTuple):
    """What one extension is used for."""

    version: str
    module: str
    what: str
    check: Check
    before: tuple[str, ...] = ()


def sqlalchemy(browser: Browser, prefix: str, visitor: int) -> None:
    for number in range(5):
        added = browser.post(f"{prefix}/notes", {"text": f"{prefix} {visitor} {number}"})
        assert added.status == 201, added
        assert browser.get(f"{prefix}/notes/{added.json['id']}").json == {"text": f"{prefix} {visitor} {number}"}
    assert browser.get(f"{prefix}/notes/999999").status == 404
    assert browser.post(f"{prefix}/unsaved").status == 409
    assert browser.get(f"{prefix}/count/never").json == {"count": 0}


def login(browser: Browser, prefix: str, visitor: int) -> None:
    assert browser.get(f"{prefix}/me").status == 401
    name = f"visitor {visitor}"
    assert browser.post(f"{prefix}/login", {"name": name}).text == "welcome"
    for _ in range(10):
        assert browser.get(f"{prefix}/me").text == name
    assert browser.post(f"{prefix}/logout").text == "bye"
    assert browser.get(f"{prefix}/me").status == 401


def wtf(browser: Browser, prefix: str, visitor: int) -> None:
    assert browser.post(f"{prefix}/form", {"name": "without a token"}).status == 400
    page = browser.get(f"{prefix}/form").text
    found = re.search(r'name="csrf_token" type="hidden" value="([^"]+)"', page)
    assert found, page
    token = found[1]
    assert (
        browser.post(f"{prefix}/form", {"name": f"n{visitor:03}", "csrf_token": token}).text == f"hello n{visitor:03}"
    )
    assert "too short" in browser.post(f"{prefix}/form", {"name": "x", "csrf_token": token}).text
    assert browser.post(f"{prefix}/exempt").text == "taken"


def migrate(browser: Browser, prefix: str, visitor: int) -> None:
    for number in range(1, 4):
        assert browser.post(f"{prefix}/beers/{prefix[1:]}{visitor}").json == {"count": number}


def admin(browser: Browser, prefix: str, visitor: int) -> None:
    name = f"hop {prefix} {visitor}"
    assert browser.post(f"{prefix}/hops/new/", {"name": name}).status == 302
    page = browser.get(f"{prefix}/hops/?page_size=1000").text
    assert name in page
    before = page[: page.index(name)]
    id = re.findall(r'name="rowid"[^>]*value="(\d+)"', before)[-1]
    assert name in browser.get(f"{prefix}/hops/edit/?id={id}").text
    assert browser.post(f"{prefix}/hops/edit/?id={id}", {"name": f"{name} edited"}).status == 302
    assert f"{name} edited" in browser.get(f"{prefix}/hops/?page_size=1000").text
    assert "<html" in browser.get(f"{prefix}/report/").text


def caching(browser: Browser, prefix: str, visitor: int) -> None:
    first = browser.get(f"{prefix}/cached").text
    # Visitors may have missed at the same moment; from then on it stays.
    time.sleep(0.1)
    first = browser.get(f"{prefix}/cached").text
    assert first.startswith("made ")
    assert {browser.get(f"{prefix}/cached").text for _ in range(10)} == {first}
    found = {browser.get(f"{prefix}/query?key={visitor}").text for _ in range(10)}
    assert len(found) == 1 and found.pop().startswith(f"{visitor} ")
    values = [browser.get(f"{prefix}/memoized/{visitor}").json for _ in range(10)]
    assert values == [values[0]] * 10 and values[0][0] == visitor * 2


def limiter(browser: Browser, prefix: str, visitor: int) -> None:
    client = f"{prefix} {visitor} {time.time_ns()}"
    answers = [browser.get(f"{prefix}/limited", X_Client=client) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].headers["X-RateLimit-Remaining"] == "2"
    assert all(browser.get(f"{prefix}/free", X_Client=client).status == 200 for _ in range(5))


def cors(browser: Browser, prefix: str, visitor: int) -> None:
    for _ in range(5):
        preflight = browser.request(
            "OPTIONS", f"{prefix}/api/data", Origin="https://a.example", Access_Control_Request_Method="PUT"
        )
        assert preflight.status == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
        answer = browser.get(f"{prefix}/api/data", Origin="https://a.example")
        assert (answer.json, answer.headers["Access-Control-Allow-Origin"]) == ({"data": 1}, "https://a.example")
        assert (
            browser.get(f"{prefix}/api/data", Origin="https://c.example").headers["Access-Control-Allow-Origin"] is None
        )
        answer = browser.get(f"{prefix}/open", Origin="https://b.example")
        assert (answer.json, answer.headers["Access-Control-Allow-Credentials"]) == ({"open": True}, "true")
        assert (
            browser.get(f"{prefix}/closed", Origin="https://a.example").headers["Access-Control-Allow-Origin"] is None
        )


def restful(browser: Browser, prefix: str, visitor: int) -> None:
    for number in range(1, 6):
        assert browser.get(f"{prefix}/beers/{number}").json == {"id": number, "name": f"beer {number}"}
        added = browser.post(f"{prefix}/beers/{number}", {"name": f"n{visitor}"})
        assert (added.status, added.json) == (201, {"id": number, "name": f"n{visitor}"})
    missing = browser.get(f"{prefix}/beers/404")
    assert (missing.status, missing.json) == (404, {"message": "no such beer"})
    wrong = browser.post(f"{prefix}/beers/1", {})
    assert (wrong.status, wrong.json) == (400, {"message": {"name": "needs a name"}})


def smorest(browser: Browser, prefix: str, visitor: int) -> None:
    for number in range(1, 6):
        assert browser.get(f"{prefix}/beers/{number}").json == {"id": number, "name": f"beer {number}"}
        added = browser.post(f"{prefix}/beers/{number}", json={"name": f"n{visitor}"})
        assert (added.status, added.json) == (201, {"id": number, "name": f"n{visitor}"})
    assert browser.get(f"{prefix}/beers/404").json["message"] == "no such beer"
    wrong = browser.post(f"{prefix}/beers/1", json={"nome": "x"})
    assert (wrong.status, set(wrong.json["errors"]["json"])) == (422, {"name", "nome"})
    assert f"{prefix}/beers/{{id}}" in browser.get("/openapi.json").json["paths"]


def jwt(browser: Browser, prefix: str, visitor: int) -> None:
    name = f"visitor {visitor}"
    token = browser.post(f"{prefix}/token", {"name": name}).json["token"]
    for _ in range(5):
        answer = browser.get(f"{prefix}/me", Authorization=f"Bearer {token}")
        assert answer.json == {"identity": name, "user": name}
        assert browser.get(f"{prefix}/maybe").json == {"identity": None}
    assert browser.get(f"{prefix}/me").status == 401
    assert browser.get(f"{prefix}/me", Authorization=f"Bearer {token[:-4]}AAAA").status == 422


def httpauth(browser: Browser, prefix: str, visitor: int) -> None:
    name = f"visitor{visitor}"
    right = base64.b64encode(f"{name}:password of {name}".encode()).decode()
    wrong = base64.b64encode(f"{name}:guess".encode()).decode()
    for _ in range(5):
        assert browser.get(f"{prefix}/basic", Authorization=f"Basic {right}").text == name
        refused = browser.get(f"{prefix}/basic", Authorization=f"Basic {wrong}")
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="Authentication Required"')
        assert browser.get(f"{prefix}/token", Authorization=f"Bearer token of {name}").text == name
        assert browser.get(f"{prefix}/token").status == 401


USES = {
    "Flask-SQLAlchemy": Use("3.1.1", "sqlalchemy_app", "write rows, read them", sqlalchemy),
    "Flask-Login": Use("0.6.3", "login_app", "sign in, a page for members", login),
    "Flask-WTF": Use("1.3.0", "wtf_app", "a form with a CSRF token", wtf),
    "Flask-Migrate": Use(
        "4.1.0",
        "migrate_app",
        "`flask db`, then use the table",
        migrate,
        ("db init", "db migrate -m beers", "db upgrade"),
    ),
    "Flask-Admin": Use("2.2.1", "admin_app", "list, add and edit rows", admin),
    "Flask-Caching": Use("2.5.1", "caching_app", "a cached view, a memoized function", caching),
    "Flask-Limiter": Use("4.1.1", "limiter_app", "a rate limit", limiter),
    "Flask-Cors": Use("6.0.5", "cors_app", "preflight and headers", cors),
    "Flask-RESTful": Use("0.3.10", "restful_app", "a resource, `abort`", restful),
    "flask-smorest": Use("0.47.0", "smorest_app", "a resource, schemas, `abort`", smorest),
    "Flask-JWT-Extended": Use("4.7.4", "jwt_app", "a token and what needs it", jwt),
    "Flask-HTTPAuth": Use("4.8.1", "httpauth_app", "basic and token authentication", httpauth),
}
PACKAGES = [
    f"flask[async]=={FLASK_VERSION}",
    *(f"{name}=={use.version}" for name, use in USES.items()),
    # Flask-Admin and the Flask-SQLAlchemy of today do not know the next versions of these.
    "sqlalchemy<2.1",
    "wtforms<3.3",
    "uvicorn",
    "-e",
    f"{ROOT}[server]",
]


def try_use(name: str, use: Use) -> dict[str, str]:
    """Return for each column of the table ``works``, or what went wrong."""
    python = environment("extensions-async", PACKAGES)
    cells = {}
    for server, command in SERVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            env = clean_environ() | {
                "CARBOY_AS_FLASK": "1",
                "PYTHONPATH": os.pathsep.join([str(APPS), str(poison_folder())]),
                "APP_FOLDER": folder,
                "FLASK_APP": use.module,
            }
            for step in use.before:
                subprocess.run(
                    [python, "-m", "flask", *step.split(" ", 3)], cwd=APPS, env=env, check=True, capture_output=True
                )
            port = _free_port()
            log = Path(folder, "log")
            with log.open("wb") as output:
                words = command.format(module=use.module, port=port).split()
                process = subprocess.Popen([python, "-m", *words], cwd=APPS, env=env, stdout=output, stderr=output)
            try:
                _wait_for(port, process, log)
                for prefix, kind in PREFIXES.items():
                    cells[f"{server}, {kind}"] = outcome = _visit(port, f"/{prefix}", use.check)
                    if outcome != "works":
                        print(log.read_text()[-3000:])
            finally:
                process.terminate()
                process.wait(20)
        print(name, server, [cells[f"{server}, {kind}"] for kind in PREFIXES.values()], flush=True)
    return cells


def _visit(port: int, prefix: str, check: Check) -> str:
    url = f"http://127.0.0.1:{port}"
    with ThreadPoolExecutor(VISITORS) as visitors:
        visits = [visitors.submit(check, Browser(url), prefix, visitor) for visitor in range(VISITORS)]
    errors = [error for visit in visits if (error := visit.exception()) is not None]
    for error in errors[:1]:
        traceback.print_exception(error)
    return f"fails: {errors[0]!r}" if errors else "works"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def main() -> int:
    """Try the extensions; return 0 if all that is kept as working works."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extensions", nargs="*", help="by default all, whose outcomes are then kept")
    options = parser.parse_args()
    chosen = {name.lower() for name in options.extensions}
    unknown = chosen - {name.lower() for name in USES}
    if unknown:
        parser.error(f"not one of these: {', '.join(sorted(unknown))}")
    rows = [
        {"extension": name, "version": use.version, "uses": use.what, "cells": try_use(name, use)}
        for name, use in USES.items()
        if not chosen or name.lower() in chosen
    ]
    columns = [f"{server}, {kind}" for server in SERVERS for kind in PREFIXES.values()]
    if not chosen and not os.environ.get("CI"):
        (RESULTS / "extensions-async.json").write_text(json.dumps({"columns": columns, "rows": rows}, indent=1) + "\n")
        PAGE.write_text(page())
    failed = [f"{row['extension']} ({column})" for row in rows for column in columns if row["cells"][column] != "works"]  # type: ignore[index]
    print(f"{len(rows) * len(columns)} cells, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
