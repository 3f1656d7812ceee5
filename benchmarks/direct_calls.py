"""One contestant of ``direct.py``: ``python direct_calls.py PROTOCOL MODULE:APP``, in the contestant's environment.

Reads JSON requests line by line, calls the application as a server of the protocol would, and prints JSON: the answer
if the request says how many calls to make is 0, and otherwise the microseconds per call.
"""
# ruff: noqa: T201 - a program that prints

from __future__ import annotations

import asyncio
import base64
import importlib
import io
import json
import sys
import time
import typing as t


class WSGICaller:
    """Calls a WSGI application."""

    def __init__(self, app: t.Any) -> None:
        self.app = app

    def prepare(self, request: dict[str, t.Any]) -> None:
        """Take the request that the next calls make."""
        path, _, query = request["path"].partition("?")
        self.body = base64.b64decode(request["body"])
        self.environ: dict[str, t.Any] = {
            "REQUEST_METHOD": request["method"],
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "127.0.0.1:8000",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request["headers"].items():
            key = name.upper().replace("-", "_")
            self.environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        if self.body:
            self.environ["CONTENT_LENGTH"] = str(len(self.body))

    def answer(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        start: list[t.Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: t.Any = None) -> None:
            start[:] = [int(status.partition(" ")[0]), headers]

        parts = self.app({**self.environ, "wsgi.input": io.BytesIO(self.body)}, start_response)
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        return start[0], start[1], body

    def seconds(self, calls: int) -> float:
        """Return the time that *calls* calls take."""
        app, environ, body = self.app, self.environ, self.body
        begin = time.perf_counter()
        for _ in range(calls):
            parts = app({**environ, "wsgi.input": io.BytesIO(body)}, _start_response)
            for _part in parts:
                pass
            if hasattr(parts, "close"):
                parts.close()
        return time.perf_counter() - begin

    def close(self) -> None:
        """Do nothing."""


def _start_response(status: str, headers: list[tuple[str, str]], exc_info: t.Any = None) -> None:
    """Take the response's start, as a server would."""


class ASGICaller:
    """Calls an ASGI application, after its lifespan has begun, on one loop."""

    def __init__(self, app: t.Any) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        over = asyncio.Event()
        messages = [{"type": "lifespan.startup"}]

        async def receive() -> dict[str, t.Any]:
            return messages.pop() if messages else await _never()

        async def send(message: dict[str, t.Any]) -> None:
            over.set()

        async def live() -> None:
            try:
                await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
            # An application without lifespan raises what it likes.
            except BaseException:
                over.set()

        self.lifespan = asyncio.ensure_future(live())
        await over.wait()

    def close(self) -> None:
        """End the application's lifespan by force."""
        self.lifespan.cancel()
        self.loop.run_until_complete(asyncio.wait([self.lifespan]))

    def prepare(self, request: dict[str, t.Any]) -> None:
        """Take the request that the next calls make."""
        path, _, query = request["path"].partition("?")
        body = base64.b64decode(request["body"])
        headers = {"Host": "127.0.0.1:8000", **request["headers"]}
        if body:
            headers["Content-Length"] = str(len(body))
        self.message = {"type": "http.request", "body": body, "more_body": False}
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request["method"],
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }

    def answer(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return status, headers and body."""
        sent: list[dict[str, t.Any]] = []

        async def send(message: dict[str, t.Any]) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.app(self._scope(), self._receiver(), send))
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])

    def seconds(self, calls: int) -> float:
        """Return the time that *calls* calls take."""
        return self.loop.run_until_complete(self._timed(calls))

    async def _timed(self, calls: int) -> float:
        app = self.app
        begin = time.perf_counter()
        for _ in range(calls):
            await app(self._scope(), self._receiver(), _send)
        return time.perf_counter() - begin

    def _scope(self) -> dict[str, t.Any]:
        return {**self.scope, "headers": list(self.scope["headers"]), "state": {}}

    def _receiver(self) -> t.Callable[[], t.Awaitable[dict[str, t.Any]]]:
        pending = [self.message]

        async def receive() -> dict[str, t.Any]:
            if pending:
                return pending.pop()
            # The client stays: some applications wait for its leaving meanwhile.
            message: dict[str, t.Any] = await _never()
            return message

        return receive


async def _never() -> t.Any:
    return await asyncio.get_running_loop().create_future()


async def _send(message: dict[str, t.Any]) -> None:
    """Take a message, as a server would."""


def main() -> None:
    """Answer until there are no more requests."""
    module, _, name = sys.argv[2].partition(":")
    app = getattr(importlib.import_module(module), name)
    caller = WSGICaller(app) if sys.argv[1] == "WSGI" else ASGICaller(app)
    for line in sys.stdin:
        request = json.loads(line)
        caller.prepare(request)
        if request["calls"]:
            print(json.dumps(caller.seconds(request["calls"]) / request["calls"] * 1e6), flush=True)
        else:
            status, headers, body = caller.answer()
            print(json.dumps([status, headers, base64.b64encode(body).decode()]), flush=True)
    caller.close()


if __name__ == "__main__":
    main()
