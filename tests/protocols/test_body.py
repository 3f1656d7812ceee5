"""The request body: large, limited, streamed, cut off; the same on each protocol."""

import io

import pytest
from werkzeug.datastructures import FileStorage, Headers

import carboy
from carboy import request


def test_large_upload(app, client):
    @app.post("/")
    async def upload():
        return {name: len(file.read()) for name, file in request.files.items()}

    files = {"a": (io.BytesIO(b"a" * 3_000_000), "a.bin"), "b": (io.BytesIO(b"b" * 2_000_000), "b.bin")}
    with client.post("/", data=files) as response:
        assert response.json == {"a": 3_000_000, "b": 2_000_000}


def test_upload_is_saved_byte_for_byte(app, client, tmp_path):
    data = bytes(range(256)) * 10_000

    @app.post("/")
    def upload():
        request.files["file"].save(tmp_path / "saved")
        return ""

    with client.post("/", data={"file": (io.BytesIO(data), "a.bin")}):
        assert (tmp_path / "saved").read_bytes() == data


@pytest.mark.parametrize(("size", "on_disk"), [(0, False), (1024 * 1024, False), (1024 * 1024 + 1, True)])
def test_a_large_file_is_on_disk(app, client, size, on_disk):
    @app.post("/")
    def upload():
        file = request.files["file"]
        return {"disk": file.stream._rolled, "size": file.seek(0, 2), "start": file.seek(0), "read": len(file.read())}

    with client.post("/", data={"file": (io.BytesIO(b"x" * size), "a.bin")}) as response:
        assert response.json == {"disk": on_disk, "size": size, "start": 0, "read": size}


def test_many_large_files_are_on_disk(app, client):
    """So that a form cannot fill the memory by their number."""

    @app.post("/")
    def upload():
        return [file.stream._rolled for file in request.files.getlist("file")]

    sizes = 500 * 1024, 500 * 1024 + 1, 1024 * 1024, 1024 * 1024
    with client.post("/", data={"file": [(io.BytesIO(b"x" * size), "a.bin") for size in sizes]}) as response:
        assert response.json == [False, True, True, True]


class FormlessRequest(carboy.Request):
    want_form_data_parsed = False


def test_a_request_class_says_whether_there_is_a_form(app, client):
    app.request_class = FormlessRequest
    app.add_url_rule("/", "index", lambda: [request.form, request.get_data(as_text=True)], methods=["POST"])
    assert client.post("/", data={"a": "1"}).json == [{}, "a=1"]


class Kept(io.BytesIO):
    """Where an application wants its uploads to be."""


class KeepingRequest(carboy.Request):
    def _get_file_stream(self, total_content_length, content_type, filename=None, content_length=None):
        kept = Kept()
        kept.asked = total_content_length > 300_000, content_type, filename, content_length
        return kept


def test_a_request_class_says_where_files_go(app, client):
    app.request_class = KeepingRequest

    @app.post("/")
    def upload():
        file = request.files["file"]
        return [type(file.stream) is Kept, *file.stream.asked, len(file.read())]

    headers = {"Content-Length": "300000"}
    file = FileStorage(io.BytesIO(b"x" * 300_000), "a.txt", content_type="text/plain", headers=Headers(headers))
    with client.post("/", data={"file": file}) as response:
        assert response.json == [True, True, "text/plain", "a.txt", 300_000, 300_000]


@pytest.mark.parametrize("view_async", [False, True])
def test_nothing_but_the_body_is_read_for_it(app, client, protocol, view_async):
    """Under ASGI and RSGI no WSGI environ is made for a form, JSON, an upload or the query."""

    def read():
        seen = [request.args["q"], request.form.get("a"), request.get_json(silent=True), len(request.files)]
        return [*seen, request.environ_is_made]

    async def read_async():
        return read()

    app.add_url_rule("/", view_func=read_async if view_async else read, methods=["POST"], endpoint="read")
    made = protocol == "wsgi"
    assert client.post("/?q=1", data={"a": "b"}).json == ["1", "b", None, 0, made]
    assert client.post("/?q=%C3%A9", json=[1]).json == ["é", None, [1], 0, made]
    with client.post("/?q=1", data={"a": "b", "file": (io.BytesIO(b"x"), "x")}) as response:
        assert response.json == ["1", "b", None, 1, made]


