"""Our map has Werkzeug's outcome for every path and every URL, compared on generated rules.

``CARBOY_ROUTING_COMPARISONS`` sets how many are compared in each of the two tests, of matching and of building; by
default 4,500. ``make test-routing`` compares 200,000.
"""

import os
import random
import re
import uuid

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import (
    BaseConverter,
    EndpointPrefix,
    Map,
    Rule,
    Subdomain,
    Submount,
    UnicodeConverter,
    ValidationError,
)

import carboy.routing

COMPARISONS = int(os.environ.get("CARBOY_ROUTING_COMPARISONS", "4500"))
PER_MAP = 15


# -- Rules ---------------------------------------------------------------------------


class Even(BaseConverter):
    """Refuses in both directions, and weighs less than text."""

    regex = r"\d+"
    weight = 60

    def to_python(self, value):
        if int(value) % 2:
            raise ValidationError()
        return int(value) // 2

    def to_url(self, value):
        if not isinstance(value, int):
            raise ValidationError()
        return str(value * 2)


class Pair(BaseConverter):
    """Takes a slash, so that it is matched against all the rest of the path."""

    regex = r"[^/]+/[^/]+"
    weight = 150

    def to_python(self, value):
        return value.split("/")

    def to_url(self, value):
        return "/".join(value)


class Grouped(BaseConverter):
    """Has groups of its own."""

    regex = r"(a|b)(?P<more>x*)"


class Shout(UnicodeConverter):
    """The default converter with another outcome."""

    def to_python(self, value):
        return value.upper()


class Broken(BaseConverter):
    """Fails in a way of its own."""

    regex = "broken"

    def to_python(self, value):
        raise ZeroDivisionError(value)

    def to_url(self, value):
        raise ZeroDivisionError(value)


class Anything(BaseConverter):
    """Matches no text, too, and takes the rest though its pattern has no slash."""

    regex = ".*"
    part_isolating = False
    weight = 300


CONVERTERS = {"even": Even, "pair": Pair, "grouped": Grouped, "shout": Shout, "broken": Broken, "rest": Anything}

# A converter, and text to try it with; some of it does not match.
TEXTS = {
    "": ["a", "b", "ab", "1", "é", "a b", "x\ny", "-"],
    "string(length=2)": ["ab", "é1", "a", "abc"],
    "string(minlength=2, maxlength=3)": ["ab", "abc", "a", "abcd"],
    "string(minlength=0)": ["", "a"],
    "any(a, b, 'a-b')": ["a", "b", "a-b", "c"],
    "int": ["1", "12", "007", "٣", "²", "-1", "1_0", "+1", " 1", "1\n", "9" * 5000],
    "int(signed=True)": ["-1", "1", "--1"],
    "int(fixed_digits=2)": ["01", "1", "12"],
    "int(min=3, max=10)": ["2", "3", "10", "11"],
    "float": ["1.5", "1", "-1.5", "٣.٤", "1.5.1"],
    "float(signed=True, max=2)": ["-1.5", "2.5"],
    "path": ["a", "a/b", "a//b", "/a", "a/", "a\nb", "é/1"],
    "uuid": ["12345678-1234-1234-1234-123456789abc", "12345678-1234-1234-1234-123456789ABZ"],
    "even": ["2", "3", "44"],
    "pair": ["a/b", "a", "a/b/c"],
    "grouped": ["axx", "b", "c"],
    "shout": ["a", "ab"],
    "broken": ["broken", "a"],
    "rest": ["", "a", "a/b", "a/"],
}
WORDS = ["a", "b", "ab", "1", "12", "a-b", "é", "a.b", "a|b", "%", "broken"]
NAMES = ["x", "y", "z", "u", "v", "w", "self", "rule", "class"]
# Parts of rules; the variables get their names in a rule.
PARTS = ["a", "b"] * 12 + WORDS + ["<@>", "<int:@>", "<path:@>"] * 6
for converter in TEXTS:
    variable = f"<{converter}:@>" if converter else "<@>"
    PARTS += [variable, variable, variable, f"a{variable}", f"{variable}b", f"a{variable}-<@>"]
SUBDOMAINS = ["", "www", "<sub>", "<int:sub>", "a-<sub>", "<path:sub>"]
HOSTS = ["localhost", "example.org", "<sub>.example.org", "example.org:8000", "<host>"]


