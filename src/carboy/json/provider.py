"""The JSON operations of one application, as an object that an application may replace (``app.json``).

`JSONProvider` is the contract, `DefaultJSONProvider` the implementation on the standard library. Options are plain
attributes, read at each call, so that they can be changed at any time.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import uuid
import weakref
from collections.abc import Callable
from datetime import date
from typing import IO, TYPE_CHECKING, Any, AnyStr, cast

from werkzeug.http import http_date

if TYPE_CHECKING:
    from ..app import Carboy
    from ..http.response import Response

_COMPACT = (",", ":")
_TEXTS = frozenset({str, bytes})
_OPENING = frozenset({b"{", b"["})
_decode = json.JSONDecoder().decode


class JSONProvider:
    """What an application needs of a JSON library.

    Subclass it for another library: `dumps` and `loads` must be written, the rest builds on them. Install it as
    ``json_provider_class`` of an application class, or assign an instance to ``app.json``.

    Args:
        app: The application; kept as a weak reference in ``_app``.
    """

    def __init__(self, app: Carboy) -> None:
        self._app = cast("Carboy", weakref.proxy(app))

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return *obj* as JSON text; *kwargs* are the library's own options."""
        raise NotImplementedError

    def dump(self, obj: Any, fp: IO[str], **kwargs: Any) -> None:
        """Write *obj* as JSON to the text file *fp*, which should write UTF-8."""
        fp.write(self.dumps(obj, **kwargs))

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of the JSON text or UTF-8 bytes *s*; *kwargs* are the library's own options.

        Raises:
            ValueError: *s* is not valid JSON. Request parsing turns this error, and no other, into a 400 answer.
        """
        raise NotImplementedError

    def load(self, fp: IO[AnyStr], **kwargs: Any) -> Any:
        """Return the value of the JSON that the file *fp*, of text or UTF-8 bytes, holds."""
        return self.loads(fp.read(), **kwargs)

    def _prepare_response_obj(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args and kwargs:
            raise TypeError("app.json.response() takes either args or kwargs, not both")

        if len(args) == 1:
            return args[0]

        return args or kwargs or None

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a response of the application's class with the arguments as its JSON body.

        Takes one value, several values (a list), keyword arguments (an object), or nothing (null).

        Raises:
            TypeError: both positional and keyword arguments were given.
        """
        body = self.dumps(self._prepare_response_obj(args, kwargs))
        return self._app.response_class(body, mimetype="application/json")


def _default(o: Any) -> Any:
    """Return a JSON type for a date, decimal, UUID, dataclass or HTML-aware object."""
    if isinstance(o, date):
        return http_date(o)

    import decimal

    if isinstance(o, decimal.Decimal | uuid.UUID):
        return str(o)

    if dataclasses.is_dataclass(o) and not isinstance(o, type):
        return dataclasses.asdict(o)

    if hasattr(o, "__html__"):
        return str(o.__html__())

    raise TypeError(f"Object of type {type(o).__name__} is not JSON serializable")


def _make_encode(
    default: Callable[[Any], Any], ensure_ascii: bool, sort_keys: bool, separators: tuple[str, str] | None
) -> Callable[[Any], str]:
    """Return a function that does what `json.dumps` does with these options."""
    encoder = json.JSONEncoder(default=default, ensure_ascii=ensure_ascii, sort_keys=sort_keys, separators=separators)
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    quote: Any = getattr(json.encoder, "encode_basestring_ascii" if ensure_ascii else "encode_basestring")
    # Without the table in which a value that contains itself would be found, the encoder has no state of its own and
    # can be kept. Such a value ends in a RecursionError; the other encoder then tells what is wrong with it.
    chunks = make(None, default, quote, None, encoder.key_separator, encoder.item_separator, sort_keys, False, True)

    def encode(obj: Any) -> str:
        try:
            return "".join(chunks(obj, 0))
        except RecursionError:
            return encoder.encode(obj)

    return encode


@functools.cache
def _msgspec_decode() -> Callable[[str | bytes], Any] | None:
    """Return msgspec's way of reading JSON; None if it is not installed. Imported when JSON is first read."""
    try:
        decode: Callable[[str | bytes], Any] = importlib.import_module("msgspec.json").Decoder().decode
    except ImportError:
        return None

    return decode


