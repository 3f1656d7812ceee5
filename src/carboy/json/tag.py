"""Tagged JSON: a compact form of values that plain JSON would lose, used for session cookies.

A value of a type that JSON lacks becomes an object with one key, the type's tag: ``{" t": [1, 2]}`` is the tuple
(1, 2). Tags begin with a space, which keeps them apart from ordinary keys; an ordinary dict that happens to look like a
tagged value is itself tagged, its key lengthened by ``__``.

The format is Flask's, byte for byte: a cookie written by either is read by the other.

A tag for one more type::

    class TagOrderedDict(JSONTag):
        __slots__ = ()
        key = " od"

        def check(self, value):
            return isinstance(value, OrderedDict)

        def to_json(self, value):
            return [[key, self.serializer.tag(item)] for key, item in value.items()]

        def to_python(self, value):
            return OrderedDict(value)

    app.session_interface.serializer.register(TagOrderedDict, index=0)

``index=0`` puts it before the tag for dict, whose check an OrderedDict passes too.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from markupsafe import Markup
from werkzeug.http import http_date, parse_date

from . import dumps, loads


class JSONTag:
    """How one type is written to and read from tagged JSON.

    Args:
        serializer: The serializer that the tag belongs to; containers tag their items with it.
    """

    __slots__ = ("serializer",)

    #: The object key that marks a value of this type. Empty: values are converted, but not marked.
    key: str = ""

    def __init__(self, serializer: TaggedJSONSerializer) -> None:
        self.serializer = serializer

    def check(self, value: Any) -> bool:
        """Tell whether this tag is the one for *value*."""
        raise NotImplementedError

    def to_json(self, value: Any) -> Any:
        """Return *value* as a JSON type, without the mark."""
        raise NotImplementedError

    def to_python(self, value: Any) -> Any:
        """Return the Python value for *value*, a JSON type with the mark removed."""
        raise NotImplementedError

    def tag(self, value: Any) -> dict[str, Any]:
        """Return *value* as a JSON type, with the mark."""
        return {self.key: self.to_json(value)}


class TagDict(JSONTag):
    """A dict with one item whose key is itself a tag, and which would be taken for a tagged value."""

    __slots__ = ()
    key = " di"

    def check(self, value: Any) -> bool:
        return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in self.serializer.tags

    def to_json(self, value: Any) -> Any:
        ((key, item),) = value.items()
        return {f"{key}__": self.serializer.tag(item)}

    def to_python(self, value: Any) -> Any:
        ((key, item),) = value.items()
        return {key.removesuffix("__"): item}


class PassDict(JSONTag):
    """Any other dict: its values are tagged, itself it needs no mark. JSON makes its keys strings."""

    __slots__ = ()

    def check(self, value: Any) -> bool:
        return isinstance(value, dict)

    def to_json(self, value: Any) -> Any:
        tag = self.serializer.tag
        return {key: tag(item) for key, item in value.items()}

    tag = to_json


class TagTuple(JSONTag):
    """A tuple, written as a list."""

    __slots__ = ()
    key = " t"

    def check(self, value: Any) -> bool:
        return isinstance(value, tuple)

    def to_json(self, value: Any) -> Any:
        return list(map(self.serializer.tag, value))

    def to_python(self, value: Any) -> Any:
        return tuple(value)


class PassList(JSONTag):
    """A list: its items are tagged, itself it needs no mark."""

    __slots__ = ()

    def check(self, value: Any) -> bool:
        return isinstance(value, list)

    def to_json(self, value: Any) -> Any:
        return list(map(self.serializer.tag, value))

    tag = to_json


class TagBytes(JSONTag):
    """Bytes, written as Base64 text."""

    __slots__ = ()
    key = " b"

    def check(self, value: Any) -> bool:
        return isinstance(value, bytes)

    def to_json(self, value: Any) -> Any:
        return b64encode(value).decode("ascii")

    def to_python(self, value: Any) -> Any:
        return b64decode(value)


class TagMarkup(JSONTag):
    """An object with an ``__html__`` method, written as that text and read back as `markupsafe.Markup`."""

    __slots__ = ()
    key = " m"

    def check(self, value: Any) -> bool:
        return callable(getattr(value, "__html__", None))

    def to_json(self, value: Any) -> Any:
        return str(value.__html__())

    def to_python(self, value: Any) -> Any:
        return Markup(value)


class TagUUID(JSONTag):
    """A UUID, written as 32 hexadecimal digits."""

    __slots__ = ()
    key = " u"

    def check(self, value: Any) -> bool:
        return isinstance(value, UUID)

    def to_json(self, value: Any) -> Any:
        return value.hex

    def to_python(self, value: Any) -> Any:
        return UUID(value)


class TagDateTime(JSONTag):
    """A datetime, written as an HTTP date: whole seconds, UTC (RFC 9110, section 5.6.7)."""

    __slots__ = ()
    key = " d"

    def check(self, value: Any) -> bool:
        return isinstance(value, datetime)

    def to_json(self, value: Any) -> Any:
        return http_date(value)

    def to_python(self, value: Any) -> Any:
        return parse_date(value)


# What JSON has itself, and needs no tag.
_SCALARS = frozenset({str, int, float, bool, type(None)})

_STOCK_TAGS: list[type[JSONTag]] = [
    TagDict,
    PassDict,
    TagTuple,
    PassList,
    TagBytes,
    TagMarkup,
    TagUUID,
    TagDateTime,
]


class TaggedJSONSerializer:
    """Write and read values as tagged JSON: an inner serializer for itsdangerous.

    Beside JSON's own types it keeps tuple, bytes, Markup, UUID and datetime; more are added by `register`.
    """

    __slots__ = ("order", "tags")

    #: The tag classes that each new serializer begins with, in the order in which they are tried.
    default_tags: ClassVar[list[type[JSONTag]]] = [*_STOCK_TAGS]

    def __init__(self) -> None:
        self.tags: dict[str, JSONTag] = {}
        self.order: list[JSONTag] = []

        for tag_class in self.default_tags:
            self.register(tag_class)

    def register(self, tag_class: type[JSONTag], force: bool = False, index: int | None = None) -> None:
        """Add a tag.

        Args:
            tag_class: The class; it is instantiated with this serializer.
            force: Whether a tag with the same key may be replaced.
            index: The place in the order in which tags are tried; the end by default. A special case of another tag's
                type must come before that tag.

        Raises:
            KeyError: the key is registered already, and *force* is not set.
        """
        tag = tag_class(self)

        if tag.key:
            if tag.key in self.tags and not force:
                raise KeyError(f"Tag '{tag.key}' is already registered.")

            self.tags[tag.key] = tag

        self.order.insert(len(self.order) if index is None else index, tag)

    def tag(self, value: Any) -> Any:
        """Return *value* in its tagged form; a plain JSON type is returned as it is."""
        for tag in self.order:
            if tag.check(value):
                return tag.tag(value)

        return value

    def untag(self, value: dict[str, Any]) -> Any:
        """Return what the decoded object *value* stands for: itself, unless it is a tagged value."""
        if len(value) == 1:
            ((key, item),) = value.items()

            if key in self.tags:
                return self.tags[key].to_python(item)

        return value

    def _untag_scan(self, value: Any) -> Any:
        # Innermost first: a tag's to_python gets items that are Python values already.
        if isinstance(value, dict):
            scan = self._untag_scan
            return self.untag({key: item if type(item) in _SCALARS else scan(item) for key, item in value.items()})

        if isinstance(value, list):
            return [item if type(item) in _SCALARS else self._untag_scan(item) for item in value]

        return value

    def dumps(self, value: Any) -> str:
        """Return *value* as compact tagged JSON text."""
        # PERF: an ordinary session; where all tags are stock, none is for what it holds.
        if not (
            type(value) is dict
            and _SCALARS.issuperset(map(type, value.values()))
            and (len(value) != 1 or next(iter(value)) not in self.tags)
            and type(self).tag is TaggedJSONSerializer.tag
            and [*map(type, self.order)] == _STOCK_TAGS
        ):
            value = self.tag(value)

        return dumps(value, separators=(",", ":"))

    def loads(self, value: str) -> Any:
        """Return the value of the tagged JSON text *value*."""
        return self._untag_scan(loads(value))
