"""Multipart bodies, within limits: the decoder, and the parts of an upload read as they arrive."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import typing as t

from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData, Preamble, State

from ..concurrency import call, is_on_loop, run_blocking, run_in_thread, step

if t.TYPE_CHECKING:
    from werkzeug.datastructures import Headers

    from .request import Request

MAX_BOUNDARY = 100
"""Characters of a multipart boundary. RFC 2046 section 5.1.1 allows 70; Werkzeug's test client sends up to 74."""

MAX_HEADERS_SIZE = 16 * 1024
"""Bytes before the first part, and of the headers of one part."""

CHUNK_SIZE = 64 * 1024


class LimitedDecoder:
    """Werkzeug's decoder of multipart bodies, with limits on what it keeps.

    Args:
        boundary: As the content type names it.
        max_parts: None for no limit.

    Raises:
        BadRequest: The boundary is too long.
        ValueError: It is missing, or not ASCII.
    """

    def __init__(self, boundary: str, max_parts: int | None) -> None:
        if len(boundary) > MAX_BOUNDARY:
            raise BadRequest(f"The multipart boundary has more than {MAX_BOUNDARY} characters.")
        if not boundary:
            raise ValueError("The multipart body has no boundary.")
        marker = boundary.encode("ascii")
        self._decoder = MultipartDecoder(marker, max_parts=max_parts)
        self._marker = b"--" + marker

    @property
    def is_over(self) -> bool:
        """Whether the last boundary was seen. What follows it belongs to nothing."""
        return self._decoder.state in (State.EPILOGUE, State.COMPLETE)

    def receive(self, data: bytes) -> None:
        """Take bytes of the body; none at its end."""
        self._decoder.receive_data(data or None)

    def next_event(self) -> Event | None:
        """Return what comes next; None if that has not arrived.

        Raises:
            RequestEntityTooLarge: A limit is exceeded.
            ValueError: The body is malformed, or has ended too early.
        """
        decoder = self._decoder
        if self.is_over:
            return None
        if decoder.state == State.PART:
            _check_headers(decoder.buffer)
        elif decoder.state != State.PREAMBLE and not decoder.complete and self._ends_within_boundary(decoder.buffer):
            return None
        event = decoder.next_event()
        if isinstance(event, Preamble):
            if len(event.data) > MAX_HEADERS_SIZE:
                raise too_large("what precedes the first part")
        elif isinstance(event, NeedData):
            if decoder.state in (State.PREAMBLE, State.PART) and len(decoder.buffer) > MAX_HEADERS_SIZE:
                raise too_large("the headers of a part")
            return None
        elif isinstance(event, Epilogue):
            return None
        return event

    def _ends_within_boundary(self, buffer: bytearray) -> bool:
        # Werkzeug 3.1 takes the line break before such a boundary for content, or half of it.
        start = buffer.rfind(self._marker)
        if start == -1:
            return False
        rest = len(buffer) - start - len(self._marker)
        return 0 < rest <= MAX_HEADERS_SIZE and _MAY_GO_ON.fullmatch(buffer, len(buffer) - rest) is not None


_MAY_GO_ON = re.compile(rb"-|[^\S\r\n]+")


def _check_headers(buffer: bytearray) -> None:
    if len(buffer) > MAX_HEADERS_SIZE:
        head = bytes(buffer[: MAX_HEADERS_SIZE + 4])
        if not any(blank in head for blank in (b"\r\n\r\n", b"\n\n", b"\r\r")):
            raise too_large("the headers of a part")


def too_large(what: str) -> RequestEntityTooLarge:
    """Return the error for a multipart body that exceeds a limit."""
    return RequestEntityTooLarge(f"The multipart body is refused: {what} is too large.")


class Parts:
    """The parts of a multipart body, each read when it has arrived; see ``request.parts``.

    Iterated once, by ``async for`` or ``for``.
    """

    def __init__(self, request: Request) -> None:
        if request.form_is_parsed:
            raise RuntimeError(
                "request.parts() comes too late: 'request.form' or 'request.files' has read the body"
                f" (endpoint {request.endpoint!r}). Use one or the other."
            )
        if request.mimetype != "multipart/form-data":
            raise UnsupportedMediaType("The body must be multipart/form-data.")
        try:
            self._decoder = LimitedDecoder(request.mimetype_params.get("boundary", ""), request.max_form_parts)
        except ValueError as e:
            raise BadRequest(f"The multipart body cannot be read: {e}") from e
        self._stream = request.stream
        self._max_in_memory = request.max_form_memory_size
        self._current: Part | None = None
        self._is_over = False

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> Part:
        part = await self._next(inline=False)
        if part is None:
            raise StopAsyncIteration
        return part

    def __iter__(self) -> Parts:
        return self

    def __next__(self) -> Part:
        part = step(self._next(inline=True))
        if part is None:
            raise StopIteration
        return part

    async def _next(self, inline: bool) -> Part | None:
        if self._current is not None:
            while await self._current._next(inline):
                pass
            self._current = None
        while (event := await self._event(inline)) is not None:
            if isinstance(event, (Field, File)):
                if event.name is None:
                    raise BadRequest("A part of the multipart body has no name (RFC 7578 section 4.2).")
                self._current = Part(self, event, self._max_in_memory)
                return self._current
        return None

    async def _event(self, inline: bool) -> Event | None:
        """Return the next event of the decoder; None when the last part is over."""
        decoder = self._decoder
        try:
            while not decoder.is_over:
                event = decoder.next_event()
                if event is not None:
                    return event
                decoder.receive(await self._receive(inline))
        except ValueError as e:
            raise BadRequest(f"The multipart body cannot be read: {e}") from e
        if not self._is_over:
            self._is_over = True
            # So that the body is read to its end, which what follows the parts may hide.
            size = 0
            while size <= MAX_HEADERS_SIZE and (rest := await self._receive(inline)):
                size += len(rest)
        return None

    async def _receive(self, inline: bool) -> bytes:
        stream = self._stream
        if hasattr(stream, "__anext__") and not inline:
            return await anext(stream, b"")
        if inline or isinstance(stream, io.BytesIO):
            data: bytes = stream.read(CHUNK_SIZE)
            return data
        return await run_in_thread(stream.read, CHUNK_SIZE)


