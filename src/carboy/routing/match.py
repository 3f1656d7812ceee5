"""Find the rule for a path and method. Knows no application and does no I/O.

Werkzeug's map defines what matches. For the ordinary hit, a table compiled from
the same rules gives the same answer without an adapter object per request:
static paths by one dictionary look-up, dynamic ones by a walk over a tree of
path parts in Werkzeug's order of preference. Whatever is not an ordinary hit
(redirects, slashes, defaults, aliases, 404, 405) is left to Werkzeug, so a table
may say "I don't know" but never gives another answer.
"""

from __future__ import annotations

import functools
import re
import typing as t

from werkzeug.exceptions import BadRequest, SecurityError
from werkzeug.routing import BaseConverter, Rule, RuleFactory
from werkzeug.routing import Map as WerkzeugMap
from werkzeug.sansio.utils import get_host


class Map(WerkzeugMap):
    """Werkzeug's map, which also knows when it grew and in what order.

    Attributes:
        version: Grows with every rule added.
        in_order: The rules as they were added: of two that match the same, the
            first is taken.
    """

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        self.version = 0
        self.in_order: list[Rule] = []
        super().__init__(*args, **kwargs)

    def add(self, rulefactory: RuleFactory) -> None:
        """Add a rule, or all those of a factory."""
        for rule in rulefactory.get_rules(self):
            super().add(rule)
            self.in_order.append(rule)
        self.version += 1


class _Irregular(Exception):
    """The walk met a case that only Werkzeug decides."""


class _Node:
    __slots__ = ("dynamic", "rules", "static")

    def __init__(self) -> None:
        self.static: dict[str, _Node] = {}
        self.dynamic: list[_Edge] = []
        self.rules: list[_Leaf] = []


class _Edge:
    """A dynamic part: what it matches, and where it leads."""

    __slots__ = ("final", "groups", "match", "node", "part", "suffixed")

    def __init__(self, part: t.Any, anything: bool) -> None:
        self.part = part
        self.node = _Node()
        self.final: bool = part.final
        self.suffixed: bool = part.suffixed
        pattern = re.compile(part.content)
        # None where any non-empty part matches as a whole.
        self.match = None if anything else pattern.match
        numbers = sorted((int(name[11:]), n) for name, n in pattern.groupindex.items() if name[:11] == "__werkzeug_")
        self.groups = [n for _, n in numbers]


class _Leaf(t.NamedTuple):
    methods: frozenset[str] | None
    rule: Rule
    # Per variable: its name, and its converter's to_python or None for text as it is.
    variables: list[tuple[str, t.Callable[[str], t.Any] | None]]
    defaults: dict[str, t.Any] | None
    strict_slashes: bool


Match = tuple[Rule, dict[str, t.Any]]


class _Table:
    """The rules of a map, compiled for HTTP or for WebSockets. Never changed once it is made."""

    def __init__(self, url_map: Map, websocket: bool) -> None:
        self.websocket = websocket
        self.root = _Node()
        # Per path without variables: per method (None for any) the rule and its values; None if Werkzeug decides.
        self.static: dict[str, dict[str | None, Match | None]] = {}
        domain = url_map.default_subdomain or ""
        redirects = {rule.endpoint for rule in url_map.in_order if rule.defaults and url_map.redirect_defaults}
        try:
            for rule in url_map.in_order:
                if not rule.build_only:
                    self._add(rule, domain, rule.endpoint in redirects)
        except (AttributeError, _Irregular):
            # Rules of another shape than expected: everything is Werkzeug's to decide.
            self.root = _Node()
            self.static = {}
        _sort(self.root)

    def _add(self, rule: Rule, domain: str, redirects: bool) -> None:
        first, *parts = rule._parts
        if not first.static:
            raise _Irregular
        if first.content != domain:
            return
        node = self.root
        for part in parts:
            if part.static:
                node = node.static.setdefault(part.content, _Node())
                continue
            for edge in node.dynamic:
                if edge.part == part:
                    break
            else:
                edge = _Edge(part, _matches_anything(part))
                node.dynamic.append(edge)
            node = edge.node
        ordinary = not (redirects or rule.redirect_to is not None or rule.alias or rule.websocket != self.websocket)
        defaults = dict(rule.defaults) if rule.defaults else None
        leaf = _Leaf(
            frozenset(rule.methods) if rule.methods is not None else None,
            # A rule that is not ordinary takes its place in the order, to be found and left to Werkzeug.
            rule if ordinary else t.cast(Rule, None),
            [(str(name), _to_python(converter)) for name, converter in rule._converters.items()],
            defaults,
            bool(rule.strict_slashes),
        )
        node.rules.append(leaf)
        if all(part.static for part in parts):
            by_method = self.static.setdefault("/".join(part.content for part in parts), {})
            if None not in by_method:
                for method in (None,) if leaf.methods is None else leaf.methods:
                    by_method.setdefault(method, (rule, defaults or {}) if ordinary else None)


