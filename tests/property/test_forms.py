"""Forms and query strings are read as Werkzeug and the standard library read them, however their bytes arrive."""

import gc
import io
import sys
import weakref
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import MultiPartParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder

import carboy
from carboy.http.form import FormDataParser, UploadedFile
from carboy.http.multipart import Decoder, Head

# -- Multipart -------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"--limit",
        b"\r\n--limit\r\n",
        b"\r\n--limit--",
        b"--",
        b"-",
        b" ",
        b"\t",
        b"\f",
    ]
    + [b"--limi", b"--limitless", b"x", b"\xff", b":", b";", b"\0"]
    + [
        b"X-A: b",
        b"Content-Length: 3",
        b"Content-Transfer-Encoding: base64",
        b"Content-Type: text/plain; charset=latin1",
    ]
    + [b"Content-Type: text/plain; charset=iso-8859-1", b"Content-Type: text/plain;\r\n charset=ascii"]
    + [b'Content-Disposition: form-data; name="%s"' % name for name in (b"a", b"", b"\xc3\xa9", b"%22", b'\\"', b"a\\")]
    + [b"content-disposition:form-data;name=a", b"Content-Disposition: form-data", b"Content-Disposition: "]
    + [b'Content-Disposition: form-data; name="f"; filename="%s"' % name for name in (b"f", b"", b"a%22b", b"C:\\x")]
    + [b"Content-Disposition: form-data; name=\"f\"; filename*=utf-8''%c3%a9", b"Content-Disposition: inline; name=b"]
)
PART = st.builds(
    lambda headers, content: b"--limit\r\n" + b"\r\n".join(headers) + b"\r\n\r\n" + b"".join(content) + b"\r\n",
    st.lists(FRAGMENTS, max_size=3),
    st.lists(FRAGMENTS, max_size=5),
)
BODIES = st.one_of(
    st.lists(FRAGMENTS, max_size=20).map(b"".join),
    st.lists(PART, max_size=4).map(lambda parts: b"".join(parts) + b"--limit--\r\n"),
)
SIZES = st.lists(st.integers(1, 40), max_size=30)


def read_by_werkzeug(body, max_parts):
    decoder = MultipartDecoder(b"limit", max_parts=max_parts)
    decoder.receive_data(body)
    decoder.receive_data(None)
    parts = []
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, (Field, File)):
            parts.append([event.name, getattr(event, "filename", None), list(event.headers), b""])
        elif isinstance(event, Data):
            parts[-1][3] += event.data
    return parts


def read_in_chunks(body, sizes, max_parts):
    decoder = Decoder("limit", max_parts)
    source, sizes = io.BytesIO(body), iter(sizes)
    parts = []
    while not decoder.is_over:
        decoder.receive(source.read(next(sizes, 1)))
        while (event := decoder.next_event()) is not None:
            if isinstance(event, Head):
                parts.append([event.name, event.filename, list(event.headers), b""])
            else:
                parts[-1][3] += event.content
    return parts


def outcome(read, *args):
    try:
        return read(*args)
    except (ValueError, RequestEntityTooLarge) as e:
        return RequestEntityTooLarge if isinstance(e, RequestEntityTooLarge) else ValueError


@given(BODIES, SIZES, st.sampled_from([None, 1, 2]))
@example(b"--limit\r\n\r\r\n--limit--", [1], None)
@example(b'--limit\rContent-Disposition: form-data; name="a"\r\r\n--limit\t\r\n--limit--', [], None)
def test_a_multipart_body_is_read_as_by_werkzeug(body, sizes, max_parts):
    assert outcome(read_in_chunks, body, sizes, max_parts) == outcome(read_by_werkzeug, body, max_parts)


def described(files):
    described = []
    for name, file in files.items(multi=True):
        described.append((name, file.name, file.filename, file.mimetype_params, file.content_length, file.read()))
        file.close()
    return described