def go_elsewhere(adapter, **values):
    return f"elsewhere/{adapter.subdomain}/{sorted(values)}"


# Each rule has two of them.
OPTIONS = [{}] * 8
OPTIONS += [{"methods": methods} for methods in (["GET"], ["POST"], ["GET", "PUT"], ["get", "OPTIONS"], [])]
OPTIONS += [{"defaults": defaults} for defaults in ({"x": 1}, {"d": "a"}, {"x": "a", "d": 1})]
OPTIONS += [{"redirect_to": target} for target in ("moved", "/moved/<x>", go_elsewhere)]
OPTIONS += [{"websocket": True, "methods": methods} for methods in (None, None, ["GET"])]
OPTIONS += [{"strict_slashes": False}, {"strict_slashes": True}, {"merge_slashes": False}]
OPTIONS += [{"alias": True}, {"build_only": True}, {"endpoint": "f"}, {"endpoint": "f"}, {"endpoint": "blue.print"}]


@st.composite
def rules(draw, parts, hosts):
    """The keyword arguments of a rule made of *parts*."""
    path = "/" + draw(st.sampled_from(["/", "/", "/", "//"])).join(draw(st.lists(parts, max_size=3)))
    # A name used twice is an error, which has to be the same one.
    names = iter(NAMES if draw(st.integers(0, 40)) else ["x"] * 9)
    path = re.sub("@", lambda _: next(names), path)
    options = {"endpoint": "e"} | draw(st.sampled_from(OPTIONS)) | draw(st.sampled_from(OPTIONS)) | draw(hosts)
    if options.get("websocket"):
        options["methods"] = None
    return {"string": path + draw(st.sampled_from(["", "", "/", "//"]))} | options


@st.composite
def maps(draw):
    """What makes a map: its options, and for each rule its arguments and a factory to put it into."""
    flags = ("strict_slashes", "merge_slashes", "redirect_defaults", "sort_parameters")
    options = dict(zip(flags, draw(st.tuples(*[st.booleans()] * 4)), strict=True))
    options["host_matching"] = draw(st.sampled_from([False, False, False, True]))
    options["default_subdomain"] = draw(st.sampled_from(["", "", "www"]))
    if options["host_matching"]:
        hosts = st.sampled_from([{"host": host} for host in HOSTS])
    else:
        hosts = st.sampled_from([{}] * 12 + [{"subdomain": subdomain} for subdomain in SUBDOMAINS])
    factories = st.sampled_from([None] * 12 + ["submount", "prefix", "subdomain"])
    # Of a few parts only, so that the rules overlap.
    parts = st.sampled_from(draw(st.lists(st.sampled_from(PARTS), min_size=2, max_size=5)))
    return options, draw(st.lists(st.tuples(rules(parts, hosts), factories), min_size=2, max_size=9))


def make(kind, options, rules, later):
    """Return a map of class *kind*; the last *later* rules are added after a first match."""
    url_map = kind(converters=CONVERTERS, **options)
    for number, (arguments, factory) in enumerate(rules):
        if number == len(rules) - later:
            url_map.update()
            outcome(url_map.bind("localhost").match, "/", return_rule=True)
        rule = Rule(**arguments)
        match factory:
            case "submount":
                rule = Submount("/a", [rule])
            case "prefix":
                rule = EndpointPrefix("blue.", [rule])
            case "subdomain":
                rule = Subdomain("www", [rule])
        try:
            url_map.add(rule)
        except Exception as e:
            # Werkzeug may have refused it before or after taking it in; that is where its work ends.
            return url_map, (number, type(e), str(e))
    return url_map, None


def outcome(call, *args, **options):
    """What a call comes to, so that two can be compared."""
    try:
        value = call(*args, **options)
    except MethodNotAllowed as e:
        return type(e), sorted(e.valid_methods)
    except HTTPException as e:
        return type(e), e.code, getattr(e, "new_url", None), str(e)
    except Exception as e:
        return type(e), str(e)
    if isinstance(value, tuple):
        rule, values = value
        return repr(rule), rule._trace, sorted(rule.methods or ()), [(k, type(v), v) for k, v in values.items()]
    return sorted(value) if isinstance(value, list) else value


def order_of(url_map):
    return [(rule.rule, rule.endpoint, sorted(rule.methods or ()), rule.websocket) for rule in url_map.iter_rules()]


