"""Liveness and readiness: two paths that are answered before the application.

They stand around the application in each protocol's own terms, so that they
answer whatever its routes, hooks and host checks do.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Health:
    """What is answered under which path.

    Args:
        liveness: Answered with 200 as long as the process answers.
        readiness: Answered with 200, and with 503 once the server is stopping.
        is_ready: Asked for each request to *readiness*.
    """

    liveness: str | None
    readiness: str | None
    is_ready: t.Callable[[], bool]

    def answer(self, path: str) -> tuple[int, str] | None:
        """Return status and body for *path*; None if it is the application's."""
        if path == self.readiness:
            return (200, "ready\n") if self.is_ready() else (503, "stopping\n")
        return (200, "alive\n") if path == self.liveness else None

    def around_wsgi(self, app: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return the WSGI application *app*, with the two paths."""

        def serve(environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
            answer = self.answer(environ["PATH_INFO"])
            if answer is None:
                return app(environ, start_response)
            status, body = answer
            reason = "OK" if status == 200 else "Service Unavailable"
            start_response(
                f"{status} {reason}", [("Content-Type", _TEXT), ("Content-Length", str(len(body))), _NO_STORE]
            )
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body.encode()]

        return serve

    def around_asgi(self, app: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return the ASGI application *app*, with the two paths."""

        async def serve(scope: t.Any, receive: t.Any, send: t.Any) -> None:
            answer = self.answer(scope["path"]) if scope["type"] == "http" else None
            if answer is None:
                await app(scope, receive, send)
                return
            status, body = answer
            headers = [("Content-Type", _TEXT), ("Content-Length", str(len(body))), _NO_STORE]
            await send(
                {
                    "type": "http.response.start",
                    "status": status,
                    "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
                }
            )
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body.encode()})

        return serve

    def around_rsgi(self, app: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return the RSGI callback *app*, with the two paths."""

        async def serve(scope: t.Any, protocol: t.Any) -> None:
            answer = self.answer(scope.path) if scope.proto == "http" else None
            if answer is None:
                await app(scope, protocol)
                return
            status, body = answer
            headers = [("content-type", _TEXT), ("content-length", str(len(body))), _NO_STORE]
            if scope.method == "HEAD":
                protocol.response_empty(status, headers)
            else:
                protocol.response_str(status, headers, body)

        return serve


_NO_STORE = ("cache-control", "no-store")
