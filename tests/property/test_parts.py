"""However the bytes of an upload arrive, its parts are the same, and those that ``request.form`` and ``files`` see."""

import asyncio
import io

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest
from werkzeug.test import EnvironBuilder

import carboy
from carboy import request

app = carboy.Carboy(__name__)

CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r\n", b"\n", b"-", b"--limi", b"--limitless", b"\r", b"x"])).map(b"".join),
)
PARTS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), CONTENT), max_size=5)


def encode(parts):
    pieces = []
    for name, is_file, content in parts:
        filename = '; filename="f.bin"' if is_file else ""
        pieces.append(
            b'--limit\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (name.encode(), filename.encode())
        )
        pieces.append(content + b"\r\n")
    return b"".join(pieces) + b"--limit--\r\n"


class Arriving(io.RawIOBase):
    """A body of which each read gives as much as has arrived."""

    def __init__(self, data, sizes):
        self.source = io.BytesIO(data)
        self.sizes = iter(sizes)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.source.read(min(next(self.sizes, 7), size) if size > 0 else size)


class ArrivingOnLoop(Arriving):
    """The same as an async iterator, as under ASGI and RSGI."""

    def limit_to(self, limit):
        return self

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        chunk = self.source.read(next(self.sizes, 7))
        if not chunk:
            raise StopAsyncIteration
        return chunk


def context(data, body):
    environ = EnvironBuilder(
        "/", method="POST", data=data, content_type="multipart/form-data; boundary=limit"
    ).get_environ()
    ctx = app.request_context(environ)
    if body is not None:
        ctx.request.set_input(body)
        environ["wsgi.input_terminated"] = True
    return ctx


def content_of(parts):
    return [(part.name, part.filename, b"".join(part)) for part in parts]


@given(PARTS, st.lists(st.integers(1, 60)))
def test_any_chunks_give_the_same_parts(parts, sizes):
    data = encode(parts)
    expected = [(name, "f.bin" if is_file else None, content) for name, is_file, content in parts]
    with context(data, Arriving(data, sizes)):
        assert content_of(request.parts()) == expected

    async def read():
        with context(data, ArrivingOnLoop(data, sizes)):
            return [
                (part.name, part.filename, b"".join([chunk async for chunk in part])) async for part in request.parts()
            ]

    assert asyncio.run(read()) == expected
    with context(data, None):
        fields = [(name, value.encode("latin1", "replace")) for name, value in request.form.items(multi=True)]
        files = [(file.name, file.filename, file.read()) for _, file in request.files.items(multi=True)]
    order = {name: number for number, name in enumerate(dict.fromkeys(name for name, _, _ in expected))}
    assert sorted(files, key=lambda file: order[file[0]]) == sorted(
        (part for part in expected if part[1]), key=lambda file: order[file[0]]
    )
    assert len(fields) == len([part for part in expected if not part[1]])


@given(PARTS.filter(bool), st.data())
def test_a_body_that_ends_early_is_no_shorter_one(parts, data):
    whole = encode(parts)
    cut = whole[: data.draw(st.integers(0, len(whole) - len(b"--\r\n") - 1))]
    with context(cut, Arriving(cut, ())):
        try:
            content_of(request.parts())
        except BadRequest:
            pass
        else:
            raise AssertionError("A body without an end was accepted.")
