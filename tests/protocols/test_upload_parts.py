"""Uploads read part by part while they arrive, the same on each protocol."""

import asyncio
import io
import json
import tracemalloc

import pytest
from werkzeug.exceptions import ClientDisconnected

from carboy import request

TYPE = "multipart/form-data; boundary=limit"
HEADERS = [(b"content-type", TYPE.encode())]
KINDS = ["sync", "async"]


def part(name, content, filename=None, headers=""):
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n"


def body(*parts):
    return b"".join(parts) + b"--limit--\r\n"


class Endless(io.RawIOBase):
    """An upload of one file of *size* bytes that is nowhere as a whole; says how much of it was taken."""

    head = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    tail = b"\r\n--limit--\r\n"

    def __init__(self, size):
        self.pending = self.head
        self.left = size
        self.taken = 0
        self.length = len(self.head) + size + len(self.tail)

    def readable(self):
        return True

    def read(self, size=-1):
        if not self.pending:
            if self.left:
                count = min(self.left, 65536)
                self.left -= count
                self.pending = b"x" * count
            else:
                self.pending, self.tail = self.tail, b""
        data, self.pending = (self.pending, b"") if size < 0 else (self.pending[:size], self.pending[size:])
        self.taken += len(data)
        return data

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@pytest.fixture
def post(client):
    def post(path, data, content_type=TYPE):
        return client.post(path, data=data, content_type=content_type)

    return post


@pytest.fixture
def add_view(app):
    """Register a sync and an async view at /sync and /async that hand each part to a function of their kind."""

    def add(sync, asynchronous, **options):
        options = {"stream_body": True, **options}

        @app.post("/sync", **options)
        def sync_view():
            return [sync(part) for part in request.parts()]

        @app.post("/async", **options)
        async def async_view():
            return [await asynchronous(part) async for part in request.parts()]

    return add


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream_body", [True, False])
def test_parts(post, add_view, kind, stream_body):
    def described(part, content):
        return [part.name, part.filename, part.content_type, part.headers.get("X-A"), content.decode()]

    async def asynchronous(part):
        return described(part, b"".join([chunk async for chunk in part]))

    add_view(lambda part: described(part, b"".join(part)), asynchronous, stream_body=stream_body)
    data = body(
        part("a", b"one"),
        part("f", "zwei é".encode(), "a b.txt", "Content-Type: text/plain\r\nX-A: 1\r\n"),
        part("a", b""),
    )
    assert post(f"/{kind}", data).json == [
        ["a", None, None, None, "one"],
        ["f", "a b.txt", "text/plain", "1", "zwei é"],
        ["a", None, None, None, ""],
    ]
    assert post(f"/{kind}", body()).json == []


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_are_not_read_are_skipped(post, add_view, kind):
    async def asynchronous(part):
        return part.name

    add_view(lambda part: part.name, asynchronous)
    data = body(part("a", b"x" * 300_000, "a"), part("b", b""), part("c", b"x" * 100))
    assert post(f"/{kind}", data).json == ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_read(app, post, add_view, kind):
    app.config["MAX_FORM_MEMORY_SIZE"] = 10

    async def asynchronous(part):
        return (await part.read(limit=20 if part.name == "long" else None)).decode()

    add_view(lambda part: part.read(limit=20 if part.name == "long" else None).decode(), asynchronous)
    assert post(f"/{kind}", body(part("a", b"x" * 10), part("long", b"y" * 20))).json == ["x" * 10, "y" * 20]
    assert post(f"/{kind}", body(part("a", b"x" * 11))).status_code == 413
    answer = post(f"/{kind}", body(part("long", b"x" * 21)))
    assert answer.status_code == 413
    assert "The part &#39;long&#39; has more than 20 bytes." in answer.text


@pytest.mark.parametrize("kind", KINDS)
def test_save_to_a_path(post, add_view, kind, tmp_path):
    async def asynchronous(part):
        return await part.save(tmp_path / part.name)

    add_view(lambda part: part.save(str(tmp_path / part.name)), asynchronous)
    content = bytes(range(256)) * 1000
    assert post(f"/{kind}", body(part("a", content, "x"), part("b", b""))).json == [256_000, 0]
    assert (tmp_path / "a").read_bytes() == content
    assert (tmp_path / "b").read_bytes() == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_did_not_arrive_whole_is_removed(post, add_view, kind, tmp_path):
    async def asynchronous(part):
        return await part.save(tmp_path / part.name, limit=100_000)

    add_view(lambda part: part.save(tmp_path / part.name, limit=100_000), asynchronous)
    assert post(f"/{kind}", body(part("a", b"x" * 100_001, "x"))).status_code == 413
    assert post(f"/{kind}", part("a", b"x" * 90_000, "x")).status_code == 400
    assert list(tmp_path.iterdir()) == []


class SlowFile:
    """Takes at most 1,000 bytes of what it is given."""

    def __init__(self):
        self.content = b""

    def write(self, data):
        self.content += data[:1000]
        return min(len(data), 1000)


class AsyncFile:
    def __init__(self):
        self.content = b""

    async def write(self, data):
        await asyncio.sleep(0)
        self.content += data


class Awaitable(AsyncFile):
    """Not told apart from a sync one until it is called."""

    def write(self, data):
        return super().write(data)


class Writer:
    """Like asyncio.StreamWriter."""

    def __init__(self):
        self.content = b""
        self.drained = 0

    def write(self, data):
        asyncio.get_running_loop()
        self.content += data

    async def drain(self):
        self.drained = len(self.content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [io.BytesIO, SlowFile, AsyncFile, Awaitable, Writer])