@given(BODIES)
def test_a_multipart_form_is_that_of_werkzeug(body):
    parser = FormDataParser(stream_factory=lambda **kwargs: UploadedFile(None))
    _, fields, files = parser.parse(io.BytesIO(body), "multipart/form-data", len(body), {"boundary": "limit"})
    theirs = MultiPartParser(stream_factory=lambda **kwargs: io.BytesIO())
    try:
        expected_fields, expected_files = theirs.parse(io.BytesIO(body), b"limit", len(body))
    except ValueError:
        expected_fields, expected_files = MultiDict(), MultiDict()
    assert fields == expected_fields
    assert described(files) == described(expected_files)


FLOODS = [b"\r\n--limi", b"--limit", b"\r\n--limitless", b"\r", b"\n", b"\r\n", b"-", b"\r\n--limit x", b"x"]
FLOODS += [b"\r\n--limit" + b" " * 1000 + b"x", b"\r\n--limit" + b"\t" * 1000 + b"-"]


def calls_for(flood, count, step):
    """How often anything is called, which is a measure of the work that does not depend on the machine."""
    head = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\ny'
    body = head + flood * count + b"\r\n--limit--"
    decoder = Decoder("limit", None)
    calls = 0

    def profile(frame, event, arg):
        nonlocal calls
        calls += event in ("call", "c_call")

    content, kept = 0, 0
    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        for start in range(0, len(body), step):
            decoder.receive(body[start : start + step])
            while (event := decoder.next_event()) is not None:
                content += 0 if isinstance(event, Head) else len(event.content)
            kept = max(kept, len(decoder._buffer) - decoder._at)
    finally:
        sys.setprofile(previous)
    assert decoder.is_over
    assert content == 1 + len(body) - len(head) - len(b"\r\n--limit--")
    return calls, kept


@pytest.mark.parametrize("step", [1, 1000, 65536])
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: repr(flood[:20]))
def test_a_flood_of_what_looks_like_boundaries_costs_no_more_than_its_size(flood, step):
    count = (4_000 if step == 1 else 200_000) // len(flood)
    small, _ = calls_for(flood, count, step)
    large, kept = calls_for(flood, 4 * count, step)
    assert large < 4.5 * small + 200
    assert kept < 1100


def test_a_decoder_is_freed_without_the_garbage_collector():
    """With what it holds, which may be a whole upload."""
    decoder = Decoder("limit", None)
    decoder.receive(b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--limit--')
    while decoder.next_event() is not None:
        pass
    freed = weakref.ref(decoder)
    gc.disable()
    try:
        del decoder
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("step", [1, 65536])
def test_white_space_after_a_boundary_is_limited(step):
    decoder = Decoder("limit", None)
    with pytest.raises(RequestEntityTooLarge):
        for start in range(0, 100_000, step):
            decoder.receive((b"--limit" + b" " * 100_000)[start : start + step])
            decoder.next_event()


# -- Query strings and urlencoded forms ---------------------------------------------------

URLENCODED = st.lists(
    st.one_of(
        st.sampled_from("&=+%;?/"),
        st.sampled_from(["%20", "%c3%a9", "%C3", "%ff", "%2", "%%41", "%26", "é"]),
        st.text(max_size=3),
    )
).map("".join)


@given(URLENCODED)
def test_a_urlencoded_form_is_read_as_by_the_standard_library(text):
    data = text.encode(errors="replace")
    _, form, _ = FormDataParser().parse(io.BytesIO(data), "application/x-www-form-urlencoded", len(data))
    expected = parse_qsl(data.decode(), keep_blank_values=True, errors="werkzeug.url_quote")
    assert sorted(form.items(multi=True)) == sorted(expected)
    assert [form.getlist(name) for name in form] == [
        [value for name, value in expected if name == wanted] for wanted in dict.fromkeys(name for name, _ in expected)
    ]


@given(st.binary(max_size=3).map(lambda raw: raw.decode("latin1")), URLENCODED)
def test_a_query_is_read_as_by_the_standard_library_or_refused(raw, text):
    query = (raw + text.encode(errors="replace").decode("latin1")).replace("#", "")
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": query}
    request = carboy.Request(environ)
    try:
        expected = parse_qsl(query.encode("latin1").decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        expected = None
    if expected is None or any("\0" in text for pair in expected for text in pair):
        with pytest.raises(BadRequest):
            _ = request.args
    else:
        assert sorted(request.args.items(multi=True)) == sorted(expected)