class DefaultJSONProvider(JSONProvider):
    """JSON by the standard library's `json` module, with a few more types.

    Dates and datetimes become HTTP dates (RFC 9110, section 5.6.7), decimals and UUIDs strings, dataclasses objects,
    and whatever has an ``__html__`` method (such as markupsafe's ``Markup``) the string that it returns.
    """

    #: Called with each object that `json` cannot serialize; returns a JSON type or raises TypeError.
    default: Callable[[Any], Any] = staticmethod(_default)

    #: Whether characters outside ASCII are written as escapes.
    ensure_ascii: bool = True

    #: Whether the keys of each object are sorted; they must then all be strings.
    sort_keys: bool = True

    #: Whether `response` leaves out indentation and spaces. None: yes, except in debug mode.
    compact: bool | None = None

    #: The content type of `response`.
    mimetype: str = "application/json"

    # The encoder of the last call with the usual options, and the options it was made for.
    _encoder: tuple[tuple[Any, ...], Callable[[Any], str]] | None = None

    def dumps(self, obj: Any, *, separators: tuple[str, str] | None = None, **kwargs: Any) -> str:
        """Return *obj* as JSON text.

        Args:
            separators: What stands between items and between key and value; see `json.dumps`.
            kwargs: Other options of `json.dumps`; they go before the provider's own.

        Raises:
            TypeError: a value is not serializable.
            ValueError: a value contains itself.
        """
        if kwargs:
            kwargs.setdefault("default", self.default)
            kwargs.setdefault("ensure_ascii", self.ensure_ascii)
            kwargs.setdefault("sort_keys", self.sort_keys)
            return json.dumps(obj, separators=separators, **kwargs)

        # PERF: json.dumps builds an encoder for each call; it is kept here until an option changes.
        options = (self.default, self.ensure_ascii, self.sort_keys, separators)
        cached = self._encoder

        if cached is None or cached[0] != options:
            cached = self._encoder = (options, _make_encode(*options))

        return cached[1](obj)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Return the value of the JSON text or UTF-8 bytes *s*.

        Args:
            kwargs: Options of `json.loads`.

        Raises:
            ValueError: *s* is not valid JSON, is nested deeper than Python's recursion limit, or holds an integer with
                more digits than `sys.get_int_max_str_digits` allows.
        """
        decode = _msgspec_decode()

        if decode is not None and not kwargs and type(s) in _TEXTS:
            # PERF: half the time, a tenth for a small document. What msgspec accepts it reads as json does; of what it
            # refuses (NaN, lone surrogates, UTF-16), json accepts some, and says what is wrong with the rest.
            try:
                return decode(s)
            except Exception:
                pass

        try:
            # PERF: json.loads looks at its eight options and guesses the encoding (1.35 µs -> 0.8 µs for two keys).
            if type(s) is bytes and s[:1] in _OPENING and s[1:2] != b"\0" and not kwargs:
                return _decode(s.decode("utf-8", "surrogatepass"))

            return json.loads(s, **kwargs)
        except RecursionError:
            raise ValueError("The JSON document is nested too deeply.") from None

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a response with the arguments as its JSON body, of the content type `mimetype`.

        Takes one value, several values (a list), keyword arguments (an object), or nothing (null). In debug mode, or
        where `compact` is False, the body is indented by two spaces. It ends with a newline.

        Raises:
            TypeError: both positional and keyword arguments were given, or a value is not serializable.
        """
        # PERF: the usual call, with one value, is told apart here.
        obj = args[0] if len(args) == 1 and not kwargs else self._prepare_response_obj(args, kwargs)
        return self._app.response_class(self.text_of(obj), mimetype=self.mimetype)

    def text_of(self, obj: Any) -> str:
        """Return the body of a response with *obj*.

        Raises:
            TypeError: a value is not serializable.
        """
        compact = not self._app.config["DEBUG"] if self.compact is None else self.compact
        return (self.dumps(obj, separators=_COMPACT) if compact else self.dumps(obj, indent=2)) + "\n"


def responds_plainly(provider: JSONProvider) -> bool:
    """Return whether a response of *provider* has nothing but its `text_of` and its `mimetype`."""
    return (
        isinstance(provider, DefaultJSONProvider)
        and "response" not in vars(provider)
        and (type(provider).response is DefaultJSONProvider.response)
    )
