"""Files as responses: types, caching, conditional and range answers, directories."""

import datetime
import io
import os
from contextlib import closing

import pytest
import werkzeug.utils
from werkzeug.exceptions import NotFound

from carboy import Carboy, request, send_file, send_from_directory

TEXT = b"0123456789" * 10


@pytest.fixture
def app(tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "text.txt").write_bytes(TEXT)
    (tmp_path / "static" / "line\r\nbreak.txt").write_bytes(b"named by an attacker")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    app = Carboy("carboy_test", root_path=str(tmp_path))
    app.testing = True
    return app


def get(client, path="/static/text.txt", **headers):
    with client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()}) as response:
        return response.status_code, response.headers, response.get_data()


def test_static_file(client):
    status, headers, body = get(client)
    assert (status, body) == (200, TEXT)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == "100"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Content-Disposition"] == "inline; filename=text.txt"
    assert all(name in headers for name in ("ETag", "Last-Modified", "Date"))


def test_head(client):
    with client.head("/static/text.txt") as response:
        assert (response.status_code, response.headers["Content-Length"], response.data) == (200, "100", b"")


@pytest.mark.parametrize(
    "path",
    [
        "missing.txt",
        "",
        ".",
        "..",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "..%5csecret.txt",
        "%2fetc/passwd",
        "text.txt%00",
        "text.txt%0a",
        "line%0d%0abreak.txt",
        "a%00b",
        "%ff",
        "x" * 5_000,
    ],
    ids=lambda path: path[:20],
)
def test_not_a_static_file(client, path):
    status, _headers, body = get(client, f"/static/{path}")
    assert status in {308, 400, 404}
    assert b"secret" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("name", ["a\nb", "a\r\nX-Evil: yes"])
def test_line_break_in_the_name(app, client, name):
    app.add_url_rule("/", "index", lambda: send_file(io.BytesIO(TEXT), "text/plain", True, name))
    status, headers, _body = get(client, "/")
    assert status == 400
    assert "X-Evil" not in headers


def test_conditional(client):
    _status, headers, _body = get(client)
    assert get(client, If_None_Match=headers["ETag"])[0] == 304
    assert get(client, If_Modified_Since=headers["Last-Modified"])[0] == 304
    status, headers, body = get(client, If_None_Match='"other"')
    assert (status, body) == (200, TEXT)


@pytest.mark.parametrize(
    ("requested", "status", "content_range", "body"),
    [
        ("bytes=0-4", 206, "bytes 0-4/100", b"01234"),
        ("bytes=95-", 206, "bytes 95-99/100", b"56789"),
        ("bytes=-5", 206, "bytes 95-99/100", b"56789"),
        ("bytes=90-200", 206, "bytes 90-99/100", b"0123456789"),
        ("bytes=100-", 416, "bytes */100", None),
        ("bytes=99999999999999999999-", 416, "bytes */100", None),
    ],
)
def test_range(client, requested, status, content_range, body):
    got = get(client, Range=requested)
    assert (got[0], got[1]["Content-Range"]) == (status, content_range)

    if body is not None:
        assert got[2] == body
        assert got[1]["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "requested",
    [
        "bytes=-99999999999",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 2000, 2)),
        "bytes=" + "0-0," * 1000,
        "bytes=5-1",
        "bytes=-",
        "bytes=-0",
        "bytes=a-b",
        "bytes=0-" + "9" * 5_000,
        "items=0-4",
        "bytes",
        "=",
    ],
    ids=[
        "long suffix",
        "1000 ranges",
        "same range",
        "reversed",
        "dash",
        "zero",
        "letters",
        "digits",
        "unit",
        "word",
        "=",
    ],
)
def test_odd_ranges_get_clean_answers(client, requested):
    status, headers, body = get(client, Range=requested)
    assert status in {200, 206, 416}

    if status == 416:
        assert headers["Content-Range"] == "bytes */100"
    else:
        assert len(body) == int(headers["Content-Length"])
        assert TEXT.endswith(body)


def test_if_range(client):
    etag = get(client)[1]["ETag"]
    assert get(client, Range="bytes=0-4", If_Range=etag)[0] == 206
    assert get(client, Range="bytes=0-4", If_Range='"other"')[0] == 200


def test_max_age(app, client):
    app.add_url_rule("/own", view_func=lambda: send_file("static/text.txt", max_age=5), endpoint="own")
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 3600
    assert get(client)[1]["Cache-Control"] == "public, max-age=3600"
    app.get_send_file_max_age = lambda name: 10 if name.endswith(".txt") else 20
    assert get(client)[1]["Cache-Control"] == "public, max-age=10"
    assert get(client, "/own")[1]["Cache-Control"] == "public, max-age=5"


