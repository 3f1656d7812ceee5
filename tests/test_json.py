"""The JSON functions, and the providers behind them."""

import contextlib
import dataclasses
import datetime
import decimal
import io
import json as stdlib_json
import uuid

import pytest
from markupsafe import Markup

from carboy import Carboy, json, jsonify, request
from carboy.json.provider import DefaultJSONProvider, JSONProvider


@dataclasses.dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(2024, 1, 2, 3, 4, 5), '"Tue, 02 Jan 2024 03:04:05 GMT"'),
        (
            datetime.datetime(2024, 1, 2, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            '"Tue, 02 Jan 2024 00:00:00 GMT"',
        ),
        (datetime.date(2024, 1, 2), '"Tue, 02 Jan 2024 00:00:00 GMT"'),
        (decimal.Decimal("1.50"), '"1.50"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Point(1, 2), '{"x": 1, "y": 2}'),
        (Markup("<b>"), '"<b>"'),
        ("é", '"\\u00e9"'),
    ],
)
def test_extra_types(app, value, text):
    """The extra types are the same with and without an application."""
    assert json.dumps(value) == text

    with app.app_context():
        assert json.dumps(value) == text


@pytest.mark.parametrize("value", [object(), Point, {1}])
def test_unknown_type(app, value):
    with app.app_context(), pytest.raises(TypeError):
        json.dumps(value)


@pytest.mark.parametrize("context", [contextlib.nullcontext, lambda: Carboy(__name__).app_context()])
def test_files(context):
    with context():
        text = io.StringIO()
        json.dump({"a": [1, None]}, text)
        assert json.load(io.StringIO(text.getvalue())) == {"a": [1, None]}
        assert json.load(io.BytesIO(text.getvalue().encode())) == {"a": [1, None]}


def test_without_app_keys_keep_their_order(app):
    value = {"b": 1, "a": 2}
    assert json.dumps(value) == '{"b": 1, "a": 2}'

    with app.app_context():
        assert json.dumps(value) == '{"a": 2, "b": 1}'


def test_options_are_read_at_each_call(app):
    value = {"b": 1, "a": "é"}

    with app.app_context():
        assert json.dumps(value) == '{"a": "\\u00e9", "b": 1}'
        app.json.sort_keys = False
        assert json.dumps(value) == '{"b": 1, "a": "\\u00e9"}'
        app.json.ensure_ascii = False
        assert json.dumps(value, separators=(",", ":")) == '{"b":1,"a":"é"}'
        app.json.default = lambda value: "?"
        assert json.dumps(object()) == '"?"'


def test_arguments_go_before_options(app):
    value = {"b": 1, "a": "é"}

    with app.app_context():
        assert json.dumps(value, sort_keys=False, ensure_ascii=False) == '{"b": 1, "a": "é"}'
        assert json.dumps(object(), default=repr).startswith('"<object')
        assert json.dumps([1], indent=1) == "[\n 1\n]"


def test_default_may_be_a_method():
    class Provider(DefaultJSONProvider):
        def default(self, o):
            return self._app.name

    class App(Carboy):
        json_provider_class = Provider

    app = App("named")
    assert app.json.dumps([object()]) == '["named"]'
    assert app.json.dumps([object()], separators=(",", ":")) == '["named"]'


def test_provider_needs_no_init():
    class Provider(DefaultJSONProvider):
        def __init__(self):
            pass

    assert Provider().dumps({"b": 1, "a": [2]}) == '{"a": [2], "b": 1}'


@pytest.mark.parametrize(
    ("args", "kwargs", "value"),
    [
        ((), {}, None),
        ((1,), {}, 1),
        ((None,), {}, None),
        (({},), {}, {}),
        ((1, 2), {}, [1, 2]),
        ((), {"a": 1}, {"a": 1}),
    ],
)
def test_jsonify(app, args, kwargs, value):
    with app.app_context():
        response = jsonify(*args, **kwargs)

    assert isinstance(response, app.response_class)
    assert response.mimetype == "application/json"
    assert stdlib_json.loads(response.data) == value


def test_jsonify_takes_one_kind_of_arguments(app):
    with app.app_context(), pytest.raises(TypeError, match="either args or kwargs"):
        jsonify(1, a=2)


@pytest.mark.parametrize(
    ("compact", "debug", "body"),
    [
        (None, False, b'{"a":[1]}\n'),
        (None, True, b'{\n  "a": [\n    1\n  ]\n}\n'),
        (True, True, b'{"a":[1]}\n'),
        (False, False, b'{\n  "a": [\n    1\n  ]\n}\n'),
    ],
)
def test_compact(app, compact, debug, body):
    app.json.compact = compact
    app.debug = debug

    with app.app_context():
        assert jsonify(a=[1]).data == body


def test_mimetype_of_responses(app):
    app.json.mimetype = "application/vnd.api+json"

    with app.app_context():
        assert jsonify(1).content_type == "application/vnd.api+json"


def test_own_provider(app, client):
    class Provider(JSONProvider):
        def dumps(self, obj, **kwargs):
            return "dumped"

        def loads(self, s, **kwargs):
            return f"loaded {s}"

    app.json = Provider(app)

    @app.post("/")
    def index():
        return {"got": request.get_json()}

    response = client.post("/", json={})
    assert response.data == b"dumped"
    assert response.mimetype == "application/json"

    with app.app_context():
        assert json.loads("x") == "loaded x"
        assert json.load(io.StringIO("y")) == "loaded y"


def test_provider_contract_is_abstract(app):
    provider = JSONProvider(app)

    with pytest.raises(NotImplementedError):
        provider.dumps(1)

    with pytest.raises(NotImplementedError):
        provider.loads("1")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5_000,
        b'{"a": [' + b"9" * 5_000 + b"]}",
        b"\xff\xfe\xfd",
        b'"\xc3\x28"',
        b"{'a': 1}",
        b"",
    ],
    ids=["lists", "objects", "integer", "nested integer", "not UTF-16", "not UTF-8", "quotes", "empty"],
)
def test_bad_json_in_a_request_is_400(app, client, body):
    @app.post("/")
    def index():
        return {"got": request.get_json()}

    assert client.post("/", data=body, content_type="application/json").status_code == 400


def test_depth_is_a_value_error(app):
    with pytest.raises(ValueError, match="nested too deeply"):
        app.json.loads("[" * 100_000)


def test_view_may_return_dict_or_list(app, client):
    app.add_url_rule("/dict", view_func=lambda: {"b": 1, "a": 2}, endpoint="dict")
    app.add_url_rule("/list", view_func=lambda: [1, {"d": datetime.date(2024, 1, 2)}], endpoint="list")
    assert client.get("/dict").data == b'{"a":2,"b":1}\n'
    assert client.get("/list").json == [1, {"d": "Tue, 02 Jan 2024 00:00:00 GMT"}]
