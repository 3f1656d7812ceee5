"""What a request brings and an answer takes back, the same on each protocol."""

import io

import pytest

import carboy
from carboy import request
from carboy.views import MethodView


def test_plain(app, client):
    @app.get("/")
    def index():
        return "Hello!"

    response = client.get("/")
    assert response.status_code == 200
    assert response.data == b"Hello!"
    assert response.mimetype == "text/html"
    assert response.content_length == 6


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ("é", 200, "é".encode()),
        (b"\xff", 200, b"\xff"),
        (("made", 201), 201, b"made"),
        (("x", {"X-A": "b"}), 200, b"x"),
        (({"a": 1}, 202, {"X-A": "b"}), 202, b'{"a":1}\n'),
        ([1, 2], 200, b"[1,2]\n"),
        ("", 200, b""),
        (("", 204), 204, b""),
        (("ignored", 304), 304, b""),
    ],
)
def test_kinds_of_results(app, client, result, status, body):
    app.json.compact = True
    app.add_url_rule("/", "index", lambda: result)
    response = client.get("/")
    assert (response.status_code, response.data) == (status, body)


def test_url_of_the_request(app, client):
    @app.get("/<name>/")
    def show(name):
        return {
            "url": request.url,
            "path": request.path,
            "full_path": request.full_path,
            "name": name,
            "args": request.args.to_dict(flat=False),
            "host": request.host,
            "scheme": request.scheme,
            "remote": request.remote_addr,
            "query": request.query_string.decode(),
            "method": request.method,
        }

    assert client.get("/caf%C3%A9/?a=1&a=%20&b=%C3%A9", base_url="https://example.com:8080").json == {
        "url": "https://example.com:8080/café/?a=1&a=%20&b=é",
        "path": "/café/",
        "full_path": "/café/?a=1&a=%20&b=%C3%A9",
        "name": "café",
        "args": {"a": ["1", " "], "b": ["é"]},
        "host": "example.com:8080",
        "scheme": "https",
        "remote": "127.0.0.1",
        "query": "a=1&a=%20&b=%C3%A9",
        "method": "GET",
    }


def test_headers_of_the_request(app, client):
    @app.get("/")
    def index():
        headers = request.headers
        return {"agent": headers["user-agent"], "list": headers.getlist("X-List"), "no": "X-No" in headers}

    headers = [("User-Agent", "test"), ("X-List", "a"), ("X-List", "b")]
    assert client.get("/", headers=headers).json == {"agent": "test", "list": ["a, b"], "no": False}


def test_headers_of_the_answer_are_replaced_by_a_dictionary(app, client):
    @app.get("/")
    def index():
        response = carboy.make_response("x")
        response.headers = {"X-Two": ["a", "b"], "content-type": "text/x-new"}
        return response

    @app.after_request
    def add(response):
        response.headers.add("X-Three", "c")
        return response

    response = client.get("/")
    assert response.headers.getlist("X-Two") == ["a", "b"]
    assert (response.headers["X-Three"], response.headers["Content-Type"]) == ("c", "text/x-new")
    assert response.headers["Content-Length"] == "1"


def test_headers_of_the_answer(app, client):
    @app.get("/")
    def index():
        response = carboy.make_response("x")
        response.headers.add("X-Twice", "a")
        response.headers.add("X-Twice", "b")
        response.set_cookie("a", "1", httponly=True)
        response.set_cookie("b", "2")
        return response

    response = client.get("/")
    assert response.headers.getlist("X-Twice") == ["a", "b"]
    assert response.headers.getlist("Set-Cookie") == ["a=1; HttpOnly; Path=/", "b=2; Path=/"]


def test_json(app, client):
    @app.post("/")
    def index():
        return {"got": request.get_json(), "is_json": request.is_json}

    assert client.post("/", json={"a": [1, "é", None]}).json == {"got": {"a": [1, "é", None]}, "is_json": True}
    assert client.post("/", data=b"{", content_type="application/json").status_code == 400
    assert client.post("/", data=b"{}", content_type="text/plain").status_code == 415


def test_form(app, client):
    @app.post("/")
    def index():
        return {"a": request.form.getlist("a"), "values": request.values["q"]}

    assert client.post("/?q=1", data={"a": ["1", "é&="]}).json == {"a": ["1", "é&="], "values": "1"}


def test_multipart(app, client):
    @app.post("/")
    def index():
        file = request.files["file"]
        return {"field": request.form["field"], "name": file.filename, "type": file.mimetype, "size": len(file.read())}

    data = {"field": "é", "file": (io.BytesIO(b"x" * 1_000_000), "a.txt", "text/plain")}
    with client.post("/", data=data) as response:
        assert response.json == {"field": "é", "name": "a.txt", "type": "text/plain", "size": 1_000_000}


def test_raw_body(app, client):
    @app.put("/data")
    def data():
        return request.get_data()

    @app.put("/stream")
    def stream():
        return request.stream.read(3) + b"|" + request.stream.read()

    body = bytes(range(256))
    assert client.put("/data", data=body).data == body
    assert client.put("/stream", data=b"abcdef").data == b"abc|def"