def test_send_file(app, client, tmp_path):
    """A relative path counts from the application's root path."""
    app.add_url_rule("/path", "path", lambda: send_file("static/text.txt", as_attachment=True, download_name="ü.bin"))
    app.add_url_rule("/pathlike", "pathlike", lambda: send_file(tmp_path / "secret.txt", mimetype="x/y", etag=False))
    _status, headers, body = get(client, "/path")
    assert body == TEXT
    assert headers["Content-Disposition"] == "attachment; filename=u.bin; filename*=UTF-8''%C3%BC.bin"
    _status, headers, body = get(client, "/pathlike")
    assert (headers["Content-Type"], body, "ETag" in headers) == ("x/y", b"secret", False)


def test_send_open_file(app, client):
    app.add_url_rule(
        "/", "index", lambda: send_file(io.BytesIO(TEXT), download_name="a.txt", etag="x", last_modified=0)
    )
    status, headers, body = get(client, "/", Range="bytes=1-2")
    assert (status, body, headers["ETag"]) == (206, b"12", '"x"')
    assert headers["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("file", "error"), [(io.BytesIO(b""), TypeError), (io.StringIO(""), ValueError), ("missing", FileNotFoundError)]
)
def test_send_file_errors(app, file, error):
    with app.test_request_context(), pytest.raises(error):
        send_file(file, mimetype="text/plain" if error is ValueError else None)


def test_opened_file_is_closed(app, client):
    file = io.BytesIO(TEXT)
    app.add_url_rule("/", "index", lambda: send_file(file, mimetype="text/plain"))
    assert get(client, "/")[2] == TEXT
    assert file.closed


def test_send_from_directory(app, client):
    app.add_url_rule("/<path:name>", "get", lambda name: send_from_directory("static", name, as_attachment=True))
    status, headers, body = get(client, "/text.txt")
    assert (status, body, headers["Content-Disposition"]) == (200, TEXT, "attachment; filename=text.txt")
    assert get(client, "/missing")[0] == 404


@pytest.mark.parametrize("path", ["../secret.txt", "a/../../secret.txt", "/etc/passwd", "missing", ".", "", "\0"])
def test_send_from_directory_stays_inside(app, path):
    with app.test_request_context(), pytest.raises(NotFound):
        send_from_directory("static", path)


def test_send_from_directory_takes_pathlikes(app, tmp_path):
    with app.test_request_context():
        response = send_from_directory(tmp_path / "static", os.fspath("text.txt"))
        assert response.content_length == 100
        response.close()


def test_x_sendfile(app, protocol, tmp_path):
    """The body is left to the server in front, so what the lint says of its length does not hold."""
    app.config["USE_X_SENDFILE"] = True
    _status, headers, body = get(app.test_client(protocol=protocol))
    assert (headers["X-Sendfile"], body) == (str(tmp_path / "static" / "text.txt"), b"")


def test_needs_a_request(app):
    with app.app_context(), pytest.raises(RuntimeError, match="outside of request context"):
        send_file("static/text.txt")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"as_attachment": True, "download_name": "é.tar.gz"},
        {"mimetype": "text/x-a", "etag": "tag", "last_modified": 0},
        {"etag": False, "max_age": 60, "last_modified": datetime.datetime(2020, 1, 1)},
        {"max_age": lambda path: 0 if path.endswith(".css.gz") else None},
        {"conditional": False},
    ],
    ids=str,
)
def test_the_headers_are_werkzeugs_each_time(app, tmp_path, options):
    path = tmp_path / "a.css.gz"
    for content in b"one", b"three":
        path.write_bytes(content)
        for _ in range(2):
            with app.test_request_context():
                environ = request.environ
                expected = werkzeug.utils.send_file(path, environ, **options)
                response = send_file(path, **options)
                assert times_apart(response.headers) == times_apart(expected.headers)
                assert (response.status, b"".join(response.response)) == (expected.status, content)
                expected.close()
                response.close()


def times_apart(headers):
    """The headers in order, those that say when they were made only by name."""
    return [(name, None if name in ("Date", "Expires") else value) for name, value in headers]


def test_the_times_of_a_file_are_those_of_the_request(app, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a")
    dates = []
    for age in 10, 10, 20:
        with app.test_request_context(), closing(send_file(path, max_age=age)) as response:
            assert (response.expires - response.date).total_seconds() == age
            dates.append(response.date)
    assert dates == sorted(dates)
    assert datetime.datetime.now(datetime.UTC) - dates[-1] < datetime.timedelta(minutes=1)