def test_a_streams_end_is_the_end_of_the_body(app, client):
    """What follows, on a connection that stays open, is another request's."""

    @app.post("/")
    def read():
        stream = request.stream
        return [len(part) for part in (stream.read(2), stream.read(0), stream.read(), stream.read(1), stream.read())]

    assert client.post("/", data=b"x" * 100_000).json == [2, 0, 99_998, 0, 0]


def test_body_in_chunks(app, exchange):
    app.add_url_rule("/", "index", lambda: request.get_data(), methods=["POST"])
    assert exchange("POST", body=b"x" * 200_000, length=None).body == b"x" * 200_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/x-www-form-urlencoded", b"a=1&b=2"),
        (b"application/json", b'{"a": "1", "b": "2"}'),
        (
            b"multipart/form-data; boundary=limit",
            b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
            b'--limit\r\nContent-Disposition: form-data; name="b"\r\n\r\n2\r\n--limit--\r\n',
        ),
    ],
)
def test_parsed_body_in_chunks(app, exchange, content_type, body):
    app.add_url_rule("/", "index", lambda: request.get_json(silent=True) or request.form.to_dict(), methods=["POST"])
    answer = exchange("POST", body=body, length=None, headers=[(b"content-type", content_type)])
    assert answer.body == b'{"a":"1","b":"2"}\n'


@pytest.mark.parametrize("view_async", [False, True])
def test_announced_body_over_the_limit(app, client, view_async):
    def sync_view():
        return request.get_data()

    async def async_view():
        return request.get_data()

    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.add_url_rule("/", "index", async_view if view_async else sync_view, methods=["POST"])
    assert client.post("/", data=b"x" * 1000).status_code == 200
    assert client.post("/", data=b"x" * 1001).status_code == 413


def test_body_in_chunks_over_the_limit(app, exchange):
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.add_url_rule("/", "index", lambda: request.get_data(), methods=["POST"])
    assert exchange("POST", body=b"x" * 1000, length=None).status == 200
    assert exchange("POST", body=b"x" * 500_000, length=None).status == 413


def test_limit_of_one_request(app, client):
    @app.post("/")
    def index():
        request.max_content_length = 10
        return request.get_data()

    assert client.post("/", data=b"x" * 10).status_code == 200
    assert client.post("/", data=b"x" * 11).status_code == 413


def test_413_has_its_handler_and_hooks(app, client):
    app.config["MAX_CONTENT_LENGTH"] = 10
    calls = []
    app.register_error_handler(413, lambda error: ("too big", 413))
    app.teardown_request(lambda error: calls.append("teardown"))
    app.add_url_rule("/", "index", lambda: request.get_data(), methods=["POST"])
    response = client.post("/", data=b"x" * 11)
    assert (response.status_code, response.text) == (413, "too big")
    assert calls == ["teardown"]


def test_form_limits(app, client):
    app.config.update(MAX_FORM_MEMORY_SIZE=1000, MAX_FORM_PARTS=2, MAX_FORM_FIELDS=3)
    app.add_url_rule("/", "index", lambda: request.form.to_dict(), methods=["POST"])
    multipart = {"content_type": "multipart/form-data"}
    assert client.post("/", data={"a": "x" * 10}, **multipart).status_code == 200
    assert client.post("/", data={"a": "x" * 1001}, **multipart).status_code == 413
    assert client.post("/", data={"a": "1", "b": "2", "c": "3"}, **multipart).status_code == 413
    assert client.post("/", data={"a": ["1", "2", "3"]}).status_code == 200
    assert client.post("/", data={"a": ["1", "2", "3", "4"]}).status_code == 413


# stream_body=True


def test_async_view_reads_as_it_arrives(app, client):
    @app.post("/", stream_body=True)
    async def upload():
        return {"size": sum([len(chunk) async for chunk in request.stream])}

    assert client.post("/", data=b"x" * 300_000).json == {"size": 300_000}
    assert client.post("/").json == {"size": 0}