def test_save_to_an_object(post, add_view, kind, target):
    targets = []

    def new_target():
        targets.append(target())
        return targets[-1]

    async def asynchronous(part):
        return await part.save(new_target())

    add_view(lambda part: part.save(new_target()), asynchronous)
    content = bytes(range(256)) * 500
    assert post(f"/{kind}", body(part("a", content, "x"))).json == [len(content)]
    (saved,) = targets
    assert (saved.getvalue() if target is io.BytesIO else saved.content) == content
    assert target is not Writer or saved.drained == len(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_is_gone_when_the_next_was_asked_for(app, post, kind):
    @app.post("/sync", stream_body=True)
    def sync():
        parts = request.parts()
        first, second = next(parts), next(parts)
        with pytest.raises(RuntimeError, match="<Part 'a' file 'x'> is gone"):
            first.read()
        return second.read()

    @app.post("/async", stream_body=True)
    async def asynchronous():
        parts = request.parts()
        assert request.parts() is parts
        first, second = await anext(parts), await anext(parts)
        with pytest.raises(RuntimeError, match="<Part 'a' file 'x'> is gone"):
            await first.read()
        return await second.read()

    assert post(f"/{kind}", body(part("a", b"1", "x"), part("b", b"2"))).data == b"2"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n", 400),
        (b"nothing of the kind", 400),
        (part("a", b"x"), 400),
        (part("a", b"x")[:-5], 400),
        (b"--limit\r\nContent-Disposition: form-da", 400),
        (b"--limit\r\nX-A: 1\r\n\r\nx\r\n--limit--", 400),
        (b"--limit\r\nContent-Disposition: form-data\r\n\r\nx\r\n--limit--", 400),
        (b'--limit\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--limit--', 400),
        (part("a", b"x", headers=f"X-A: {'x' * 20_000}\r\n"), 413),
        (b"x" * 40_000 + body(), 413),
        (body(*[part("a", b"x")] * 6), 413),
    ],
)
def test_what_is_refused(app, post, add_view, kind, data, status):
    app.config["MAX_FORM_PARTS"] = 5

    async def asynchronous(part):
        return await part.save(io.BytesIO())

    add_view(lambda part: part.save(io.BytesIO()), asynchronous)
    assert post(f"/{kind}", data).status_code == status


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/json", 415), ("multipart/form-data", 400), (f"multipart/form-data; boundary={'x' * 101}", 400)],
)
def test_body_of_another_kind(post, add_view, kind, content_type, status):
    async def asynchronous(part):
        return part.name

    add_view(lambda part: part.name, asynchronous)
    assert post(f"/{kind}", body(part("a", b"x")), content_type=content_type).status_code == status


def test_parts_after_the_form(app, post):
    @app.post("/")
    def index():
        with pytest.raises(RuntimeError, match=r"request\.form"):
            request.parts()
        return request.form["a"]

    @app.route("/", methods=["PUT"])
    def late():
        assert request.form["a"] == "x"
        with pytest.raises(RuntimeError, match="too late"):
            request.parts()
        return "late"

    app.view_functions["index"] = late
    assert post("/", body(part("a", b"x"))).text == "late"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("announced", [True, False])
def test_max_content_length_is_counted_as_it_arrives(app, exchange, add_view, kind, announced):
    app.config["MAX_CONTENT_LENGTH"] = 100_000

    async def asynchronous(part):
        return await part.save(io.BytesIO())

    add_view(lambda part: part.save(io.BytesIO()), asynchronous)
    data = body(part("a", b"x" * 200_000, "x"))
    answer = exchange("POST", f"/{kind}".encode(), headers=HEADERS, body=data, length="right" if announced else None)
    assert answer.status == 413


@pytest.mark.parametrize("kind", KINDS)
def test_client_that_leaves_in_the_middle(app, exchange, add_view, kind, tmp_path):
    seen = []

    @app.teardown_request
    def torn_down(error):
        seen.append(type(error))

    @app.errorhandler(ClientDisconnected)
    def left(error):
        seen.append("left")
        return "nobody reads this", 400

    async def asynchronous(part):
        return await part.save(tmp_path / "a")

    add_view(lambda part: part.save(tmp_path / "a"), asynchronous)
    data = part("a", b"x" * 100_000, "x")
    exchange("POST", f"/{kind}".encode(), headers=HEADERS, body=data, length=len(data) + 50_000)
    assert seen == ["left", type(None)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_the_same_for_any_size(exchange, add_view, kind):
    """200 MB, of which never as much as 2 MB are there."""
    size = 200_000_000

    def sync(part):
        return sum(map(len, part))

    async def asynchronous(part):
        return sum([len(chunk) async for chunk in part])

    add_view(sync, asynchronous)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = exchange("POST", f"/{kind}".encode(), headers=HEADERS, body=Endless(size))
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert json.loads(answer.body) == [size]
    assert peak < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_view_slows_the_client(exchange, add_view, kind):
    upload = Endless(20_000_000)
    ahead = []

    def sync(part):
        total = 0
        for chunk in part:
            total += len(chunk)
            ahead.append(upload.taken - total)
        return total

    async def asynchronous(part):
        total = 0
        async for chunk in part:
            total += len(chunk)
            await asyncio.sleep(0)
            ahead.append(upload.taken - total)
        return total

    add_view(sync, asynchronous)
    answer = exchange("POST", f"/{kind}".encode(), headers=HEADERS, body=upload)
    assert json.loads(answer.body) == [20_000_000]
    assert max(ahead) < 300_000
