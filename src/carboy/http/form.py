"""Form bodies, within limits on everything that is kept of them.

What cannot be parsed is an empty form, as in Werkzeug, whose parser this one stands
in for. Beyond Werkzeug's limits there are those on the fields of a urlencoded form
and, in ``multipart.py``, on what precedes the first part, the headers of a part, and
the boundary.
"""

from __future__ import annotations

import io
import typing as t
from tempfile import SpooledTemporaryFile
from urllib.parse import unquote, unquote_to_bytes

from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugFormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.utils import get_content_length

from .multipart import CHUNK_SIZE, Decoder, Head, too_large

MAX_FORM_FIELDS = 10_000
"""Default of the ``MAX_FORM_FIELDS`` setting: fields in a urlencoded form."""

MAX_FILE_IN_MEMORY = 1024 * 1024
"""Bytes of an uploaded file that are kept in memory; a larger one goes to a temporary file."""

Parsed = tuple[t.IO[bytes], MultiDict[str, str], MultiDict[str, t.Any]]


class FormDataParser(WerkzeugFormDataParser):
    """Parses a form, within limits.

    Attributes:
        max_form_fields: Most fields in a urlencoded form; None for no limit.
    """

    max_form_fields: int | None = MAX_FORM_FIELDS

    def parse(
        self,
        stream: t.IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Parsed:
        """Return the stream, the fields and the files of a form.

        Raises:
            RequestEntityTooLarge: The form is over one of the limits.
            BadRequest: The boundary is not one.
        """
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            if mimetype == "application/x-www-form-urlencoded":
                fields = self._read_urlencoded(stream)
            elif mimetype == "multipart/form-data":
                self._read_multipart(stream, content_length, (options or {}).get("boundary", ""), fields, files)
        except Exception as e:
            for _, file in files:
                file.close()
            if not self.silent or not isinstance(e, ValueError):
                raise
            return stream, self.cls(), self.cls()
        return stream, self.cls(fields), self.cls(files)

    def _read_urlencoded(self, stream: t.IO[bytes]) -> list[tuple[str, str]]:
        data = stream.read()
        if self.max_form_fields is not None and data.count(b"&") >= self.max_form_fields:
            raise RequestEntityTooLarge(
                f"The form has more than {self.max_form_fields} fields, the limit that MAX_FORM_FIELDS sets."
            )
        return parse_urlencoded(data.decode(), "werkzeug.url_quote")

    def _read_multipart(
        self,
        stream: t.IO[bytes],
        content_length: int | None,
        boundary: str,
        fields: list[tuple[t.Any, str]],
        files: list[tuple[t.Any, FileStorage]],
    ) -> None:
        decoder = Decoder(boundary, self.max_form_parts)
        # What follows the last boundary is not read: nobody wants it.
        while not decoder.is_over:
            decoder.receive(stream.read(CHUNK_SIZE))
            while (event := decoder.next_event()) is not None:
                if isinstance(event, Head):
                    head = event
                    value = self._open(head, content_length)
                    continue
                content, more = event
                value.write(content)
                if more:
                    continue
                if isinstance(value, _Text):
                    fields.append((head.name, value.finish(head.headers)))
                else:
                    files.append(
                        (head.name, FileStorage(value.finish(), head.filename, head.name, headers=head.headers))
                    )

    def _open(self, head: Head, content_length: int | None) -> _Text | _File:
        if head.filename is None:
            return _Text(self.max_form_memory_size)
        return _File(
            self.stream_factory(
                total_content_length=content_length,
                filename=head.filename,
                content_type=head.headers.get("Content-Type"),
                content_length=get_content_length(head.headers.get("Content-Length")) or 0,
            )
        )


class _Text:
    """The content of a field, within a limit."""

    def __init__(self, limit: int | None) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit = limit

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            raise too_large("a field")

    def finish(self, headers: Headers) -> str:
        """Return the text, in the charset that the field's own headers name."""
        charset = "utf-8"
        content_type = headers.get("Content-Type")
        if content_type is not None:
            named = parse_options_header(content_type)[1].get("charset", "").lower()
            if named in _CHARSETS:
                charset = named
        return b"".join(self._pieces).decode(charset, "replace")


_CHARSETS = {"ascii", "us-ascii", "utf-8", "iso-8859-1"}
"""RFC 7578 section 5.1.2 wants UTF-8. COMPAT: in others the rest of Flask's world does not read a field either."""


class UploadedFile(SpooledTemporaryFile[bytes]):
    """An uploaded file: in memory, or on disk if it is large."""

    def __init__(self) -> None:
        super().__init__(max_size=MAX_FILE_IN_MEMORY)

    def hold(self, content: bytes) -> None:
        """Have *content*, of at most ``MAX_FILE_IN_MEMORY`` bytes."""
        # PERF: the bytes are taken over, not copied (1 MB: 90 µs).
        self._file = io.BytesIO(content)


class _File:
    """Fills the file of a part."""

    def __init__(self, file: t.IO[bytes]) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._room = MAX_FILE_IN_MEMORY if isinstance(file, UploadedFile) else 0

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._room -= len(data)
        if self._room < 0:
            self._empty()

    def _empty(self) -> None:
        for data in self._waiting:
            self._file.write(data)
        self._waiting.clear()

    def finish(self) -> t.IO[bytes]:
        """Return the file, to be read from its beginning."""
        if self._room >= 0 and isinstance(self._file, UploadedFile):
            self._file.hold(b"".join(self._waiting))
        else:
            self._empty()
            self._file.seek(0)
        return self._file


def parse_urlencoded(text: str, errors: str) -> list[tuple[str, str]]:
    """Return the names and values of a query string or form, as `urllib.parse.parse_qsl` with blank values does.

    Args:
        errors: What becomes of escapes that are not UTF-8, as for `bytes.decode`.
    """
    pairs = []
    for field in text.split("&"):
        if field:
            name, _, value = field.partition("=")
            pairs.append((name, value))
    if "%" not in text and "+" not in text:
        return pairs
    return [(_unquoted(name, errors), _unquoted(value, errors)) for name, value in pairs]


def _unquoted(text: str, errors: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    # PERF: of what is ASCII already nothing need be set apart.
    return unquote_to_bytes(text).decode("utf-8", errors) if text.isascii() else unquote(text, errors=errors)