def test_sync_view_reads_as_it_arrives(app, client):
    @app.post("/", stream_body=True)
    def upload():
        stream = request.stream
        parts = [stream.read(10), stream.read(100_000), stream.read()]
        return [len(part) for part in parts] + [len(stream.read(1))]

    assert client.post("/", data=b"x" * 300_000).json == [10, 100_000, 199_990, 0]


def test_sync_accessors_work_on_a_streamed_body(app, client):
    @app.post("/form", stream_body=True)
    def form():
        return {"a": request.form["a"], "size": len(request.files["file"].read())}

    @app.post("/json", stream_body=True)
    def json():
        return request.get_json()

    with client.post("/form", data={"a": "1", "file": (io.BytesIO(b"x" * 1_000_000), "a.bin")}) as response:
        assert response.json == {"a": "1", "size": 1_000_000}
    assert client.post("/json", json=[1]).json == [1]


class Counted(io.BytesIO):
    """Knows how much of it has been read."""

    def read(self, size=-1):
        data = super().read(size)
        self.taken = self.tell()
        return data


@pytest.mark.parametrize("view_async", [False, True])
def test_streamed_body_is_taken_no_faster_than_it_is_read(app, client, view_async):
    body = Counted(b"x" * 10_000_000)
    taken = []

    @app.post("/async", stream_body=True)
    async def async_upload():
        taken.extend([body.taken async for _ in request.stream])
        return ""

    @app.post("/sync", stream_body=True)
    def sync_upload():
        while request.stream.read(65536):
            taken.append(body.taken)
        return ""

    path = "/async" if view_async else "/sync"
    client.post(path, input_stream=body, content_length=10_000_000)
    assert taken[0] < 1_000_000
    assert taken[-1] == 10_000_000


@pytest.mark.parametrize("view_async", [False, True])
def test_limit_on_a_streamed_body_counts_received_bytes(app, exchange, view_async):
    app.config["MAX_CONTENT_LENGTH"] = 1000

    async def async_upload():
        return {"size": sum([len(chunk) async for chunk in request.stream])}

    def sync_upload():
        return {"size": len(request.stream.read())}

    view = async_upload if view_async else sync_upload
    app.add_url_rule("/", "upload", view, methods=["POST"], stream_body=True)
    assert exchange("POST", body=b"x" * 1000, length=None).status == 200
    assert exchange("POST", body=b"x" * 100_000, length=None).status == 413
    assert exchange("POST", body=b"x" * 100_000).status == 413


def test_streamed_body_left_unread(app, client):
    @app.post("/", stream_body=True)
    async def upload():
        async for _ in request.stream:
            return "enough"

    assert client.post("/", data=b"x" * 1_000_000).text == "enough"


# The client leaves half-way through the upload


@pytest.mark.parametrize("view_async", [False, True])
@pytest.mark.parametrize("stream_body", [False, True])
def test_cut_off_upload_is_a_client_error(app, exchange, view_async, stream_body):
    async def async_view():
        return str(len(request.get_data())) if not stream_body else str([len(c) async for c in request.stream])

    def sync_view():
        return str(len(request.stream.read()))

    ended = []
    app.teardown_request(lambda error: ended.append(error))
    view = async_view if view_async else sync_view
    options = {"stream_body": True} if stream_body else {}
    app.add_url_rule("/", "upload", view, methods=["POST"], **options)
    answer = exchange("POST", body=b"x" * 100, length=1000)
    assert answer.status == 400
    assert b"100" not in answer.body
    assert len(ended) == 1


def test_session_and_form_survive_a_redirect_after_upload(app, client):
    @app.post("/")
    def upload():
        carboy.session["size"] = len(request.files["file"].read())
        return carboy.redirect("/size")

    app.add_url_rule("/size", "size", lambda: str(carboy.session["size"]))
    with client.post("/", data={"file": (io.BytesIO(b"x" * 10), "a")}, follow_redirects=True) as response:
        assert response.text == "10"