# Of variables and queries.
VALUES = ["a", "b", "ab", "a b", "é", "a/b", "a?b", "", "1", "%", "~.-_", "a\nb", None, 1, 2, -3, True, 1.5]
VALUES += [["a", "b"], uuid.UUID(int=5)]


# -- Requests ------------------------------------------------------------------------


def some_path(chance, rules):
    """A path that a rule may match, or one near it."""
    text = chance.choice(rules)[0]["string"] if chance.random() < 0.85 else "/".join(chance.choices(WORDS, k=3))
    text = re.sub(r"<(?:([^>]*):)?\w+>", lambda found: some_text(chance, TEXTS[found[1] or ""]), text)
    if chance.random() < 0.1:
        text = "/a" + text
    spoil = chance.random()
    if spoil < 0.2:
        text = text.removesuffix("/") if text.endswith("/") else text + "/"
    elif spoil < 0.3:
        text = text.replace("/", "//", 2)
    elif spoil < 0.4:
        text += chance.choice(["/a", "/1", "b", "//", "/<x>"])
    elif spoil < 0.45:
        text = chance.choice(["", "/", "//", "a", "///"])
    return text


def some_text(chance, texts):
    """Mostly the first, which matches."""
    return texts[0] if chance.random() < 0.6 else chance.choice(texts)


def some_adapter(chance, host_matching):
    """Arguments of ``Map.bind``."""
    host = chance.choice(["localhost", "example.org", "www.example.org", "a.example.org", "example.org:8000"])
    return {
        "server_name": host,
        "script_name": chance.choice([None, "/", "/mounted", "/mounted/"]),
        "subdomain": None if host_matching else chance.choice([*[None] * 12, "", "www", "other", "7", "a-b", "a/b"]),
        "url_scheme": chance.choice(["http"] * 6 + ["https", "ws", "wss", ""]),
        "default_method": chance.choice(["GET", "POST"]),
        "query_args": chance.choice([None, {}, {"q": "a b", "r": [1, 2]}, "q=1&q=2"]),
    }


