"""What goes in comes out, whatever it is; and no bytes of a client's end in a 500."""

import datetime
import io
import json
import string
import uuid
from itertools import pairwise
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

import carboy
from carboy import request
from carboy.testing import asgi_as_wsgi, lint_asgi

DATA = bytes(range(256)) * 4

settings.register_profile("carboy", deadline=None, max_examples=25)
settings.load_profile("carboy")


def make_app():
    app = carboy.Flask("property")
    app.secret_key = "for tests only"
    stored = {}

    @app.route("/form", methods=["GET", "POST"])
    def form():
        return {
            "form": request.form.to_dict(flat=False),
            "args": request.args.to_dict(flat=False),
            "files": [[name, file.filename, list(file.read())] for name, file in request.files.items(multi=True)],
        }

    @app.post("/json")
    async def echo_json():
        return {"got": request.get_json()}

    @app.post("/data")
    async def data():
        return request.get_data()

    @app.get("/path/<path:text>")
    def path(text):
        return {"text": text}

    @app.get("/file")
    def file():
        return carboy.send_file(io.BytesIO(DATA), mimetype="text/plain", conditional=True)

    @app.get("/header")
    def header():
        return "", {"X-A": stored["value"]}

    @app.get("/cookie")
    async def cookie():
        response = carboy.make_response("")
        response.set_cookie("a", stored["value"])
        return response

    @app.get("/cookies")
    def cookies():
        return request.cookies.to_dict()

    @app.get("/headers")
    def headers():
        return [
            len(carboy.session),
            len(request.cookies),
            len(request.accept_mimetypes),
            str(request.authorization),
            str(request.range),
            request.mimetype_params,
        ]

    @app.get("/session")
    async def put():
        carboy.session["value"] = stored["value"]
        return ""

    @app.get("/session-back")
    def take():
        stored["back"] = carboy.session["value"]
        return ""

    return app, stored


APP, STORED = make_app()


@pytest.fixture(scope="module", params=["wsgi", "asgi", "rsgi"])
def client(request):
    return APP.test_client(protocol=request.param, lint=True)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = st.text(string.ascii_letters + "é_-", min_size=1, max_size=10)
pairs = st.lists(st.tuples(names, text), max_size=6)


def by_name(items):
    """Return the items in the order of a MultiDict: those of one name together."""
    order = list(dict.fromkeys(item[0] for item in items))
    return sorted(items, key=lambda item: order.index(item[0]))


def grouped(items):
    return {name: [value for other, value in items if other == name] for name, _ in items}


@given(fields=pairs, query=pairs)
def test_urlencoded_form_and_query(client, fields, query):
    urlencoded = "application/x-www-form-urlencoded"
    answer = client.post("/form?" + urlencode(query), data=urlencode(fields), content_type=urlencoded)
    assert answer.json == {"form": grouped(fields), "args": grouped(query), "files": []}


@given(fields=pairs, files=st.lists(st.tuples(names, names, st.binary(max_size=200)), max_size=4))
def test_multipart(client, fields, files):
    body = b"".join(
        b'--limit\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())
        for name, value in fields
    ) + b"".join(
        b'--limit\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), filename.encode(), content)
        for name, filename, content in files
    )
    answer = client.post("/form", data=body + b"--limit--\r\n", content_type="multipart/form-data; boundary=limit")
    assert answer.json == {
        "form": grouped(fields),
        "args": {},
        "files": [[name, filename, list(content)] for name, filename, content in by_name(files)],
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(text, values, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
def test_json(client, value):
    assert client.post("/json", data=json.dumps(value), content_type="application/json").json == {"got": value}


@given(body=st.binary(max_size=500), cuts=st.lists(st.integers(0, 500), max_size=8))
def test_body_does_not_depend_on_how_it_is_cut(body, cuts):
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    parts = [body[start:end] for start, end in pairwise(places)]

    async def asgi(scope, receive, send):
        events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        events.append({"type": "http.request"})

        async def receive_parts():
            return events.pop(0)

        await lint_asgi(APP)(scope, receive_parts, send)

    client = APP.test_client()
    client._bridge = lambda: asgi_as_wsgi(asgi)
    assert client.post("/data", data=body).data == body


@given(value=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=40))
def test_path(client, value):
    assert client.get("/path/" + quote("x" + value)).json == {"text": "x" + value}


@given(value=st.text(max_size=40))
@example(value="a tab\tis allowed")
def test_header_of_the_answer_is_sent_as_it_is_or_refused(client, value):
    STORED["value"] = value
    answer = client.get("/header")
    sent = answer.headers.get("X-A")
    if answer.status_code == 200:
        assert sent in (value, value.encode().decode("latin-1"))
    else:
        assert (answer.status_code, sent) == (400, None)


@given(value=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_cookie_round_trip(client, value):
    STORED["value"] = value
    client.get("/cookie")
    assert client.get("/cookies").json.get("a", "") == value
    client.delete_cookie("a")


tagged = st.recursive(
    json_values
    | st.binary(max_size=20)
    | st.uuids()
    | st.datetimes(timezones=st.just(datetime.UTC), min_value=datetime.datetime(1970, 1, 1)).map(
        lambda value: value.replace(microsecond=0)
    )
    | text.map(Markup),
    lambda values: st.tuples(values, values) | st.lists(values, max_size=3) | st.dictionaries(text, values, max_size=3),
    max_leaves=6,
)


@given(value=tagged)
def test_session_round_trip(client, value):
    STORED["value"] = value
    client.get("/session")
    client.get("/session-back")
    back = STORED["back"]
    assert back == value
    assert type(back) is type(value) or isinstance(value, (uuid.UUID, str))


@given(start=st.integers(0, 2000) | st.none(), end=st.integers(0, 2000) | st.none())
def test_range_is_the_slice(client, start, end):
    value = f"bytes={'' if start is None else start}-{'' if end is None else end}"
    size = len(DATA)
    with client.get("/file", headers={"Range": value}) as answer:
        if start is None:
            expected = DATA[-end:] if end else None
        else:
            expected = DATA[start : (size if end is None else end + 1)] or None
        if answer.status_code == 206:
            assert answer.data == expected
        else:
            assert answer.status_code in (200, 416)
            assert answer.data == DATA or answer.status_code == 416


# Whatever bytes come


noise = st.binary(max_size=300)


@given(body=noise, kind=st.sampled_from(["/form", "/json", "/data"]), length=st.integers(0, 300) | st.none())
def test_no_body_is_a_server_error(client, body, kind, length):
    types = [
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "multipart/form-data; boundary=--a--",
        "text/plain; charset=utf-16",
    ]
    for content_type in types:
        answer = client.post(kind, data=body, content_type=content_type)
        assert answer.status_code < 500
        assert answer.status_code in (200, 400, 413, 415)


words = [b"--a", b"\r\n", b"--a--", b"\n", b": ", b"Content-Disposition: form-data", b'; name="x"', b"z"]


@given(body=st.lists(st.sampled_from(words)))
def test_no_multipart_of_its_own_words_is_a_server_error(client, body):
    answer = client.post("/form", data=b"".join(body), content_type="multipart/form-data; boundary=a")
    assert answer.status_code in (200, 400, 413)


HEADERS = ["Cookie", "Range", "Accept", "If-None-Match", "If-Range", "Authorization", "Content-Type"]


@given(value=st.text(st.characters(max_codepoint=255, exclude_characters="\0\r\n"), max_size=100))
def test_no_header_is_a_server_error(client, value):
    for name in HEADERS:
        for path in ("/file", "/headers"):
            with client.get(path, headers={name: value}) as answer:
                assert answer.status_code < 500
