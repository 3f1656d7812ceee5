"""JSON is read by msgspec as the standard library reads it, whatever it is."""

import json
import math
import struct
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import carboy
from carboy.json import provider

app = carboy.Carboy(__name__)

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(),
        st.text(st.characters()),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)),
    max_leaves=20,
)
NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            ["[", "]", "{", "}", ",", ":", '"', "\\", "\\u", "d83d", "\\ude00", "null", "NaN", "-Infinity"]
        ),
        st.sampled_from(
            [" ", "\t", "\n", "\v", "\x00", "\x7f", "\ufeff", "\xa0", "é", '"a"', '{"a":1,"a":2}', "01", "1."]
        ),
        NUMBERS,
    ),
    max_size=8,
).map("".join)
TEXTS = st.one_of(
    st.builds(json.dumps, VALUES, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1])), NUMBERS, PIECES
)


def outcome(loads, source):
    try:
        value = loads(source)
    except ValueError as e:
        return type(e), str(e)
    return exact(value)


def exact(value):
    """Return the value in a form that tells 1 from True and 1.0, 0.0 from -0.0, and knows all NaN for one."""
    if type(value) is float:
        return "nan" if math.isnan(value) else struct.pack("d", value)
    if type(value) is list:
        return [exact(item) for item in value]
    if type(value) is dict:
        return [(key, exact(item)) for key, item in value.items()]
    return type(value), value


@pytest.fixture(params=["msgspec", "standard library"], scope="module", autouse=True)
def reader(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "msgspec":
            patch.setattr(provider, "_msgspec_decode", lambda: None)
        yield


@settings(max_examples=1000)
@given(TEXTS)
@example("1e400")
@example('"\\ud800"')
@example('"\\ud800\\u0041"')
@example("1" * 400)
@example("1" * 5000)
@example("[" * 100 + "]" * 100)
def test_text_is_read_as_by_the_standard_library(text):
    assert outcome(app.json.loads, text) == outcome(json.loads, text)


@settings(max_examples=500)
@given(
    st.one_of(
        st.builds(
            lambda text, encoding: text.encode(encoding, "surrogatepass"),
            TEXTS,
            st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"]),
        ),
        st.binary(max_size=8),
    )
)
@example(b'["\xed\xa0\x80"]')
@example(b'"\xff"')
def test_bytes_are_read_as_by_the_standard_library(data):
    assert outcome(app.json.loads, data) == outcome(json.loads, data)


PROGRAM = """
import sys
if sys.argv[1] == "False":
    sys.modules["msgspec"] = None
import carboy
app = carboy.Carboy("app")
app.add_url_rule("/", view_func=lambda: carboy.request.json, methods=["POST"])
client = app.test_client()
print("msgspec.json" in sys.modules)
print(client.post("/", json={"a": float("nan"), "b": [1, "x"]}).text.strip())
print(client.post("/", data="{", content_type="application/json").status_code)
print("msgspec.json" in sys.modules)
"""


@pytest.mark.parametrize("installed", [True, False])
def test_msgspec_is_used_where_it_is_installed(installed):
    """And imported only when there is something to read."""
    command = [sys.executable, "-c", PROGRAM, str(installed)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["False", '{"a":NaN,"b":[1,"x"]}', "400", str(installed)]
