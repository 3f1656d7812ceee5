"""Find the rule for a path and method. Knows no application and does no I/O.

A rule is a way through a tree: first its host or subdomain, then the parts of its
path. From a node, a part that is text leads on by a dictionary; the others are
tried in the order of their weights. That is Werkzeug's order, and so are the
outcomes; what is ours is how they are found:

- `Matcher.match` is the whole search: it goes back where a way ends, and knows what
  it met (other methods, a missing slash). Werkzeug's adapters call it.
- `Matcher.find` is for requests. It goes the first way only, which is the right one
  wherever it arrives: what comes first in the order and fits is what the search
  would return. Paths without variables, and the text before a last variable, are
  looked up whole. Where that does not arrive, it searches.

Rules are put into the tree at the first match after they were added. Each comes into
sight by one assignment, so a thread that is matching meanwhile sees it or does not.
"""

from __future__ import annotations

import gc
import re
import threading
import typing as t
import uuid

from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import (
    BaseConverter,
    FloatConverter,
    IntegerConverter,
    UUIDConverter,
    ValidationError,
)
from werkzeug.routing.converters import NumberConverter
from werkzeug.routing.exceptions import NoMatch, RequestAliasRedirect, RequestPath
from werkzeug.routing.rules import Weighting

if t.TYPE_CHECKING:
    from werkzeug.routing import Map, Rule
    from werkzeug.routing.rules import RulePart

Match = tuple["Rule", dict[str, t.Any]]
# A variable's name, and what makes its value of the text; None if that is the value.
Variables = tuple[tuple[str, t.Callable[[str], t.Any] | None], ...]
# A rule that ends at a node. Variables are None where a match needs an adapter.
Leaf = tuple["Rule", Variables | None, t.Mapping[str, t.Any] | None]

# Text comes first whatever its weight is.
_WEIGHT_OF_TEXT = Weighting(0, [], 0, [])

# Where nothing is yet; never written to.
_NOTHING: dict[t.Any, t.Any] = {}


class _Node:
    """Where a way through the tree has come to.

    Attributes:
        static: The parts that are text, and where they lead.
        edges: The other parts, in the order in which they are tried.
        rules: The rules that end here, in the order in which they were added.
        http: By method, the first of them that takes it; under None one that takes
            all methods.
        websocket: The same for WebSockets.
    """

    __slots__ = ("edges", "http", "rules", "static", "websocket")

    def __init__(self) -> None:
        self.static: dict[str, _Node] = _NOTHING
        self.edges: tuple[_Edge, ...] = ()
        self.rules: tuple[Rule, ...] = ()
        self.http: dict[str | None, Leaf] = _NOTHING
        self.websocket: dict[str | None, Leaf] = _NOTHING


class _Site(_Node):
    """The node of one host or subdomain.

    Attributes:
        paths: The nodes where paths without variables end, by path.
        heads: The nodes that have edges and only text before them, by that text.
    """

    __slots__ = ("heads", "paths")

    def __init__(self) -> None:
        super().__init__()
        self.paths: dict[str, _Node] = {}
        self.heads: dict[str, _Node] = {}


_NO_SITE = _Site()


class _Edge:
    """A part with variables, and where it leads.

    Attributes:
        test: Returns what is true for the text that it matches.
        groups: Where the values are in what *test* returns; None if the text is the
            value.
        final: Whether it takes all the rest of the path, slashes included.
        suffixed: Whether a slash at the end is not part of the value.
    """

    __slots__ = ("final", "groups", "node", "part", "suffixed", "test")

    def __init__(self, part: RulePart, has_no_slash: bool) -> None:
        self.part = part
        self.node = _Node()
        self.final = part.final
        self.suffixed = part.suffixed
        self.groups: tuple[int, ...] | None = None
        known = has_no_slash and not part.suffixed
        self.test: t.Callable[[str], t.Any] = (
            known and _PLAIN_TESTS.get((part.content, part.final))
        ) or self._compile_at_first_use

    def _compile_at_first_use(self, text: str) -> re.Match[str] | None:
        # PERF: thousands of patterns would take seconds at start-up.
        pattern = re.compile(self.part.content)
        numbers = sorted((int(name[11:]), n) for name, n in pattern.groupindex.items() if name[:11] == "__werkzeug_")
        self.groups = tuple(n for _, n in numbers)
        self.test = pattern.match
        return pattern.match(text)


