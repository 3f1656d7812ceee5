"""Hostile and broken input gets a clear 4xx on each protocol, in time linear in its size."""

import io
import re
import time

import pytest

import carboy
from carboy import request

MULTIPART = (b"content-type", b"multipart/form-data; boundary=limit")
URLENCODED = (b"content-type", b"application/x-www-form-urlencoded")
JSON = (b"content-type", b"application/json")


@pytest.fixture
def app(app):
    """Answers as in production: what is not handled is a 500."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


@pytest.fixture(autouse=True)
def nothing_is_a_server_error(caplog):
    yield
    assert "Exception on" not in caplog.text


def is_client_error(answer):
    return 400 <= answer.status < 500


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def add(request, app):
    """Registers a function as a sync or an async view."""

    def add(function, rule="/", **options):
        async def async_view(**args):
            return function(**args)

        app.add_url_rule(rule, "view", async_view if request.param else function, **options)

    return add


# The target and the headers of the request


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a/b", b"user@host", b"a\x00b", b"a<b", b"a:b:c", b"[::1", b"a,b", b"a#b", b"a?b", b"host:port"],
)
def test_invalid_host(app, exchange, add, host):
    add(lambda: request.url)
    assert exchange(host=host).status == 400


def test_duplicate_host(app, exchange, add):
    add(lambda: request.host)
    assert exchange(headers=[(b"host", b"other.example")]).status == 400


def test_untrusted_host(app, exchange, add):
    app.config["TRUSTED_HOSTS"] = ["example.com"]
    add(lambda: request.host)
    assert exchange(host=b"example.com").status == 200
    assert exchange(host=b"evil.example").status == 400


@pytest.mark.parametrize("path", [b"/a%00b", b"/%ff", b"/%c3", b"/%ed%a0%80", b"/%c0%af", b"/%00"])
def test_nul_and_invalid_utf8_in_the_path(app, exchange, add, path):
    add(lambda name: name, "/<path:name>")
    assert is_client_error(exchange(path=path))


@pytest.mark.parametrize("query", [b"q=%00", b"q=%ff", b"%ff=1", b"q=%ed%a0%80", b"q=a\x00b"])
def test_nul_and_invalid_utf8_in_the_query(app, exchange, add, query):
    add(lambda: request.args["q"])
    assert exchange(query=query).status == 400


@pytest.mark.parametrize("protocol", ["wsgi", "asgi"])
def test_raw_bytes_in_the_query_and_in_host(app, exchange, add):
    """An RSGI server refuses them itself: they have no place in its strings."""
    add(lambda: [request.args["q"], request.host])
    assert exchange(query=b"q=\xff").status == 400
    assert exchange(query=b"q=1", host="é".encode()).status == 400


def test_many_query_fields(app, exchange, add):
    add(lambda: str(len(request.args)))
    answer = exchange(query=b"&".join(b"a%d=1" % n for n in range(200_000)))
    assert answer.status < 500


@pytest.mark.parametrize("digits", ["9" * 5_000, "-" + "9" * 5_000, "0" * 5_000 + "1", "٣" * 5_000])
def test_huge_integer_in_the_path(app, exchange, add, digits):
    add(lambda number: str(number), "/<int(signed=True):number>")
    answer = exchange(path=b"/" + digits.encode())
    assert answer.status == 404


@pytest.mark.parametrize("rule", ["/<float:number>", "/<float(signed=True):number>"])
def test_huge_float_in_the_path(app, exchange, add, rule):
    add(lambda number: str(number), rule)
    assert exchange(path=b"/" + b"9" * 5_000 + b".0").status < 500


def test_huge_integer_in_the_query(app, exchange, add):
    add(lambda: str(request.args.get("n", "none", type=int)))
    assert exchange(query=b"n=" + b"9" * 5_000).body == b"none"


def test_strange_cookies(app, exchange, add):
    add(lambda: {"session": dict(carboy.session), "n": len(request.cookies)})
    long = [b"a=" + b"x" * 100_000, b"session=" + b"." * 10_000]
    for value in [b"session=", b"session=a.b.c", b"session=\xff\xfe", b"=;;;=", *long]:
        assert exchange(headers=[(b"cookie", value)]).status < 500


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"\xff\xfe; charset=\xff"),
        (b"content-type", b"text/plain; charset=no-such-charset"),
        (b"accept", b"q=" * 10_000),
        (b"authorization", b"Basic \xff"),
        (b"authorization", b"Basic " + b"=" * 1000),
        (b"if-modified-since", b"not a date \xff"),
        (b"if-none-match", b'"' * 1001),
        (b"range", b"bytes=\xff-"),
        (b"accept-language", b";q=nan,de;q=inf"),
        (b"x-a", b"\xff" * 1000),
    ],
)
def test_strange_headers(app, exchange, add, header):
    def view():
        return {
            "type": request.mimetype_params,
            "accept": len(request.accept_mimetypes),
            "authorization": request.authorization is None,
            "since": request.if_modified_since is None,
            "match": len(request.if_none_match.as_set()),
            "range": request.range is None,
            "language": request.accept_languages.best_match(["de"]),
            "text": len(request.get_data(as_text=True)),
            "header": len(request.headers.get("X-A", "")),
        }

    add(view, methods=["POST"])
    assert exchange("POST", headers=[header], body=b"\xff").status < 500


# The headers of the answer, made from the request


def changed(method, *args, **kwargs):
    response = carboy.Response("")
    target = response if hasattr(response, method) else response.headers
    getattr(target, method)(*args, **kwargs)
    return response


ANSWERS = {
    "dict": lambda text: ("", {"X-A": text}),
    "list": lambda text: ("", 200, [("X-A", text)]),
    "name": lambda text: ("", {text: "a"}),
    "headers of the class": lambda text: carboy.Response("", headers={"X-A": text}),
    "content type": lambda text: carboy.Response("", content_type=text),
    "mimetype": lambda text: carboy.Response("", mimetype=text),
    "stream": lambda text: carboy.Response(iter(["a"]), headers={"X-A": text}),
    "location": lambda text: carboy.Response("", 302, {"Location": text}),
    "headers.add": lambda text: changed("add", "X-A", text),
    "headers[]": lambda text: changed("__setitem__", "X-A", text),
    "headers.setlist": lambda text: changed("setlist", "X-A", [text]),
    "cookie path": lambda text: changed("set_cookie", "a", path=text),
    "cookie domain": lambda text: changed("set_cookie", "a", domain=text),
    "cookie samesite": lambda text: changed("set_cookie", "a", samesite=text),
    "cookie name": lambda text: changed("set_cookie", text),
    "cookie value": lambda text: changed("set_cookie", "a", text),
    "redirect": lambda text: carboy.redirect(text),
    "redirect query": lambda text: carboy.redirect(f"/next?{text}"),
    "redirect host": lambda text: carboy.redirect(f"//{text}/"),
    "download name": lambda text: carboy.send_file(io.BytesIO(), "text/plain", True, text),
}


@pytest.mark.parametrize("control", ["\r", "\n", "\r\n", "\0"], ids=["CR", "LF", "CRLF", "NUL"])
@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
def test_control_character_for_a_header_of_the_answer(app, exchange, add, make, control):
    """It is refused, or quoted; never sent."""
    add(lambda: make(f"value{control}x-evil: yes"))
    answer = exchange()
    assert answer.status in (200, 302, 400)
    assert "x-evil" not in answer.headers
    assert not any(re.search("[\r\n\0]", name + value) for name, value in answer.headers)


# The body


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" + b"9" * 5_000 + b"]",
        b'{"n": -' + b"9" * 5_000 + b"}",
        b"\xff",
        b'"\xff"',
        b"{",
        b"",
        b"\0",
        b'{"a": 1}}',
    ],
    ids=lambda body: f"{body[:6]!r}-{len(body)}",
)
def test_bad_json(app, exchange, add, body):
    add(lambda: {"ok": request.get_json() is None}, methods=["POST"])
    assert exchange("POST", headers=[JSON], body=body).status == 400


def test_too_many_urlencoded_fields(app, exchange, add):
    add(lambda: str(len(request.form)), methods=["POST"])
    for body in (b"a=1&" * 200_000, b"a&" * 200_000, b"&".join(b"a%d=1" % n for n in range(200_000))):
        assert exchange("POST", headers=[URLENCODED], body=body).status == 413


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"a=%00", b"%ff=a"])
def test_bad_bytes_in_a_form(app, exchange, add, body):
    add(lambda: request.form.get("a", ""), methods=["POST"])
    assert exchange("POST", headers=[URLENCODED], body=body).status < 500


def part(content=b"x", name=b"a", extra=b""):
    return b'--limit\r\nContent-Disposition: form-data; name="' + name + b'"\r\n' + extra + b"\r\n" + content + b"\r\n"


END = b"--limit--\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        (MULTIPART, part() * 5_000 + END, 413),
        (MULTIPART, part(extra=b'Content-Type: text/plain; filename="a"\r\n') * 5_000 + END, 413),
        (MULTIPART, part(extra=b"X-A: b\r\n" * 20_000) + END, (400, 413)),
        (MULTIPART, part(extra=b"X-A: " + b"b" * 1_000_000 + b"\r\n") + END, (400, 413)),
        (MULTIPART, part(extra=b"X-A" * 100_000) + END, (400, 413)),
        (MULTIPART, b"x" * 10_000_000 + b"\r\n" + part() + END, (400, 413)),
        (MULTIPART, b"\r\n" * 5_000_000 + part() + END, (400, 413)),
        (MULTIPART, b"\r\n--limi" * 1_000_000 + part() + END, (400, 413)),
        (MULTIPART, part(b"x" * 10_000_000) + END, 413),
        (MULTIPART, part(name=b"n" * 1_000_000) + END, (400, 413)),
        ((b"content-type", b"multipart/form-data; boundary=" + b"b" * 1024), b"--" + b"b" * 1024 + b"--\r\n", 400),
    ],
    ids=lambda value: f"{value[:40]!r}-{len(value)}" if isinstance(value, bytes) else "",
)
def test_hostile_multipart(app, exchange, add, content_type, body, status):
    add(lambda: {"n": len(request.form) + len(request.files)}, methods=["POST"])
    answer = exchange("POST", headers=[content_type], body=body)
    assert answer.status in ((status,) if isinstance(status, int) else status)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (MULTIPART, part()),
        (MULTIPART, b"--limit\r\n"),
        (MULTIPART, b"--limit\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END),
        (MULTIPART, b"--limit\r\nno colon\r\n\r\nx\r\n" + END),
        (MULTIPART, b"--limit\r\n\xff: \xff\r\n\r\nx\r\n" + END),
        (MULTIPART, part(b"\xff\0", b"\xff\0") + END),
        (MULTIPART, part(extra=b"Content-Type: text/plain; charset=no-such\r\n") + END),
        (MULTIPART, part(extra=b"Content-Length: nine\r\n") + END),
        (MULTIPART, b""),
        ((b"content-type", b"multipart/form-data"), part() + END),
        ((b"content-type", b"multipart/form-data; boundary="), part() + END),
        ((b"content-type", b"multipart/form-data; boundary=\xff"), part() + END),
    ],
    ids=lambda value: f"{value[:40]!r}" if isinstance(value, bytes) else "",
)
def test_broken_multipart(app, exchange, add, content_type, body):
    """As in Flask such a form may be taken for an empty one."""
    add(lambda: {"n": len(request.form) + len(request.files)}, methods=["POST"])
    assert exchange("POST", headers=[content_type], body=body).status < 500


def test_body_longer_than_announced(app, exchange, add):
    add(lambda: request.get_data(), methods=["POST"])
    answer = exchange("POST", body=b"x" * 100, length=10)
    assert (answer.status, answer.body) == (200, b"x" * 10)


def test_body_shorter_than_announced(app, exchange, add):
    add(lambda: request.get_data(), methods=["POST"])
    assert exchange("POST", body=b"x" * 10, length=100).status == 400


def test_body_in_chunks_over_the_limit(app, exchange, add):
    app.config["MAX_CONTENT_LENGTH"] = 100_000
    add(lambda: request.get_data(), methods=["POST"])
    assert exchange("POST", body=b"x" * 1_000_000, length=None).status == 413


# Ranges


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 2000, 2)),
        b"bytes=-99999999999",
        b"bytes=99999999999-",
        b"bytes=" + b"9" * 5_000 + b"-",
        b"bytes=-" + b"9" * 5_000,
        b"bytes=0-" + b"9" * 5_000,
        b"bytes=5-2",
        b"bytes=-0",
        b"bytes=--5",
        b"bytes=a-b",
        b"bytes=",
        b"lines=1-2",
    ],
    ids=lambda value: f"{value[:20]!r}",
)
def test_bad_range(app, exchange, add, tmp_path, value):
    """Such a range is refused, ignored or cut to the file (RFC 9110 14.2); the file is never sent twice."""
    (tmp_path / "file").write_bytes(b"0123456789")
    add(lambda: carboy.send_file(tmp_path / "file", mimetype="text/plain"))
    answer = exchange(headers=[(b"range", value)])
    assert answer.status in (200, 206, 416)
    assert len(answer.body) == 10 or answer.status == 416


# Time


def cpu_seconds(function):
    started = time.process_time()
    function()
    return time.process_time() - started


BODIES = {
    "preamble": lambda n: (MULTIPART, b"x" * n),
    "preamble of line ends": lambda n: (MULTIPART, b"\r\n" * (n // 2)),
    "preamble of near boundaries": lambda n: (MULTIPART, b"\r\n--limi" * (n // 8)),
    "file": lambda n: (MULTIPART, part(b"\r" * n, name=b'f"; filename="f') + END),
    "part headers": lambda n: (MULTIPART, part(extra=b"X-A: b\r\n" * (n // 8)) + END),
    "form": lambda n: (URLENCODED, b"a=1&" * (n // 4)),
    "form of escapes": lambda n: (URLENCODED, b"%41" * (n // 3)),
    "nested JSON": lambda n: (JSON, b"[" * n),
    "digits in JSON": lambda n: (JSON, b"9" * n),
    "JSON string": lambda n: (JSON, b'"' + b"\\u0041" * (n // 6) + b'"'),
}


@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_time_is_linear_in_the_size_of_the_body(app, make):
    @app.post("/")
    def view():
        return {"n": len(request.form) + len(request.files), "json": request.get_json(silent=True) is None}

    client = app.test_client()

    def post(size):
        (_, content_type), body = make(size)
        with client.post("/", data=body, content_type=content_type.decode()) as response:
            assert response.status_code < 500

    small, large = 1_000_000, 8_000_000
    post(small)
    growth = min(cpu_seconds(lambda: post(large)) for _ in range(2)) / max(cpu_seconds(lambda: post(small)), 0.005)
    # 8 is linear, 64 is quadratic.
    assert growth < 30


def test_time_is_linear_in_the_number_of_chunks(app, exchange):
    """Over ASGI and RSGI a body arrives in pieces, which are joined once."""
    app.add_url_rule("/", "index", lambda: str(len(request.get_data())), methods=["POST"])
    exchange("POST", body=b"x" * 1_000_000)
    small = cpu_seconds(lambda: exchange("POST", body=b"x" * 2_000_000))
    large = cpu_seconds(lambda: exchange("POST", body=b"x" * 16_000_000))
    assert large / max(small, 0.005) < 30
