"""Multipart bodies, within limits: the decoder, and the parts of an upload read as they arrive."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import parse_options_header

from ..concurrency import call, is_on_loop, run_blocking, run_in_thread, step

if t.TYPE_CHECKING:
    from .request import Request

MAX_BOUNDARY = 100
"""Characters of a multipart boundary. RFC 2046 section 5.1.1 allows 70; Werkzeug's test client sends up to 74."""

MAX_HEADERS_SIZE = 16 * 1024
"""Bytes before the first part, of the headers of one part, and of the white space after a boundary."""

CHUNK_SIZE = 64 * 1024


class Head(t.NamedTuple):
    """The headers of a part, and what ``Content-Disposition`` says among them."""

    name: str | None
    filename: str | None
    headers: Headers
    values: dict[str, str]
    """The same by lower-case name, of those that came more than once the first."""


class Data(t.NamedTuple):
    """A piece of a part's content."""

    content: bytes
    more: bool


class Decoder:
    """Tells the parts of a multipart body (RFC 7578), of which it keeps no more than it must.

    However the body is cut into chunks, the outcome is the same. COMPAT: where a
    client breaks the rules, it is that of Werkzeug: a line may end with CR or LF
    alone, and before the first boundary no line need end.

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
        self._marker = b"--" + boundary.encode("ascii")
        self._parts_left = max_parts
        self._buffer = b""
        # Where in the buffer that begins which was not told yet, ...
        self._at = 0
        # ... and how much of it is the line break between headers and content.
        self._line_break = 0
        self._skipped = 0
        # How much of a part's headers has no end.
        self._searched = 0
        self._has_ended = False
        # A function, not a method bound to this: the last chunk would stay until the garbage collector comes.
        self._next: t.Callable[[Decoder], Head | Data | None] = Decoder._skip_preamble
        self.is_over = False
        """Whether the last boundary was seen. What follows it belongs to nothing."""

    def receive(self, data: bytes) -> None:
        """Take bytes of the body; none at its end."""
        # PERF: a chunk is copied only with what is left of the one before, which is less than a boundary or headers.
        left = self._buffer[self._at :]
        self._buffer = left + data if left else data
        self._at = 0
        self._has_ended = not data

    def next_event(self) -> Head | Data | None:
        """Return what comes next; None if that has not arrived.

        Raises:
            RequestEntityTooLarge: A limit is exceeded.
            ValueError: The body is malformed, or has ended too early.
        """
        if self.is_over:
            return None
        event = self._next(self)
        if event is None and self._has_ended and not self.is_over:
            raise ValueError("The body ends before its last boundary.")
        return event

    def _skip_preamble(self) -> Head | None:
        buffer, marker = self._buffer, self._marker
        while (start := buffer.find(marker, self._at)) != -1:
            self._skip_to(start)
            after = self._delimiter_end(start + len(marker))
            if after is None:
                return None
            if after:
                return self._start_part(after)
            self._skip_to(start + 1)
        self._skip_to(max(self._at, len(buffer) - len(marker) + 1))
        return None

    def _skip_to(self, position: int) -> None:
        self._skipped += position - self._at
        if self._skipped > MAX_HEADERS_SIZE + len(b"\r\n"):
            raise too_large("what precedes the first part")
        self._at = position

    def _start_part(self, start: int) -> Head | None:
        self._at = start
        if self.is_over:
            return None
        self._next = Decoder._read_head
        return self._read_head()

    def _read_head(self) -> Head | None:
        buffer, start = self._buffer, self._at
        blank = _BLANK_LINE.search(buffer, start + self._searched, start + MAX_HEADERS_SIZE + len(b"\r\n\r\n"))
        if blank is None:
            if len(buffer) - start > MAX_HEADERS_SIZE:
                raise too_large("the headers of a part")
            self._searched = max(0, len(buffer) - start - len(b"\r\n\r"))
            return None
        end = blank.start()
        line_break = len(blank[0]) // 2
        # The content is preceded by a line break, which may also be that of a boundary.
        content = end + line_break
        if line_break == 1 and buffer[content] == _CR:
            if content + 1 == len(buffer):
                return None
            if buffer[content + 1] == _LF:
                line_break = 2
        head = _parse_head(buffer[start:end])
        if self._parts_left is not None:
            self._parts_left -= 1
            if self._parts_left < 0:
                raise RequestEntityTooLarge("The multipart body is refused: it has too many parts.")
        self._at = content
        self._searched = 0
        self._line_break = line_break
        self._next = Decoder._read_content
        return head

    def _read_content(self) -> Data | None:
        buffer, marker, at = self._buffer, self._marker, self._at
        start = buffer.find(marker, at)
        while start != -1:
            if start > at and buffer[start - 1] in _LINE_BREAKS:
                after = self._delimiter_end(start + len(marker))
                if after != 0:
                    line = start - (2 if start - at > 1 and buffer[start - 2 : start] == b"\r\n" else 1)
                    if after is None:
                        return self._take(line)
                    content = buffer[at + self._line_break : line]
                    self._at = after
                    self._next = Decoder._read_head
                    return Data(content, False)
            # SECURITY: a boundary of hyphens in content of hyphens would be found at each of them.
            line_end = _LINE_BREAK.search(buffer, start + 1)
            start = -1 if line_end is None else buffer.find(marker, line_end.end())
        last = max(at, len(buffer) - len(marker))
        line = max(buffer.rfind(b"\n", last), buffer.rfind(b"\r", last))
        if line == -1 or not marker.startswith(buffer[line + 1 :]):
            return self._take(len(buffer))
        if line > at and buffer[line - 1 : line + 1] == b"\r\n":
            line -= 1
        return self._take(line)

    def _take(self, end: int) -> Data | None:
        """Return the content before *end*, where a delimiter may begin."""
        start = self._at + self._line_break
        if end <= start:
            return None
        self._at = end
        self._line_break = 0
        return Data(self._buffer[start:end], True)

    def _delimiter_end(self, position: int) -> int | None:
        """Return where the delimiter ends whose marker ends at *position*: 0 if it is none, None if that may change."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n", position):
            return position + 2
        if buffer.startswith(b"--", position):
            self.is_over = True
            return position + 2
        padding = _PADDING.match(buffer, position, position + MAX_HEADERS_SIZE)
        end = position if padding is None else padding.end()
        if end - position == MAX_HEADERS_SIZE:
            raise too_large("the white space after a boundary")
        rest = buffer[end : end + 2]
        if rest in (b"", b"\r") or (rest == b"-" and end == position):
            return None
        if rest[0] == _LF:
            return end + 1
        if rest[0] == _CR:
            return end + (2 if rest[1] == _LF else 1)
        return 0