def compared(compare):
    """Call *compare* with generated maps until it has counted enough; print how many it compared."""
    number = round = 0
    while number < COMPARISONS:

        @seed(round)
        @settings(
            max_examples=(COMPARISONS - number) // PER_MAP + 1,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(maps(), st.integers(0, 2), st.integers(0, 2**32))
        def run(given_map, later, entropy):
            nonlocal number
            options, rules = given_map
            mine, my_error = make(carboy.routing.Map, options, rules, later)
            theirs, their_error = make(Map, options, rules, later)
            assert my_error == their_error
            if my_error is None:
                assert order_of(mine) == order_of(theirs)
                chance = random.Random(entropy)
                for _ in range(PER_MAP):
                    compare(chance, mine, theirs, rules)
                number += PER_MAP

        run()
        round += 1
    print(f"{number} outcomes compared, none different")  # noqa: T201 - what `make test-routing` shows
    assert number >= COMPARISONS


def test_matching_is_werkzeugs():
    def compare(chance, mine, theirs, rules):
        bound = some_adapter(chance, mine.host_matching)
        path, method = some_path(chance, rules), chance.choice(["GET", "GET", "POST", "PUT", "OPTIONS", "get"])
        request = {"path_info": path, "method": method, "websocket": chance.choice([None] * 4 + [False, True])}
        ours, its = mine.bind(**bound), theirs.bind(**bound)
        assert outcome(ours.match, return_rule=True, **request) == outcome(its.match, return_rule=True, **request)
        assert outcome(ours.allowed_methods, path) == outcome(its.allowed_methods, path)
        compare_request(mine, theirs, "/" + path.lstrip("/"), method.upper(), bool(request["websocket"]))

    compared(compare)


def compare_request(mine, theirs, path, method, websocket):
    """What a request finds without an adapter is what its adapter would find."""
    if mine.host_matching:
        return
    adapter = theirs.bind("localhost", subdomain=theirs.default_subdomain or "")
    expected = outcome(adapter.match, path, method, return_rule=True, websocket=websocket)
    found = outcome(mine.matcher.find, path, method, websocket)
    if found is not None:
        assert found == expected
    else:
        # Neither a hit, which begins with the rule's text, nor one of these.
        assert isinstance(expected[0], type) and expected[0] not in (NotFound, MethodNotAllowed), expected


def test_building_is_werkzeugs():
    def compare(chance, mine, theirs, rules):
        bound = some_adapter(chance, mine.host_matching)
        endpoint = chance.choice([chance.choice(rules)[0]["endpoint"]] * 9 + ["blue.e", "none"])
        values = {name: chance.choice(VALUES) for name in ["x", "y", "z", "u", "sub", "d"] if chance.random() < 0.9}
        method = chance.choice([None, None, None, None, None, "GET", "POST", "get"])
        options = {
            "force_external": chance.random() < 0.3,
            "append_unknown": chance.random() < 0.8,
            "url_scheme": chance.choice([None, None, "https", "ws", ""]),
        }
        ours, its = mine.bind(**bound), theirs.bind(**bound)
        expected = outcome(its.build, endpoint, values, method, **options)
        assert outcome(ours.build, endpoint, values, method, **options) == expected
        compare_path(mine, theirs, endpoint, values, method)

    compared(compare)


def compare_path(mine, theirs, endpoint, values, method):
    """The URL that a request builds without an adapter is the one that its adapter would build."""
    if mine.host_matching:
        return
    adapter = theirs.bind("localhost", subdomain=theirs.default_subdomain or "")
    expected = outcome(adapter.build, endpoint, values, method)
    path = outcome(mine.build_path, endpoint, values, method, "GET")
    if path is None:
        # An error, or a URL with a host.
        assert not isinstance(expected, str) or "://" in expected
    else:
        assert ("/" + path.lstrip("/") if isinstance(path, str) else path) == expected


@pytest.mark.parametrize(
    ("strings", "paths"),
    [
        (["/a/b/", "/a/<x>"], ["/a/b", "/a/c"]),
        (["/a/<path:x>", "/a/<int:y>", "/a/<z>"], ["/a/b\nc", "/a/\n", "/a/b\nc/d", "/a/٣", "/a/²", "/a/1\n", "/a/"]),
        (["/a/<int:x>/b", "/a/<y>/c", "/<path:z>"], ["/a/1/b", "/a/1/c", "/a/1/d", "/a/x/b", "/a//c", "/a//1/b"]),
        (["/a/<int:x>/", "/a/<y>/<z>"], ["/a/1", "/a/b", "/a/1/", "/a/b/", f"/a/{'9' * 5000}/"]),
        (["/<path:x>/", "/<path:x>/a"], ["/a", "/a/", "/b/a", "/b/a/", "/a//", "/b//a"]),
    ],
)
def test_matching_is_werkzeugs_where_chance_seldom_looks(strings, paths):
    rules = [({"string": string, "endpoint": string}, None) for string in strings]
    for merge_slashes in (True, False):
        mine, theirs = (make(kind, {"merge_slashes": merge_slashes}, rules, 0)[0] for kind in (carboy.routing.Map, Map))
        for path in paths:
            compare_request(mine, theirs, path, "GET", False)


# -- Ours ----------------------------------------------------------------------------


def test_rules_added_later_are_found():
    url_map = carboy.routing.Map([Rule("/", endpoint="a"), Rule("/<x>", endpoint="x")])
    assert url_map.matcher.find("/b", "GET")[0].endpoint == "x"
    url_map.add(Rule("/b", endpoint="b"))
    url_map.add(Rule("/<int:y>", endpoint="y"))
    assert url_map.matcher.find("/b", "GET")[0].endpoint == "b"
    assert url_map.matcher.find("/1", "GET")[0].endpoint == "y"


def test_values_of_one_request_are_not_those_of_the_next():
    matcher = carboy.routing.Map([Rule("/", endpoint="a", defaults={"page": 1})], redirect_defaults=False).matcher
    matcher.find("/", "GET")[1]["page"] = 2
    assert matcher.find("/", "GET")[1] == {"page": 1}


@pytest.mark.parametrize("string", ["/<x>/<x>", "/<None>", "/<__debug__>"])
def test_a_rule_that_werkzeug_refuses_is_refused_when_it_is_added(string):
    theirs = outcome(Map, [Rule(string, endpoint="a")])
    assert outcome(carboy.routing.Map, [Rule(string, endpoint="a")]) == theirs
    assert theirs[0] in (SyntaxError, ValueError)