# PERF: what the patterns of Werkzeug's own converters come to where they are a whole part. "\d" is a decimal digit of
# any script, "." anything but the end of a line.
_PLAIN_TESTS: dict[tuple[str, bool], t.Callable[[str], t.Any]] = {
    (r"(?P<__werkzeug_0>[^/]{1,})\Z", False): len,
    (r"(?P<__werkzeug_0>\d+)\Z", False): str.isdecimal,
    (r"(?P<__werkzeug_0>[^/].*?)\Z", True): re.compile(r"[^/][^\n]*").fullmatch,
}


class _SlashRequired(Exception):
    """The way ends here, but goes on with a slash."""


class Matcher:
    """Finds the rules of one map, in the place of Werkzeug's matcher.

    Args:
        url_map: Whose default subdomain is where `find` looks.
        merge_slashes: Whether a path with two slashes in a row is redirected to the
            one without.
    """

    def __init__(self, url_map: Map, merge_slashes: bool) -> None:
        self.merge_slashes = merge_slashes
        self._map = url_map
        self._lock = threading.Lock()
        self._pending: list[Rule] = []
        self._root = _Node()
        self._home = _NO_SITE
        # By the ids of a node and a part, which both live as long as this does.
        self._edges: dict[tuple[int, int], _Edge] = {}
        self._texts: dict[str, RulePart] = {}
        self._patterns: dict[str, list[RulePart]] = {}
        # The endpoints of rules with defaults: other rules for them may redirect there.
        self._defaulted: set[t.Any] = set()

    # -- The tree ------------------------------------------------------------------

    def add(self, rule: Rule) -> None:
        """Add a bound rule. It is found from the next match on."""
        # PERF: equal parts are one object; else the garbage collector takes longer than all the rest with many rules.
        rule._parts = [self._one_of_equal(part) for part in rule._parts]
        self._pending.append(rule)

    def _one_of_equal(self, part: RulePart) -> RulePart:
        if part.static:
            part.weight = _WEIGHT_OF_TEXT
            return self._texts.setdefault(part.content, part)
        alike = self._patterns.setdefault(part.content, [])
        for other in alike:
            if other == part:
                return other
        alike.append(part)
        return part

    def update(self) -> None:
        """Put the rules that were added into the tree."""
        with self._lock:
            rules = self._pending[:]
            # PERF: of thousands of rules nothing is garbage; the collector would take twice as long as this.
            pauses = len(rules) > 1_000 and gc.isenabled()
            if pauses:
                gc.disable()
            try:
                self._insert(rules)
            finally:
                if pauses:
                    gc.enable()
            self._home = t.cast(_Site, self._root.static.get(self._map.default_subdomain or "", _NO_SITE))
            # Not before: until then, other threads wait for the lock.
            del self._pending[: len(rules)]

    def _insert(self, rules: list[Rule]) -> None:
        grown: dict[int, tuple[_Node, list[_Edge]]] = {}
        for rule in rules:
            self._insert_rule(rule, grown)
        for node, edges in grown.values():
            if len(edges) > 1:
                edges.sort(key=lambda edge: edge.part.weight)
            node.edges = tuple(edges)

    def _insert_rule(self, rule: Rule, grown: dict[int, tuple[_Node, list[_Edge]]]) -> None:
        domain, *parts = rule._parts
        node, site = self._root, None
        if domain.static:
            node = site = t.cast(_Site, _static_child(node, domain.content, _Site))
        else:
            node = self._dynamic_child(node, domain, False, grown)
        for at, part in enumerate(parts):
            if part.static:
                node = _static_child(node, part.content, _Node)
            else:
                if site is not None:
                    site.heads["/".join([part.content for part in parts[:at]])] = node
                    site = None
                node = self._dynamic_child(node, part, True, grown)
        if rule.defaults:
            self._defaulted.add(rule.endpoint)
        _end(node, rule)
        if site is not None:
            site.paths["/".join([part.content for part in parts])] = node

    def _dynamic_child(
        self, node: _Node, part: RulePart, has_no_slash: bool, grown: dict[int, tuple[_Node, list[_Edge]]]
    ) -> _Node:
        edge = self._edges.get((id(node), id(part)))
        if edge is None:
            edge = self._edges[id(node), id(part)] = _Edge(part, has_no_slash)
            grown.setdefault(id(node), (node, list(node.edges)))[1].append(edge)
        return edge.node

    # -- For requests --------------------------------------------------------------

    def find(  # noqa: C901 - PERF: the ordinary cases in one call
        self, path: str, method: str, websocket: bool = False
    ) -> Match | None:
        """Return the rule and its values on the default subdomain.

        None if only an adapter can tell: the answer is a redirect, or the URL is a
        WebSocket's and this is not one, or the reverse.

        Args:
            path: Decoded, with one leading slash.
            method: In upper case.
            websocket: Whether this is a WebSocket, which other rules match.

        Raises:
            NotFound: No rule matches the path.
            MethodNotAllowed: Rules match the path, but with other methods.
        """
        if self._pending:
            self.update()
        site = self._home
        node = site.paths.get(path)
        if node is not None:
            leaf = (node.websocket if websocket else node.http).get(method)
            if leaf is not None:
                rule, variables, defaults = leaf
                if variables is not None and defaults is None and rule.endpoint not in self._defaulted:
                    return rule, {}
            return self._end_at(node, (), path, method, websocket)
        head, _, part = path.rpartition("/")
        node = site.heads.get(head)
        if node is None or part in node.static:
            return self._find_by_first_way(path, method, websocket)
        for edge in node.edges:
            match = edge.test(part)
            if match:
                if edge.groups is not None:
                    return self._end_at(edge.node, [match[n] for n in edge.groups], path, method, websocket)
                node = edge.node
                leaves = node.websocket if websocket else node.http
                leaf = leaves.get(method) or leaves.get(None)
                if leaf is None:
                    break
                rule, variables, defaults = leaf
                if not variables:
                    break
                ((name, to_python),) = variables
                try:
                    args = {name: part if to_python is None else to_python(part)}
                except ValueError as e:
                    return self._refused(e, path, method, websocket)
                if defaults:
                    args.update(defaults)
                if rule.endpoint in self._defaulted and self._leads_to_defaults(rule, method, args):
                    return None
                return rule, args
        return self._find_by_search(path, method, websocket)

    def _find_by_first_way(self, path: str, method: str, websocket: bool) -> Match | None:
        node: _Node = self._home
        values: list[str] = []
        rest = iter(path.split("/"))
        for part in rest:
            child = node.static.get(part)
            if child is None:
                for edge in node.edges:
                    text = "/".join((part, *rest)) if edge.final else part
                    match = edge.test(text)
                    if match:
                        break
                    if edge.final:
                        return self._find_by_search(path, method, websocket)
                else:
                    return self._find_by_search(path, method, websocket)
                if edge.groups is None:
                    values.append(text)
                else:
                    values += [match[n] for n in edge.groups]
                child = edge.node
            node = child
        return self._end_at(node, values, path, method, websocket)

    def _end_at(self, node: _Node, values: t.Sequence[str], path: str, method: str, websocket: bool) -> Match | None:
        leaves = node.websocket if websocket else node.http
        leaf = leaves.get(method) or leaves.get(None)
        if leaf is None:
            return self._find_by_search(path, method, websocket)
        rule, variables, defaults = leaf
        if variables is None:
            return self._find_by_search(path, method, websocket)
        args: dict[str, t.Any] = {}
        try:
            for (name, to_python), value in zip(variables, values):  # noqa: B905 - PERF: their numbers are equal
                args[name] = value if to_python is None else to_python(value)
        except ValueError as e:
            return self._refused(e, path, method, websocket)
        if defaults:
            args.update(defaults)
        if rule.endpoint in self._defaulted and self._leads_to_defaults(rule, method, args):
            return None
        return rule, args

    def _find_by_search(self, path: str, method: str, websocket: bool) -> Match | None:
        try:
            rule, args = self.match(self._map.default_subdomain or "", path, method, websocket)
        except (RequestPath, RequestAliasRedirect):
            return None
        except NoMatch as e:
            _raise_http(e)
            return None
        if rule.redirect_to is not None:
            return None
        if rule.endpoint in self._defaulted and self._leads_to_defaults(rule, method, args):
            return None
        return rule, args

    def _refused(self, error: ValueError, path: str, method: str, websocket: bool) -> Match | None:
        if not isinstance(error, ValidationError):
            # Of a constructor called in a converter's place, an integer of too many digits; else it is raised again.
            return self._find_by_search(path, method, websocket)
        search = _Search(method, websocket)
        search.run(self._root, self._map.default_subdomain or "", path)
        _raise_http(search.no_match())
        return None

    def _leads_to_defaults(self, rule: Rule, method: str, args: dict[str, t.Any]) -> bool:
        """Whether another rule for the endpoint has these values as its defaults, and is the one to go to."""
        url_map = self._map
        if not url_map.redirect_defaults:
            return False
        url_map.update()
        for other in url_map._rules_by_endpoint[rule.endpoint]:
            if other is rule:
                break
            if other.provides_defaults_for(rule) and other.suitable_for(args, method):
                return True
        return False

    # -- For adapters --------------------------------------------------------------

    def match(self, domain: str, path: str, method: str, websocket: bool) -> Match:
        """Return the rule and its values, as Werkzeug's matcher does.

        Args:
            domain: The subdomain, or with host matching the host.

        Raises:
            NoMatch: No rule matches.
            RequestPath: A rule matches another way to write the path.
            RequestAliasRedirect: The rule is an alias.
        """
        if self._pending:
            self.update()
        search = _Search(method, websocket)
        try:
            found = search.run(self._root, domain, path)
            if found is None and self.merge_slashes and "//" in path:
                path = re.sub("/{2,}", "/", path)
                found = search.run(self._root, domain, path)
                if found is not None and found[0].merge_slashes is not False:
                    raise RequestPath(path)
                found = None
        except _SlashRequired:
            raise RequestPath(f"{path}/") from None
        if found is None:
            raise search.no_match()
        rule, values = found
        args: dict[str, t.Any] = {}
        for (name, converter), value in zip(rule._converters.items(), values):  # noqa: B905 - COMPAT: no error either
            try:
                args[str(name)] = converter.to_python(value)
            except ValidationError as e:
                raise search.no_match() from e
        if rule.defaults:
            args.update(rule.defaults)
        if rule.alias and rule.map.redirect_defaults:
            raise RequestAliasRedirect(args, rule.endpoint)
        return rule, args