_CR, _LF = _LINE_BREAKS = b"\r\n"
_LINE_BREAK = re.compile(rb"[\r\n]")
_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_PADDING = re.compile(rb"[ \t\f\v]+")
_PLAIN_DISPOSITION = re.compile(r'form-data; name="([^"\\%]*)"(?:; filename="([^"\\%]*)")?')


def _parse_head(lines: bytes) -> Head:
    text = lines.decode().replace("\r\n", "\n").replace("\r", "\n")
    # RFC 5322 section 2.2.3: a line that begins with white space goes on with the one before.
    text = text.replace("\n ", " ").replace("\n\t", " ")
    headers = Headers()
    values: dict[str, str] = {}
    for line in text.split("\n"):
        line = line.strip(" \t")
        if line:
            name, _, value = line.partition(":")
            name, value = name.strip(" \t"), value.strip(" \t")
            # PERF: nothing to be checked here, a line has no line break (8 µs for each part).
            headers._list.append((name, value))
            values.setdefault(name.lower(), value)
    if "content-disposition" not in values:
        raise ValueError("A part has no Content-Disposition.")
    disposition = values["content-disposition"]
    # PERF: what nearly every client sends (13 µs -> 1 µs).
    plain = _PLAIN_DISPOSITION.fullmatch(disposition)
    if plain is not None:
        return Head(plain[1], plain[2], headers, values)
    _, options = parse_options_header(disposition)
    return Head(options.get("name"), options.get("filename"), headers, values)


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
            self._decoder = Decoder(request.mimetype_params.get("boundary", ""), request.max_form_parts)
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
            if isinstance(event, Head):
                if event.name is None:
                    raise BadRequest("A part of the multipart body has no name (RFC 7578 section 4.2).")
                self._current = Part(self, event, self._max_in_memory)
                return self._current
        return None

    async def _event(self, inline: bool) -> Head | Data | None:
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

    def __init__(self, parts: Parts, head: Head, max_in_memory: int | None) -> None:
        self.name = head.name
        self.filename = head.filename
        self.headers = head.headers
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
            content, more = t.cast(Data, await self._parts._event(inline))
            self._is_over = not more
            if content:
                return content
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
