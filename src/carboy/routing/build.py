"""Build the URL of a rule from values. Knows no application and does no I/O."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import quote

from werkzeug.routing import BaseConverter, IntegerConverter, Rule, ValidationError

# What may stand in a path as it is (https://url.spec.whatwg.org/#url-path-segment-string).
_SAFE = "!$&'()*+,/:;=@"
_is_safe = re.compile(rf"[A-Za-z0-9_.~\-{re.escape(_SAFE)}]*").fullmatch

# Names of variables that Werkzeug refuses when it compiles the function that builds a rule's URLs.
_REFUSED = {"None", "True", "False", "__debug__"}


class _Variable(t.NamedTuple):
    name: str
    to_url: t.Callable[[t.Any], str]
    # PERF: whether to_url does no more than quote text, and write integers as they are.
    quotes: bool
    writes_integers: bool
    # The text up to the next variable.
    after: str


class Url:
    """Builds the URLs of one rule, in the place of the function that Werkzeug compiles for it.

    PERF: compiling that function is nine tenths of what adding a rule costs, and most
    applications build few of their URLs. This is compiled when the first is built.

    Args:
        append_unknown: Whether values that are not the rule's go into the query.
    """

    __slots__ = ("_append_unknown", "_domain", "_names", "_path", "_rule")

    def __init__(self, rule: Rule, append_unknown: bool) -> None:
        self._rule = rule
        self._append_unknown = append_unknown
        self._names: set[str] | None = None
        self._domain: tuple[str, list[_Variable]]
        self._path: tuple[str, list[_Variable]]

    def __get__(self, rule: Rule, owner: type | None = None) -> Url:
        # Werkzeug binds what it compiled; this is bound already.
        return self

    def __call__(self, /, **values: t.Any) -> tuple[str, str]:
        """Return the host or subdomain, and the path with the query.

        Raises:
            TypeError: A variable has no value.
            ValidationError: A converter refuses its value.
        """
        missing = self._rule.arguments - values.keys()
        if missing:
            raise TypeError(f"The URL of {self._rule!r} needs values for {sorted(missing)}.")
        return self._build(values)

    def build_if_suitable(self, values: t.Mapping[str, t.Any], method: str | None) -> tuple[str, str] | None:
        """Return the same, or None if the rule does not take the method or the values."""
        rule = self._rule
        methods = rule.methods
        if method is not None and methods is not None and method not in methods:
            return None
        if not rule.arguments <= values.keys():
            return None
        try:
            return self._build(values)
        except ValidationError:
            return None

    def _build(self, values: t.Mapping[str, t.Any]) -> tuple[str, str]:
        names = self._names
        if names is None:
            names = self._compile()
        query = ""
        if self._append_unknown and len(values) > len(names):
            query = self._rule._encode_query_vars({name: values[name] for name in values if name not in names})
            if query:
                query = f"?{query}"
        domain, variables = self._domain
        if variables:
            domain = _fill(domain, variables, values)
        path, variables = self._path
        if variables:
            path = _fill(path, variables, values)
        return domain, path + query

    def _compile(self) -> set[str]:
        trace = self._rule._trace
        divider = next(at for at, (_, text) in enumerate(trace) if text == "|")
        self._domain = _template(self._rule, trace[:divider])
        self._path = _template(self._rule, trace[divider + 1 :])
        self._names = {text for is_variable, text in trace if is_variable}
        return self._names


def builder(rule: Rule, append_unknown: bool = True) -> t.Any:
    """Return what builds the URLs of a rule that is being bound."""
    names = [text for is_variable, text in rule._trace if is_variable]
    if rule.defaults or len(set(names)) < len(names) or not _REFUSED.isdisjoint(names):
        # A default may take a variable's place, now; the others are errors, which Werkzeug tells of.
        return type(rule)._compile_builder(rule, append_unknown)
    return Url(rule, append_unknown)


def _template(rule: Rule, trace: list[tuple[bool, str]]) -> tuple[str, list[_Variable]]:
    first = ""
    variables: list[_Variable] = []
    for is_variable, text in trace:
        if is_variable:
            variables.append(_variable(text, rule._converters[text]))
        elif variables:
            variables[-1] = variables[-1]._replace(after=variables[-1].after + quote(text, safe=_SAFE))
        else:
            first += quote(text, safe=_SAFE)
    return first, variables


def _variable(name: str, converter: BaseConverter) -> _Variable:
    stock = "to_url" not in vars(converter)
    quotes = stock and type(converter).to_url is BaseConverter.to_url
    is_integer = stock and type(converter) is IntegerConverter and not converter.fixed_digits
    return _Variable(name, converter.to_url, quotes, quotes or is_integer, "")


def _fill(text: str, variables: list[_Variable], values: t.Mapping[str, t.Any]) -> str:
    for name, to_url, quotes, writes_integers, after in variables:
        value = values[name]
        kind = type(value)
        if kind is int and writes_integers:
            text += str(value)
        elif kind is str and quotes and _is_safe(value):
            text += value
        else:
            text += to_url(value)
        text += after
    return text
