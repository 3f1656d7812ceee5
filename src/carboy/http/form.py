"""Form bodies: Werkzeug's decoders, within limits on everything they keep.

Werkzeug limits the number of multipart parts and the size of their text. Limited
here and in ``multipart.py``: the fields of a urlencoded form, what precedes the
first part, the headers of a part, and the boundary. Each is read by regular expressions or kept
in memory, so without a limit a small request could cost much.
"""

from __future__ import annotations

import typing as t

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser as WerkzeugFormDataParser
from werkzeug.formparser import MultiPartParser
from werkzeug.sansio.multipart import Data, Field, File

from .multipart import CHUNK_SIZE, LimitedDecoder, too_large

MAX_FORM_FIELDS = 10_000
"""Default of the ``MAX_FORM_FIELDS`` setting: fields in a urlencoded form."""

Parsed = tuple[t.IO[bytes], MultiDict[str, str], MultiDict[str, t.Any]]


class FormDataParser(WerkzeugFormDataParser):
    """Werkzeug's parser, within limits.

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
        if mimetype == "application/x-www-form-urlencoded" and self.max_form_fields is not None:
            stream = t.cast(t.IO[bytes], _FieldCounter(stream, self.max_form_fields))
        elif mimetype == "multipart/form-data":
            return self._parse_multipart_within_limits(stream, content_length, options or {})
        return super().parse(stream, mimetype, content_length, options)

    def _parse_multipart_within_limits(
        self, stream: t.IO[bytes], content_length: int | None, options: dict[str, str]
    ) -> Parsed:
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        try:
            decoder = LimitedDecoder(options.get("boundary", ""), self.max_form_parts)
            for name, value in _PartReader(self, content_length).read(stream, decoder):
                if isinstance(value, str):
                    fields.append((name, value))
                else:
                    files.append((name, value))
        except ValueError:
            # COMPAT: as in Flask, what cannot be parsed is an empty form.
            if not self.silent:
                raise
            for _, file in files:
                file.close()
            return stream, self.cls(), self.cls()
        return stream, self.cls(fields), self.cls(files)


class _PartReader:
    """Reads the parts of one multipart body."""

    def __init__(self, parser: FormDataParser, content_length: int | None) -> None:
        self._max_text = parser.max_form_memory_size
        self._content_length = content_length
        # For how a part's file is opened and its charset is told.
        self._multipart = MultiPartParser(stream_factory=parser.stream_factory)

    def read(self, stream: t.IO[bytes], decoder: LimitedDecoder) -> t.Iterator[tuple[str, str | FileStorage]]:
        # What follows the last boundary is not read: nobody wants it.
        while not decoder.is_over:
            decoder.receive(stream.read(CHUNK_SIZE))
            while (event := decoder.next_event()) is not None:
                if isinstance(event, (Field, File)):
                    self._start(event)
                elif isinstance(event, Data):
                    self._take(event.data)
                    if not event.more_data:
                        yield self._finish()

    def _start(self, event: Field | File) -> None:
        self._part = event
        self._text: list[bytes] = []
        self._size = 0
        self._file: t.IO[bytes] | None = None
        if isinstance(event, File):
            self._file = self._multipart.start_file_streaming(event, self._content_length)

    def _take(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            return
        self._size += len(data)
        if self._max_text is not None and self._size > self._max_text:
            raise too_large("a field")
        self._text.append(data)

    def _finish(self) -> tuple[str, str | FileStorage]:
        part = self._part
        if self._file is None:
            charset = self._multipart.get_part_charset(part.headers)
            return part.name, b"".join(self._text).decode(charset, "replace")
        self._file.seek(0)
        filename = part.filename if isinstance(part, File) else None
        return part.name, FileStorage(self._file, filename, part.name, headers=part.headers)


class _FieldCounter:
    """Refuses a urlencoded form of too many fields when it is read."""

    def __init__(self, stream: t.IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, *size: int) -> bytes:
        # Without a size, if none was given: servers' streams need not know what -1 means (PEP 3333).
        data = self._stream.read(*size)
        if data.count(b"&") >= self._limit:
            raise RequestEntityTooLarge(
                f"The form has more than {self._limit} fields, the limit that MAX_FORM_FIELDS sets."
            )
        return data

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._stream, name)
