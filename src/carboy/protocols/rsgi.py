"""RSGI 1: granian's protocol, in which a response is one native call."""

from __future__ import annotations

import functools
import typing as t

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..http import Request


async def serve(app: Carboy, scope: t.Any, protocol: t.Any) -> None:
    """Serve one connection."""
    if scope.proto != "http":
        # A WebSocket, refused before it is accepted.
        protocol.close(403)
        return
    from . import loop

    get_header = scope.headers.get
    method: str = scope.method
    request = app.request_class.from_connection(
        method, scope.path, scope.query_string.encode("latin1"), functools.partial(make_environ, scope), get_header
    )
    length = get_header("content-length")
    has_body = length not in (None, "0") or (
        length is None and method not in ("GET", "HEAD") and (scope.http_version[0] == "2" or "transfer-encoding" in scope.headers)
    ) or (length is None and "transfer-encoding" in scope.headers)  # fmt: skip
    answer = await loop.answer(
        app,
        request,
        get_header("host") or scope.authority,
        "upgrade" not in scope.headers,
        functools.partial(_chunks, protocol) if has_body else None,
        int(length) if length is not None and length.isdigit() else None,
    )
    wire = answer.wire
    body = wire.body
    if type(body) is list:
        if not body:
            protocol.response_empty(wire.status_code, wire.headers)
        else:
            protocol.response_bytes(wire.status_code, wire.headers, body[0] if len(body) == 1 else b"".join(body))
        await loop.close(answer)
        return
    transport = protocol.response_stream(wire.status_code, wire.headers)
    await loop.stream(answer, functools.partial(_send, transport), protocol.client_disconnect)


async def _send(transport: t.Any, piece: bytes) -> None:
    if piece:
        try:
            await transport.send_bytes(piece)
        except RuntimeError as e:
            # The server's way to say that the client has left.
            raise ConnectionResetError from e


async def _chunks(protocol: t.Any) -> t.AsyncIterator[bytes]:
    from werkzeug.exceptions import ClientDisconnected

    try:
        async for chunk in protocol:
            if chunk:
                yield bytes(chunk)
    except RuntimeError as e:
        raise ClientDisconnected() from e


def make_environ(scope: t.Any, request: Request) -> dict[str, t.Any]:
    """Return the WSGI environ (PEP 3333) that says what *scope* says."""
    from .asgi import add_headers
    from .asgi import add_wsgi_keys

    host, _, port = scope.server.rpartition(":")
    client, _, client_port = scope.client.rpartition(":")
    environ: dict[str, t.Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode().decode("latin1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host or scope.server,
        "SERVER_PORT": port or "80",
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": client.strip("[]"),
        "REMOTE_PORT": client_port,
        "rsgi.scope": scope,
    }
    add_headers(environ, scope.headers.items())
    environ.setdefault("HTTP_HOST", scope.authority or environ["SERVER_NAME"])
    add_wsgi_keys(environ, scope.scheme, request)
    return environ