class _Search:
    """One walk through the tree, with what it met that did not do.

    Attributes:
        allowed: The methods of rules that match but for the method.
        mismatch: Whether a rule matches but for being a WebSocket's, or not one's.
    """

    __slots__ = ("allowed", "method", "mismatch", "websocket")

    def __init__(self, method: str, websocket: bool) -> None:
        self.method = method
        self.websocket = websocket
        self.allowed: set[str] = set()
        self.mismatch = False

    def no_match(self) -> NoMatch:
        return NoMatch(self.allowed, self.mismatch)

    def run(self, root: _Node, domain: str, path: str) -> tuple[Rule, list[str]] | None:
        return self._follow(root, [domain, *path.split("/")], 0, [])

    def _follow(self, node: _Node, parts: list[str], at: int, values: list[str]) -> tuple[Rule, list[str]] | None:
        left = len(parts) - at
        if not left:
            return self._end(node, values)
        part = parts[at]
        child = node.static.get(part)
        if child is not None:
            found = self._follow(child, parts, at + 1, values)
            if found is not None:
                return found
        for edge in node.edges:
            text = "/".join(parts[at:]) if edge.final else part
            match = edge.test(text)
            if not match:
                continue
            taken = [*values, text] if edge.groups is None else values + [match[n] for n in edge.groups]
            if not edge.final:
                found = self._follow(edge.node, parts, at + 1, taken)
            elif edge.suffixed and match.groups()[-1] == "/":
                found = self._follow(edge.node, [""], 0, taken)
            else:
                found = self._end(edge.node, taken)
            if found is not None:
                return found
        if left == 1 and not part:
            rule = self._choose([rule for rule in node.rules if not rule.strict_slashes])
            if rule is not None:
                return rule, values
        return None

    def _end(self, node: _Node, values: list[str]) -> tuple[Rule, list[str]] | None:
        rule = self._choose(node.rules)
        if rule is not None:
            return rule, values
        slash = node.static.get("")
        if slash is not None:
            for rule in slash.rules:
                if rule.websocket == self.websocket and (rule.methods is None or self.method in rule.methods):
                    if rule.strict_slashes:
                        raise _SlashRequired
                    return rule, values
        return None

    def _choose(self, rules: t.Sequence[Rule]) -> Rule | None:
        for rule in rules:
            if rule.methods is not None and self.method not in rule.methods:
                self.allowed.update(rule.methods)
            elif rule.websocket != self.websocket:
                self.mismatch = True
            else:
                return rule
        return None


