"""What a request asks of routing: no adapter, no more work for more routes, and rules that come while it serves."""

import sys
import threading

import pytest
from werkzeug.exceptions import NotFound
from werkzeug.routing import BuildError, MapAdapter, Rule

import carboy
from carboy import request, url_for
from carboy.context import _cv_request
from carboy.routing import Map


@pytest.fixture
def adapters(monkeypatch):
    """The adapters that are made."""
    made = []
    init = MapAdapter.__init__

    def record(self, *args, **options):
        made.append(self)
        init(self, *args, **options)

    monkeypatch.setattr(MapAdapter, "__init__", record)
    return made


def test_only_a_redirect_needs_an_adapter(app, client, adapters):
    app.add_url_rule("/", endpoint="index", view_func=lambda: url_for("item", number=7, page=1))
    app.add_url_rule("/items/<int:number>", endpoint="item", view_func=lambda number: str(number))
    app.add_url_rule("/items/<int:number>/parts/", endpoint="parts", view_func=lambda number: "parts")
    answers = [client.get("/"), client.get("/items/5"), client.get("/items/5/parts/"), client.get("/items/x")]
    answers += [client.post("/items/5"), client.get("/none")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 405, 404]
    assert [answer.text for answer in answers[:3]] == ["/items/7?page=1", "5", "parts"]
    assert sorted(answers[4].allow) == ["GET", "HEAD", "OPTIONS"]
    assert adapters == []
    redirect = client.get("/items/5/parts?page=1")
    assert (redirect.status_code, redirect.location) == (308, "http://localhost/items/5/parts/?page=1")
    assert len(adapters) == 1


def test_a_url_is_the_one_that_the_adapter_builds(app, client):
    blueprint = carboy.Blueprint("blue", __name__, url_prefix="/blue")
    urls = [
        ("item", {"number": 5}),
        ("item", {"number": "7", "q": "a b", "none": None, "many": [1, 2]}),
        ("item", {"number": True}),
        ("page", {"name": "a b/é"}),
        ("page", {"name": "plain"}),
        ("file", {"path": "a/b c"}),
        ("listing", {}),
        ("listing", {"page": 1}),
        ("listing", {"page": 2}),
        ("blue.index", {}),
        ("socket", {}),
    ]

    @blueprint.route("/")
    def index():
        context = _cv_request.get()
        built = [url_for(endpoint, **values) for endpoint, values in urls]
        assert "url_adapter" not in vars(context) or "socket" in str(built)
        assert url_for(".index") == url_for("blue.index")
        assert url_for("item", number=1, _anchor="a b") == url_for("item", number=1) + "#a%20b"
        assert url_for("item", number=1, _external=True) == f"http://localhost{url_for('item', number=1)}"
        with pytest.raises(BuildError, match="Did you forget to specify values \\['number'\\]"):
            url_for("item")
        return {"built": built, "by adapter": [context.url_adapter.build(*url) for url in urls]}

    app.register_blueprint(blueprint)
    app.add_url_rule("/items/<int:number>", endpoint="item")
    app.add_url_rule("/pages/<name>.html", endpoint="page")
    app.add_url_rule("/files/<path:path>", endpoint="file")
    app.add_url_rule("/list/", endpoint="listing", defaults={"page": 1})
    app.add_url_rule("/list/<int:page>", endpoint="listing")
    app.add_url_rule("/socket", endpoint="socket", websocket=True)
    answer = client.get("/blue/").json
    assert answer["built"] == answer["by adapter"]
    assert answer["built"][:2] == ["/items/5", "/items/7?q=a+b&many=1&many=2"]
    assert answer["built"][-1] == "ws://localhost/socket"


@pytest.mark.parametrize("mounted", ["", "/mounted", "/mounted/é/"])
def test_a_url_begins_where_the_application_is_mounted(app, mounted):
    @app.route("/x")
    def x():
        return f"{url_for('x')} {request.root_path}"

    environ = {"SCRIPT_NAME": mounted.encode().decode("latin1")}
    expected = f"{mounted.rstrip('/')}/x {mounted.rstrip('/')}"
    assert app.test_client().get("/x", environ_overrides=environ).text == expected


def test_an_adapter_of_somebodys_own_is_used(app, client):
    @app.route("/x")
    def x():
        _cv_request.get().url_adapter = app.url_map.bind("example.org", "/elsewhere")
        return url_for("x")

    assert client.get("/x").text == "/elsewhere/x"


def test_a_refusing_converter_is_asked_once(app, client):
    from werkzeug.routing import BaseConverter, ValidationError

    asked = []

    class Known(BaseConverter):
        def to_python(self, value):
            asked.append(value)
            raise ValidationError

    app.url_map.converters["known"] = Known
    app.add_url_rule("/<known:x>", endpoint="x")
    app.add_url_rule("/<known:x>", endpoint="y", methods=["POST"])
    assert client.get("/a").status_code == 404
    assert client.post("/b").status_code == 405
    assert asked == ["a", "b"]


# -- Many rules ------------------------------------------------------------------------


def many(count):
    url_map = Map(Rule(f"/static/{n}", endpoint=f"static{n}", methods=["GET"]) for n in range(count))
    for n in range(count):
        url_map.add(Rule(f"/group{n}/<int:x>/parts/<y>", endpoint=f"parts{n}", methods=["GET"]))
        url_map.add(Rule(f"/group{n}/<int:x>", endpoint=f"group{n}", methods=["GET"]))
    return url_map


def events_of(function, *args):
    """How many Python and C functions are called."""
    events = []
    previous = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: events.append(event))
    try:
        function(*args)
    except NotFound:
        pass
    finally:
        sys.setprofile(previous)
    return events.count("call"), events.count("c_call")


def test_more_routes_are_no_more_work():
    counts = []
    for count in (100, 10_000):
        url_map = many(count)
        paths = [f"/static/{n}" for n in (0, count - 1, count)]
        paths += [f"/group{n}/5{rest}" for n in (0, count - 1, count) for rest in ("", "/parts/y", "/none")]
        build = url_map.build_path, f"group{count - 1}", {"x": 1}, None, "GET"
        calls = [(url_map.matcher.find, path, "GET") for path in paths] + [build]
        for call in calls:
            events_of(*call)
        counts.append([events_of(*call) for call in calls])
    assert counts[0] == counts[1]
    assert counts[0][0][0] == counts[0][3][0] == 1


def test_rules_may_be_added_while_others_are_matched():
    url_map = Map([Rule("/<x>", endpoint="any"), Rule("/a/<int:x>", endpoint="a")])
    done = threading.Event()
    wrong = []

    def read():
        while not done.is_set():
            for path, before, after in (("/a/1", "a", "a"), ("/b7", "any", "b7"), ("/a/x7", None, "a7")):
                try:
                    endpoint = url_map.matcher.find(path, "GET")[0].endpoint
                except NotFound:
                    endpoint = None
                if endpoint not in (before, after):
                    wrong.append((path, endpoint))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(200):
        url_map.add(Rule(f"/b{n}", endpoint=f"b{n}"))
        url_map.add(Rule("/a/x<int:x>" if n == 7 else f"/a/<any(p{n}):x>", endpoint=f"a{n}"))
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert url_map.matcher.find("/b199", "GET")[0].endpoint == "b199"