class Part:
    """One part of a multipart body.

    Its content is iterated in chunks, by ``async for`` or ``for``, or taken by one
    of the methods. It arrives meanwhile, and no faster.

    Attributes:
        name: The field's name.
        filename: What the client calls the file, which must not be trusted
            (``werkzeug.utils.secure_filename``); None if it is no file.
        headers: The part's own headers.
    """

    def __init__(self, parts: Parts, event: Field | File, max_in_memory: int | None) -> None:
        self.name = event.name
        self.filename = event.filename if isinstance(event, File) else None
        self.headers: Headers = event.headers
        self._parts = parts
        self._max_in_memory = max_in_memory
        self._is_over = False

    @property
    def content_type(self) -> str | None:
        """The ``Content-Type`` that the client gives the part, if any."""
        return self.headers.get("Content-Type")

    def __aiter__(self) -> Part:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next(inline=False)
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def __iter__(self) -> Part:
        return self

    def __next__(self) -> bytes:
        chunk = step(self._next(inline=True))
        if not chunk:
            raise StopIteration
        return chunk

    def read(self, limit: int | None = None) -> t.Any:
        """Return what is left of the content, as bytes; to be awaited in async code.

        Args:
            limit: Most bytes; by default ``MAX_FORM_MEMORY_SIZE``.

        Raises:
            RequestEntityTooLarge: There are more.
        """
        if is_on_loop():
            return self._read(limit, inline=False)
        return step(self._read(limit, inline=True))

    def save(self, target: t.Any, limit: int | None = None) -> t.Any:
        """Write what is left of the content; to be awaited in async code.

        It is written in a worker thread, unless the target is async itself.

        Args:
            target: The path of a file, which is made or replaced, and removed again
                if the upload fails; or an open binary file; or another object with
                ``write``, sync or async, such as ``asyncio.StreamWriter``.
            limit: Most bytes; None for no limit but ``MAX_CONTENT_LENGTH``.

        Returns:
            How many bytes were written.

        Raises:
            RequestEntityTooLarge: There are more than *limit*.
        """
        if is_on_loop():
            return self._save(target, limit, inline=False)
        return step(self._save(target, limit, inline=True))

    def __repr__(self) -> str:
        return f"<Part {self.name!r}{'' if self.filename is None else f' file {self.filename!r}'}>"

    async def _next(self, inline: bool) -> bytes:
        """Return the next chunk, empty at the end."""
        if self._parts._current is not self:
            raise RuntimeError(f"The content of {self!r} is gone: the next part was asked for.")
        while not self._is_over:
            event = t.cast(Data, await self._parts._event(inline))
            self._is_over = not event.more_data
            if event.data:
                return event.data
        return b""

    async def _read(self, limit: int | None, inline: bool) -> bytes:
        if limit is None:
            limit = self._max_in_memory
        chunks, size = [], 0
        while chunk := await self._next(inline):
            size += len(chunk)
            self._check(size, limit)
            chunks.append(chunk)
        return b"".join(chunks)

    async def _save(self, target: t.Any, limit: int | None, inline: bool) -> int:
        if not isinstance(target, (str, os.PathLike)):
            return await self._write_to(target, limit, inline)
        file = await call(inline, open, target, "wb")
        try:
            try:
                return await self._write_to(file, limit, inline)
            finally:
                await call(inline, file.close)
        except BaseException:
            with contextlib.suppress(OSError):
                await call(inline, os.unlink, target)
            raise

    async def _write_to(self, target: t.Any, limit: int | None, inline: bool) -> int:
        size = 0
        while chunk := await self._next(inline):
            size += len(chunk)
            self._check(size, limit)
            if hasattr(target, "drain"):
                # An asyncio.StreamWriter, whose methods belong to the loop.
                await (_drain_blocking(target, chunk) if inline else _drain(target, chunk))
                continue
            written = 0
            while written < len(chunk):
                # An unbuffered file may take less than it is given.
                result = await call(inline, target.write, chunk[written:] if written else chunk)
                if inspect.isawaitable(result):
                    result = run_blocking(_wait_for(result)) if inline else await result
                written += result if isinstance(result, int) else len(chunk)
        return size

    def _check(self, size: int, limit: int | None) -> None:
        if limit is not None and size > limit:
            raise RequestEntityTooLarge(f"The part {self.name!r} has more than {limit} bytes.")


async def _drain(writer: t.Any, chunk: bytes) -> None:
    writer.write(chunk)
    await writer.drain()


async def _drain_blocking(writer: t.Any, chunk: bytes) -> None:
    run_blocking(_drain(writer, chunk))


async def _wait_for(awaitable: t.Awaitable[t.Any]) -> t.Any:
    return await awaitable
