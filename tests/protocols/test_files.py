"""Static files, downloads, conditional and range answers, the same on each protocol."""

import io

import pytest

import carboy

DATA = bytes(range(256)) * 40


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def download(request, app, file):
    """The path of a view that sends the file."""

    def sync_view():
        return carboy.send_file(file)

    async def async_view():
        return carboy.send_file(file)

    app.add_url_rule("/file", "file", async_view if request.param else sync_view)
    return "/file"


def test_send_file(client, download):
    with client.get(download) as response:
        assert response.data == DATA
        assert response.content_length == len(DATA)
        assert response.mimetype == "application/octet-stream"
        assert response.headers["Accept-Ranges"] == "bytes"


def test_head_of_a_file(client, download):
    with client.head(download) as response:
        assert (response.data, response.content_length) == (b"", len(DATA))


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        ("bytes=10200-99999", 10200, len(DATA)),
    ],
)
def test_range(client, download, value, start, stop):
    with client.get(download, headers={"Range": value}) as response:
        assert response.status_code == 206
        assert response.data == DATA[start:stop]
        assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
        assert response.content_length == stop - start


def test_range_that_cannot_be_met(client, download):
    with client.get(download, headers={"Range": "bytes=99999-"}) as response:
        assert response.status_code == 416


def test_conditional_requests(client, download):
    with client.get(download) as first:
        etag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    for headers in ({"If-None-Match": etag}, {"If-Modified-Since": modified}):
        with client.get(download, headers=headers) as response:
            assert (response.status_code, response.data) == (304, b"")
    with client.get(download, headers={"If-None-Match": '"other"'}) as response:
        assert response.status_code == 200


def test_download_name_and_in_memory_file(app, client):
    @app.get("/")
    async def index():
        return carboy.send_file(io.BytesIO(b"text"), download_name="é.txt", as_attachment=True)

    with client.get("/") as response:
        assert response.data == b"text"
        assert "filename*=UTF-8''%C3%A9.txt" in response.headers["Content-Disposition"]


def test_static_folder(protocol, file):
    app = carboy.Flask("carboy_test", static_folder=str(file.parent), static_url_path="/static")
    client = app.test_client(protocol=protocol, lint=True)
    with client.get("/static/data.bin") as response:
        assert response.data == DATA
    for path in ("/static/none", "/static/../conftest.py", "/static/%2e%2e/x", "/static/a%00b"):
        with client.get(path) as response:
            assert 400 <= response.status_code < 500


def test_send_from_directory(app, client, file):
    app.add_url_rule("/<path:name>", "get", lambda name: carboy.send_from_directory(file.parent, name))
    with client.get("/data.bin") as response:
        assert response.data == DATA
    assert client.get("/none").status_code == 404


def test_file_is_closed_after_the_answer(app, client, file):
    opened = []

    @app.get("/")
    def index():
        opened.append(file.open("rb"))
        return carboy.send_file(opened[0], mimetype="text/plain")

    with client.get("/") as response:
        assert response.data == DATA
    assert opened[0].closed
