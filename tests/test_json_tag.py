"""Tagged JSON, the format of session cookies."""

from collections import OrderedDict
from datetime import UTC, datetime
from uuid import UUID

import pytest
from markupsafe import Markup

from carboy import Carboy
from carboy.json.tag import JSONTag, TaggedJSONSerializer

# A value and, as Flask 3.1.3 wrote it, its text.
VALUE = {
    "z": 1,
    "a": (1, (2, 3)),
    "b": b"\xff\x00",
    "m": Markup("<b>"),
    "u": UUID(int=5),
    "d": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
    "t": {" t": "x"},
    "n": None,
    "e": "é",
    "l": [1.5, {"k": (True,)}],
    "di": {" di": {" b": 1}},
}
TEXT = (
    r'{"z":1,"a":{" t":[1,{" t":[2,3]}]},"b":{" b":"/wA="},"m":{" m":"<b>"},'
    r'"u":{" u":"00000000000000000000000000000005"},"d":{" d":"Tue, 02 Jan 2024 03:04:05 GMT"},'
    r'"t":{" di":{" t__":"x"}},"n":null,"e":"\u00e9","l":[1.5,{"k":{" t":[true]}}],'
    r'"di":{" di":{" di__":{" di":{" b__":1}}}}}'
)


def test_format_is_flasks():
    assert TaggedJSONSerializer().dumps(VALUE) == TEXT


def test_round_trip():
    value = TaggedJSONSerializer().loads(TEXT)
    assert value == VALUE
    assert type(value["m"]) is Markup


def test_application_sorts_keys():
    with Carboy(__name__).app_context():
        assert TaggedJSONSerializer().dumps({"b": 1, "a": (2,)}) == '{"a":{" t":[2]},"b":1}'


@pytest.mark.parametrize("text", ['{" unknown":1}', '{" t":[1],"x":2}', '{"t":[1]}'])
def test_untagged_objects_stay(text):
    serializer = TaggedJSONSerializer()
    assert serializer.dumps(serializer.loads(text)) == text


def test_plain_values_are_the_same_object():
    value = object()
    assert TaggedJSONSerializer().tag(value) is value


def test_markup_is_anything_with_html():
    class Widget:
        def __html__(self):
            return "<i>"

    serializer = TaggedJSONSerializer()
    assert serializer.loads(serializer.dumps(Widget())) == Markup("<i>")


class TagOrderedDict(JSONTag):
    __slots__ = ()
    key = " od"

    def check(self, value):
        return isinstance(value, OrderedDict)

    def to_json(self, value):
        return [[key, self.serializer.tag(item)] for key, item in value.items()]

    def to_python(self, value):
        return OrderedDict(value)


def test_register_at_index():
    serializer = TaggedJSONSerializer()
    serializer.register(TagOrderedDict, index=0)
    value = serializer.loads(serializer.dumps(OrderedDict(b=(1,), a=2)))
    assert type(value) is OrderedDict
    assert list(value.items()) == [("b", (1,)), ("a", 2)]
    assert isinstance(serializer.order[0], TagOrderedDict)


class TagShout(JSONTag):
    __slots__ = ()
    key = "!"

    def check(self, value):
        return type(value) is str and value.isupper()

    def to_json(self, value):
        return value.lower()

    def to_python(self, value):
        return value.upper()


def test_tag_for_a_type_of_json():
    serializer = TaggedJSONSerializer()
    assert serializer.dumps({"a": "X", "b": 1}) == '{"a":"X","b":1}'
    serializer.register(TagShout)
    assert serializer.dumps({"a": "X", "b": 1}) == '{"a":{"!":"x"},"b":1}'
    assert serializer.loads('{"a":{"!":"x"},"b":1}') == {"a": "X", "b": 1}


def test_overridden_tag():
    class Stringly(TaggedJSONSerializer):
        def tag(self, value):
            return {key: str(item) for key, item in value.items()}

    assert Stringly().dumps({"a": 1}) == '{"a":"1"}'


def test_register_twice():
    serializer = TaggedJSONSerializer()
    serializer.register(TagOrderedDict)
    assert serializer.order[-1] is serializer.tags[" od"]

    with pytest.raises(KeyError, match="already registered"):
        serializer.register(TagOrderedDict)

    serializer.register(TagOrderedDict, force=True, index=-1)
    assert serializer.order[-2] is serializer.tags[" od"]


def test_serializers_are_apart():
    TaggedJSONSerializer().register(TagOrderedDict)
    assert " od" not in TaggedJSONSerializer().tags


def test_tag_is_abstract():
    tag = JSONTag(TaggedJSONSerializer())

    for method in tag.check, tag.to_json, tag.to_python, tag.tag:
        with pytest.raises(NotImplementedError):
            method(None)