class Router:
    """Matches by the compiled table of one map, compiled anew when the map grows."""

    def __init__(self, url_map: Map) -> None:
        self.map = url_map
        self.version = -1
        self._table = _Table(url_map, False)
        self._websockets = _Table(url_map, True)

    def match(self, path: str, method: str, websocket: bool = False) -> Match | None:
        """Return the rule and its values for an ordinary hit, else None.

        Args:
            path: Decoded, with one leading slash.
            method: In upper case.
            websocket: Whether this is a WebSocket, which other rules match.
        """
        if self.map.version != self.version:
            # Another thread may do the same; both make the same tables.
            version = self.map.version
            self.map.update()
            self._table = _Table(self.map, False)
            self._websockets = _Table(self.map, True)
            self.version = version
        table = self._websockets if websocket else self._table
        by_method = table.static.get(path)
        if by_method is not None:
            hit = by_method[method] if method in by_method else by_method.get(None)
            if hit is not None:
                return hit[0], hit[1].copy()
        return _search(table.root, path, method)


def _search(root: _Node, path: str, method: str) -> Match | None:
    parts = path.split("/")
    node, at, values = _descend(root, parts)
    try:
        found = _walk(node, parts, at, values, method)
        if found is None:
            return None
        leaf, values = found
        args = {}
        for (name, to_python), value in zip(leaf.variables, values, strict=True):
            args[name] = value if to_python is None else to_python(value)
    except (_Irregular, ValueError):
        return None
    if leaf.defaults:
        args.update(leaf.defaults)
    return leaf.rule, args


def _to_python(converter: BaseConverter) -> t.Callable[[str], t.Any] | None:
    unchanged = type(converter).to_python is BaseConverter.to_python and "to_python" not in vars(converter)
    return None if unchanged else converter.to_python


_WHOLE_PART = re.compile(r"\(\?P<__werkzeug_\d+>\[\^/\]\{1,\}\)\\Z").fullmatch


def _matches_anything(part: t.Any) -> bool:
    # "<name>" alone between two slashes, with the default converter.
    return not part.final and not part.suffixed and _WHOLE_PART(part.content) is not None


def _sort(node: _Node) -> None:
    node.dynamic.sort(key=lambda edge: edge.part.weight)
    for child in node.static.values():
        _sort(child)
    for edge in node.dynamic:
        _sort(edge.node)


def _pick(rules: list[_Leaf], method: str, slash: bool = False) -> _Leaf | None:
    for leaf in rules:
        if slash and leaf.strict_slashes:
            continue
        if leaf.methods is None or method in leaf.methods:
            if leaf.rule is None:
                raise _Irregular
            return leaf
    return None


def _descend(node: _Node, parts: list[str]) -> tuple[_Node, int, list[str]]:
    """Go from *node* as far as there is but one way to go; return where the search starts.

    PERF: spares the search, which calls itself for each part, in most requests.
    """
    values: list[str] = []
    at = 0
    for part in parts:
        edges = node.dynamic
        child = node.static.get(part)
        if child is not None:
            if edges:
                break
            node = child
        else:
            if len(edges) != 1:
                break
            edge = edges[0]
            if edge.match is None:
                if not part:
                    break
                values.append(part)
            else:
                match = None if edge.final or len(edge.groups) != 1 else edge.match(part)
                if match is None:
                    break
                values.append(match[edge.groups[0]])
            node = edge.node
        at += 1
    return node, at, values


def _walk(node: _Node, parts: list[str], at: int, values: list[str], method: str) -> tuple[_Leaf, list[str]] | None:
    """Follow *parts* from *at*, trying what Werkzeug's matcher tries, in its order."""
    if at == len(parts):
        leaf = _pick(node.rules, method)
        if leaf is not None:
            return leaf, values
        if "" in node.static:
            # Perhaps a redirect to the path with a slash, which ends Werkzeug's search.
            raise _Irregular
        return None
    part = parts[at]
    child = node.static.get(part)
    if child is not None:
        found = _walk(child, parts, at + 1, values, method)
        if found is not None:
            return found
    for edge in node.dynamic:
        if edge.match is None:
            found = _walk(edge.node, parts, at + 1, [*values, part], method) if part else None
        else:
            found = _follow(edge, parts, at, values, method)
        if found is not None:
            return found
    if not part and at == len(parts) - 1:
        leaf = _pick(node.rules, method, slash=True)
        if leaf is not None:
            return leaf, values
    return None


def _follow(edge: _Edge, parts: list[str], at: int, values: list[str], method: str) -> tuple[_Leaf, list[str]] | None:
    match = edge.match("/".join(parts[at:]) if edge.final else parts[at]) if edge.match is not None else None
    if match is None:
        return None
    values = values + [match[n] for n in edge.groups]
    if not edge.final:
        return _walk(edge.node, parts, at + 1, values, method)
    if edge.suffixed and match.groups()[-1] == "/":
        return _walk(edge.node, [""], 0, values, method)
    return _walk(edge.node, [], 0, values, method)


@functools.lru_cache(maxsize=1024)
def check_host(host: str, trusted: tuple[str, ...] | None) -> None:
    """Accept the value of a ``Host`` header (RFC 9110 section 7.2).

    Raises:
        SecurityError: It is not among the trusted ones.
        BadRequest: It has characters that no host has, or is two hosts.
    """
    if not host or get_host("http", host, None, trusted):
        return
    # COMPAT: Werkzeug 3.1.8 and newer take an invalid header for a missing one; Flask's tests want 400, but accept
    # an international name that was not encoded. What came over a wire is Latin-1 (PEP 3333), so it is not one.
    try:
        host.encode("latin1")
        valid = False
    except UnicodeError:
        valid = bool(get_host("http", host.encode("idna").decode("ascii")))
    if not valid:
        raise BadRequest("The Host header is not a valid host name.")


__all__ = ["Map", "Router", "SecurityError", "check_host"]
