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

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugFormDataParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.utils import get_content_length

from .multipart import Decoder, Head, too_large

URLENCODED = "application/x-www-form-urlencoded"

MAX_FORM_FIELDS = 10_000
"""Default of the ``MAX_FORM_FIELDS`` setting: fields in a urlencoded form."""

READ_SIZE = 256 * 1024
"""Bytes that are read at once of a multipart body with more than ``MAX_FORM_IN_MEMORY``."""

MAX_FILE_IN_MEMORY = 1024 * 1024
"""Bytes of an uploaded file that are kept in memory; a larger one goes to a temporary file."""

MAX_FORM_IN_MEMORY = 2 * MAX_FILE_IN_MEMORY
"""Bytes of a form beyond which, or of unknown length, its files have ``MAX_FILE_OF_LARGE_FORM``."""

MAX_FILE_OF_LARGE_FORM = 500 * 1024
"""SECURITY: as in Werkzeug, for a form may have a thousand files."""

# A part may have no name.
Fields = list[tuple[t.Any, str]]
Files = list[tuple[t.Any, FileStorage]]
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
        fields: Fields = []
        files: Files = []
        try:
            if mimetype == URLENCODED:
                fields = read_urlencoded(stream.read(), self.max_form_fields)
            elif mimetype == "multipart/form-data":
                fields, files = self._read_multipart(stream, content_length, (options or {}).get("boundary", ""))
        except ValueError:
            if not self.silent:
                raise
        return stream, self.cls(fields), self.cls(files)

    def _read_multipart(self, stream: t.IO[bytes], content_length: int | None, boundary: str) -> tuple[Fields, Files]:
        decoder = Decoder(boundary, self.max_form_parts)
        # PERF: what may stay in memory is read whole, and copied once, when its parts are cut out of it.
        size = READ_SIZE if _is_large(content_length) else MAX_FORM_IN_MEMORY
        fields: list[t.Any] = []
        files: list[t.Any] = []
        opened: list[t.IO[bytes]] = []
        try:
            # What follows the last boundary is not read: nobody wants it.
            while not decoder.is_over:
                decoder.receive(stream.read(size))
                while (event := decoder.next_event()) is not None:
                    if isinstance(event, Head):
                        head = event
                        value: _Text | _File = _Text(self.max_form_memory_size)
                        if head.filename is not None:
                            opened.append(self._open(head, content_length))
                            value = _File(opened[-1])
                        continue
                    value.write(event.content)
                    if not event.more:
                        (fields if head.filename is None else files).append((head.name, value.finish(head)))
        except BaseException:
            for file in opened:
                file.close()
            raise
        return fields, files

    def _open(self, head: Head, content_length: int | None) -> t.IO[bytes]:
        return self.stream_factory(
            total_content_length=content_length,
            filename=head.filename,
            content_type=head.values.get("content-type"),
            content_length=get_content_length(head.values.get("content-length")) or 0,
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

    def finish(self, head: Head) -> str:
        """Return the text, in the charset that the field's own content type names."""
        charset = "utf-8"
        content_type = head.values.get("content-type")
        if content_type is not None:
            named = parse_options_header(content_type)[1].get("charset", "").lower()
            if named in _CHARSETS:
                charset = named
        return b"".join(self._pieces).decode(charset, "replace")


# COMPAT: those that Werkzeug decodes; every other is taken for UTF-8.
_CHARSETS = {"ascii", "us-ascii", "utf-8", "iso-8859-1"}


def _is_large(form_length: int | None) -> bool:
    return form_length is None or form_length > MAX_FORM_IN_MEMORY


class UploadedFile(SpooledTemporaryFile[bytes]):
    """An uploaded file: in memory, or on disk if it is large.

    Args:
        form_length: Bytes of the whole form; None if not known.

    Attributes:
        room: Bytes that are kept in memory.
    """

    def __init__(self, form_length: int | None) -> None:
        self.room = MAX_FILE_OF_LARGE_FORM if _is_large(form_length) else MAX_FILE_IN_MEMORY
        super().__init__(max_size=self.room)

    def hold(self, content: bytes) -> None:
        """Have *content*, of at most ``room`` bytes."""
        # PERF: the bytes are taken over, not copied (1 MB: 90 µs).
        self._file = io.BytesIO(content)


class _File:
    """Fills the file of a part."""

    def __init__(self, file: t.IO[bytes]) -> None:
        self._file = file
        self._waiting: list[bytes] = []
        self._room = file.room if isinstance(file, UploadedFile) else 0

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._room -= len(data)
        if self._room < 0:
            self._empty()

    def _empty(self) -> None:
        for data in self._waiting:
            self._file.write(data)
        self._waiting.clear()

    def finish(self, head: Head) -> FileStorage:
        """Return the file, to be read from its beginning."""
        if self._room >= 0 and isinstance(self._file, UploadedFile):
            self._file.hold(b"".join(self._waiting))
        else:
            self._empty()
            self._file.seek(0)
        return FileStorage(self._file, head.filename, head.name, headers=head.headers)


def read_urlencoded(data: bytes, max_fields: int | None) -> list[tuple[str, str]]:
    """Return the names and values of a form.

    Raises:
        RequestEntityTooLarge: There are too many.
        ValueError: The form is not UTF-8.
    """
    if max_fields is not None and data.count(b"&") >= max_fields:
        raise RequestEntityTooLarge(f"The form has more than {max_fields} fields, the limit that MAX_FORM_FIELDS sets.")
    return parse_urlencoded(data.decode(), "werkzeug.url_quote")


def parse_urlencoded(text: str, errors: str) -> list[tuple[str, str]]:
    """Return the names and values of a query string or form, as `urllib.parse.parse_qsl` with blank values does.

    Args:
        errors: What becomes of escapes that are not UTF-8, as for `bytes.decode`.
    """
    pairs = []
    for field in text.replace("+", " ").split("&"):
        if field:
            name, _, value = field.partition("=")
            if "%" in field:
                name, value = _unquoted(name, errors), _unquoted(value, errors)
            pairs.append((name, value))
    return pairs


def _unquoted(text: str, errors: str) -> str:
    if "%" not in text:
        return text
    # PERF: of what is ASCII already nothing need be set apart.
    return unquote_to_bytes(text).decode("utf-8", errors) if text.isascii() else unquote(text, errors=errors)