def _raise_http(outcome: NoMatch) -> None:
    """Raise what a client sees of it; return None if that depends on how it came."""
    if outcome.have_match_for:
        raise MethodNotAllowed(valid_methods=list(outcome.have_match_for)) from None
    if not outcome.websocket_mismatch:
        raise NotFound() from None


def _static_child(node: _Node, content: str, kind: type[_Node]) -> _Node:
    child = node.static.get(content)
    if child is None:
        child = kind()
        if node.static is _NOTHING:
            node.static = {content: child}
        else:
            node.static[content] = child
    return child


def _end(node: _Node, rule: Rule) -> None:
    """Let *rule* end at *node*."""
    variables: Variables | None = None
    if rule.redirect_to is None and not rule.alias:
        variables = tuple((str(name), _to_python(converter)) for name, converter in rule._converters.items())
    leaves = dict(node.websocket if rule.websocket else node.http)
    if None not in leaves:
        for method in (None,) if rule.methods is None else rule.methods:
            leaves.setdefault(method, (rule, variables, dict(rule.defaults) if rule.defaults else None))
    if rule.websocket:
        node.websocket = leaves
    else:
        node.http = leaves
    node.rules += (rule,)


def _to_python(converter: BaseConverter) -> t.Callable[[str], t.Any] | None:
    kind = type(converter)
    if "to_python" in vars(converter) or (kind not in _CONSTRUCTORS and kind.to_python is not BaseConverter.to_python):
        return converter.to_python
    if isinstance(converter, NumberConverter):
        limited = converter.fixed_digits or converter.min is not None or converter.max is not None
        return converter.to_python if limited else _CONSTRUCTORS[kind]
    return _CONSTRUCTORS.get(kind)


# PERF: what their converters call, where they check nothing.
_CONSTRUCTORS: dict[type[BaseConverter], t.Callable[[str], t.Any]] = {
    IntegerConverter: int,
    FloatConverter: float,
    UUIDConverter: uuid.UUID,
}