def test_body_is_there_in_async_view(app, client):
    @app.post("/json")
    async def json():
        return request.get_json()

    @app.post("/form")
    async def form():
        return request.form.to_dict()

    @app.post("/data")
    async def data():
        return request.get_data(as_text=True)

    assert client.post("/json", json=[1]).json == [1]
    assert client.post("/form", data={"a": "b"}).json == {"a": "b"}
    assert client.post("/data", data="text").text == "text"


def test_unread_body_is_no_trouble(app, client):
    app.add_url_rule("/", "index", lambda: "unread", methods=["POST"])
    assert client.post("/", data=b"x" * 1_000_000).text == "unread"


def test_session_round_trip(app, client):
    @app.get("/set/<value>")
    def put(value):
        carboy.session["value"] = value
        return ""

    @app.get("/get")
    async def get():
        return carboy.session.get("value", "none")

    @app.get("/clear")
    def clear():
        carboy.session.clear()
        return ""

    assert client.get("/get").text == "none"
    client.get("/set/é")
    assert client.get("/get").text == "é"
    client.get("/clear")
    assert client.get_cookie("session") is None
    assert client.get("/get").text == "none"


def test_flash_across_a_redirect(app, client):
    @app.post("/")
    def save():
        carboy.flash("saved")
        return carboy.redirect(carboy.url_for("show"))

    @app.get("/show")
    def show():
        return carboy.get_flashed_messages()

    assert client.post("/", follow_redirects=True).json == ["saved"]
    assert client.get("/show").json == []


def test_redirect(app, client):
    app.add_url_rule("/", "index", lambda: carboy.redirect("/target?é", 303))
    app.add_url_rule("/slash/", "slash", lambda: "slash")
    response = client.get("/")
    assert (response.status_code, response.location) == (303, "/target?%C3%A9")
    assert client.get("/slash?a=1").location == "http://localhost/slash/?a=1"


def test_cookies_of_the_request(app, client):
    app.add_url_rule("/", "index", lambda: request.cookies.to_dict())
    client.set_cookie("a", "é; x")
    client.set_cookie("b", "2")
    assert client.get("/").json == {"a": "é; x", "b": "2"}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_head_has_headers_and_no_body(app, client, asynchronous):
    def sync_view():
        return "Hello!"

    async def async_view():
        return "Hello!"

    app.add_url_rule("/", "index", async_view if asynchronous else sync_view)
    response = client.head("/")
    assert (response.status_code, response.data, response.content_length) == (200, b"", 6)


def test_options_lists_methods(app, client):
    @app.route("/", methods=["GET", "POST"])
    def index():
        return ""

    response = client.options("/")
    assert response.status_code == 200
    assert sorted(response.allow) == ["GET", "HEAD", "OPTIONS", "POST"]


def test_methods_are_told_apart(app, client):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        app.add_url_rule("/", method, lambda: request.method, methods=[method])
    for method in ("get", "post", "put", "patch", "delete"):
        assert getattr(client, method)("/").text == method.upper()


def test_template(app, client):
    @app.context_processor
    def names():
        return {"name": "<Ann>"}

    @app.get("/")
    async def index():
        return carboy.render_template_string("Hi {{ name }} at {{ request.path }}")

    assert client.get("/").text == "Hi &lt;Ann&gt; at /"


def test_blueprint(app, client):
    bp = carboy.Blueprint("shop", __name__, url_prefix="/shop")

    @bp.get("/<int:n>")
    def item(n):
        return {"n": n, "url": carboy.url_for(".item", n=n + 1), "bp": request.blueprint}

    app.register_blueprint(bp)
    assert client.get("/shop/1").json == {"n": 1, "url": "/shop/2", "bp": "shop"}


def test_subdomain(protocol):
    app = carboy.Flask("carboy_test", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.com"
    app.add_url_rule("/", "index", lambda user: user, subdomain="<user>")
    client = app.test_client(protocol=protocol, lint=True)
    assert client.get("/", subdomain="ann").text == "ann"
    assert client.get("/").status_code == 404


def test_class_based_view(app, client):
    class Item(MethodView):
        def get(self):
            return "got"

        async def post(self):
            return "posted"

    app.add_url_rule("/", view_func=Item.as_view("item"))
    assert client.get("/").text == "got"
    assert client.post("/").text == "posted"
    assert client.put("/").status_code == 405


def test_after_this_request(app, client):
    @app.get("/")
    def index():
        @carboy.after_this_request
        def mark(response):
            response.headers["X-Mark"] = request.path
            return response

        return ""

    assert client.get("/").headers["X-Mark"] == "/"


def test_request_is_the_same_object_for_extensions(app, client):
    """Attributes and environ keys set early are there later."""

    @app.before_request
    def mark():
        request.environ["ext.key"] = 1
        request._get_current_object().mark = 2

    @app.get("/")
    async def index():
        environ = request.environ
        return [environ["ext.key"], request.mark, environ["REQUEST_METHOD"], environ["PATH_INFO"]]

    assert client.get("/").json == [1, 2, "GET", "/"]
