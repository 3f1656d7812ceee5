"""Files as responses: with a content type, validators, conditional and range answers (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from datetime import datetime
from typing import IO, Any, AnyStr, cast

import werkzeug.utils
from werkzeug.exceptions import NotFound
from werkzeug.http import http_date
from werkzeug.security import safe_join
from werkzeug.wsgi import FileWrapper

from .context import current_app_context, current_request_context
from .http.response import InvalidHeader, Response, ResponseHeaders

BUFFER_SIZE = 64 * 1024
"""Bytes that are read of a file at once; under ASGI and RSGI each time by a worker thread."""


def _prepare_send_file_kwargs(**kwargs: Any) -> dict[str, Any]:
    """Return *kwargs* with what the functions of `werkzeug.utils` need of the application and the request."""
    app = current_app_context().app

    if kwargs.get("max_age") is None:
        kwargs["max_age"] = app.get_send_file_max_age

    kwargs["environ"] = current_request_context().request.environ
    kwargs["use_x_sendfile"] = app.config["USE_X_SENDFILE"]
    kwargs["response_class"] = app.response_class
    kwargs["_root_path"] = app.root_path
    return kwargs


def _check_name(name: object) -> None:
    # SECURITY: the name goes into Content-Disposition, and Werkzeug's refusal of a line break would be a 500.
    if isinstance(name, str | os.PathLike) and any(character in str(name) for character in "\r\n"):
        raise InvalidHeader("Content-Disposition")


def send_file(
    path_or_file: os.PathLike[AnyStr] | str | IO[bytes],
    mimetype: str | None = None,
    as_attachment: bool = False,
    download_name: str | None = None,
    conditional: bool = True,
    etag: bool | str = True,
    last_modified: datetime | int | float | None = None,
    max_age: int | Callable[[str | None], int | None] | None = None,
) -> Response:
    """Return a response with the contents of a file.

    Never pass a path that a client chose, it is not checked; `send_from_directory` does that.

    Args:
        path_or_file: A path, relative to the application's root path, or a file open in binary mode and positioned at
            the first byte to send. Paths are better: size, time and type then come from the file.
        mimetype: The content type; by default guessed from the name.
        as_attachment: Whether a browser should offer to save the file instead of showing it.
        download_name: The name that a browser saves under; by default the file's own.
        conditional: Whether ``If-None-Match``, ``If-Modified-Since``, ``Range`` and ``If-Range`` are honoured.
        etag: Whether to send an entity tag, made from path, size and time; or the tag itself.
        last_modified: When the file was changed, as a datetime or in seconds since the epoch; by default read from it.
        max_age: How long clients may cache the file, in seconds, or a function that says so for a path. By default
            ``app.get_send_file_max_age``. None from it: clients ask each time.

    Raises:
        FileNotFoundError: there is no file at the path.
        InvalidHeader: there is a line break in the name.
        TypeError: a file object was given, but neither *mimetype* nor *download_name*.
        ValueError: the file was opened in text mode.
        RequestedRangeNotSatisfiable: the request asks for a range that the file does not have.
        RuntimeError: no request context is active.
    """
    _check_name(download_name or path_or_file)
    return _send(
        path_or_file,
        mimetype=mimetype,
        as_attachment=as_attachment,
        download_name=download_name,
        conditional=conditional,
        etag=etag,
        last_modified=last_modified,
        max_age=max_age,
    )


def send_from_directory(directory: os.PathLike[str] | str, path: os.PathLike[str] | str, **kwargs: Any) -> Response:
    """Return a response with a file from below a directory; *path* may come from the client.

    Args:
        directory: The directory, relative to the application's root path. It must not come from the client.
        path: The file's path, relative to *directory*.
        kwargs: Arguments for `send_file`.

    Raises:
        NotFound: *path* leads out of the directory, or to no regular file.
        InvalidHeader: there is a line break in the name.
        RuntimeError: no request context is active.
    """
    _check_name(kwargs.get("download_name") or path)
    full = safe_join(os.fspath(directory), os.fspath(path))
    if full is None:
        raise NotFound()
    full = os.path.join(current_app_context().app.root_path, full)
    if not os.path.isfile(full):
        raise NotFound()
    return _send(full, **kwargs)


def _send(path_or_file: Any, conditional: bool = True, **kwargs: Any) -> Response:
    if conditional and isinstance(path_or_file, str | os.PathLike):
        response = _send_whole(path_or_file, **kwargs)
        if response is not None:
            return response
    kwargs = _prepare_send_file_kwargs(conditional=conditional, **kwargs)
    return cast("Response", werkzeug.utils.send_file(path_or_file, **kwargs))


_CONDITIONS = (
    ("if-none-match", "HTTP_IF_NONE_MATCH"),
    ("if-modified-since", "HTTP_IF_MODIFIED_SINCE"),
    ("if-match", "HTTP_IF_MATCH"),
    ("range", "HTTP_RANGE"),
)


def _send_whole(path: os.PathLike[str] | str, max_age: Any = None, **kwargs: Any) -> Response | None:
    """Return the answer to a request without a condition; None if it has one, or if there is more to be decided."""
    app = current_app_context().app
    request = current_request_context().request
    if (
        app.response_class is not Response
        or app.config["USE_X_SENDFILE"]
        or request.method not in ("GET", "HEAD")
        or any(request._header(*condition) is not None for condition in _CONDITIONS)
    ):
        return None
    path = os.path.join(app.root_path, path)
    stat = os.stat(path)
    if max_age is None:
        max_age = app.get_send_file_max_age
    if callable(max_age):
        max_age = max_age(path)
    now = int(time.time())
    times = {"Date": now, "Expires": now + int(max_age or 0)}
    headers = ResponseHeaders()
    headers._list = [
        (name, _date(times[name]) if name in times else value)
        for name, value in _headers_of(path, stat.st_size, stat.st_mtime, max_age=max_age, **kwargs)
    ]
    wrap = request.environ.get("wsgi.file_wrapper", FileWrapper) if request.environ_is_made else FileWrapper
    return Response(wrap(open(path, "rb"), BUFFER_SIZE), headers=headers, direct_passthrough=True)


@functools.lru_cache(maxsize=512, typed=True)
def _headers_of(path: str, size: int, changed: float, **kwargs: Any) -> list[tuple[str, str]]:
    """Return the headers of a file.

    PERF: they are made once for as long as the file stays what it is (static file: 94 µs -> 52 µs). A type that is
    made known to `mimetypes` later is not seen.
    """
    response = werkzeug.utils.send_file(path, {"REQUEST_METHOD": "GET"}, **kwargs)
    response.close()
    return list(response.headers)


_date = functools.lru_cache(maxsize=64)(http_date)
