"""Our map has Werkzeug's outcome for every path and every URL, compared on generated rules.

``CARBOY_ROUTING_COMPARISONS`` sets how many outcomes are compared in each of the two tests, of matching and of building;
by default 4,000. ``make test-routing`` compares 200,000.
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

COMPARISONS = int(os.environ.get("CARBOY_ROUTING_COMPARISONS", "4000"))
PER_MAP = 60


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
METHODS = [None, ["GET"], ["POST"], ["GET", "PUT"], ["get", "OPTIONS"], []]
SUBDOMAINS = ["", "www", "<sub>", "<int:sub>", "a-<sub>", "<path:sub>"]
HOSTS = ["localhost", "example.org", "<sub>.example.org", "example.org:8000", "<host>"]


def go_elsewhere(adapter, **values):
    return f"elsewhere/{adapter.subdomain}/{sorted(values)}"


@st.composite
def part(draw, names):
    """A part of a rule: text, a variable, or both."""
    shape = draw(st.sampled_from("ttvvvmm"))
    if shape == "t":
        return draw(st.sampled_from(WORDS))
    pieces = []
    for text in draw(st.sampled_from([("", ""), ("", "")] if shape == "v" else [("a", ""), ("", "b"), ("", "-", "")])):
        pieces += [text, variable(draw, names)]
    return "".join(pieces[:-1])


def variable(draw, names):
    converter = draw(st.sampled_from(["", "", "int", *TEXTS]))
    name = next(names)
    return f"<{converter}:{name}>" if converter else f"<{name}>"


@st.composite
def rules(draw, host_matching):
    """The keyword arguments of a rule."""
    # A name used twice is an error, which has to be the same one.
    names = iter(NAMES if draw(st.integers(0, 40)) else ["x"] * 9)
    path = "/" + draw(st.sampled_from(["/", "/", "/", "//"])).join(draw(st.lists(part(names), max_size=3)))
    options = {
        "string": path + draw(st.sampled_from(["", "", "/", "//"])),
        "endpoint": draw(st.sampled_from(["e", "f", "g", "blue.print"])),
        "methods": draw(st.sampled_from(METHODS)),
        "defaults": draw(st.sampled_from([None] * 6 + [{"x": 1}, {"d": "a"}, {"x": "a", "d": 1}])),
        "strict_slashes": draw(st.sampled_from([None, None, False, True])),
        "merge_slashes": draw(st.sampled_from([None, None, False])),
        "redirect_to": draw(st.sampled_from([None] * 8 + ["moved", "/moved/<x>", go_elsewhere])),
        "alias": draw(st.sampled_from([False] * 8 + [True])),
        "build_only": draw(st.sampled_from([False] * 8 + [True])),
        "websocket": draw(st.sampled_from([False] * 5 + [True])),
    }
    if options["websocket"]:
        options["methods"] = draw(st.sampled_from([None, ["GET"]]))
    if host_matching:
        options["host"] = draw(st.sampled_from(HOSTS))
    else:
        options["subdomain"] = draw(st.sampled_from([None] * 4 + SUBDOMAINS))
    return options


@st.composite
def maps(draw):
    """What makes a map: its options, and for each rule its arguments and a factory to put it into."""
    host_matching = draw(st.sampled_from([False, False, False, True]))
    options = {
        "host_matching": host_matching,
        "default_subdomain": draw(st.sampled_from(["", "", "www"])),
        "strict_slashes": draw(st.booleans()),
        "merge_slashes": draw(st.booleans()),
        "redirect_defaults": draw(st.booleans()),
        "sort_parameters": draw(st.booleans()),
    }
    factories = st.sampled_from([None] * 6 + ["submount", "prefix", "subdomain"])
    return options, draw(st.lists(st.tuples(rules(host_matching), factories), min_size=1, max_size=9))


def make(kind, options, rules, later):
    """Return a map of class *kind*; the last *later* rules are added after a first match."""
    url_map = kind(converters=CONVERTERS, **options)
    for number, (arguments, factory) in enumerate(rules):
        if number == len(rules) - later:
            url_map.update()
            outcome(lambda: url_map.bind("localhost").match("/", return_rule=True))
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


def outcome(call):
    """What a call comes to, so that two can be compared."""
    try:
        value = call()
    except MethodNotAllowed as e:
        return type(e), sorted(e.valid_methods)
    except HTTPException as e:
        return type(e), e.code, getattr(e, "new_url", None), str(e)
    except Exception as e:
        return type(e), str(e)
    if isinstance(value, tuple):
        rule, values = value
        return repr(rule), rule._trace, sorted(rule.methods or ()), [(k, type(v), v) for k, v in values.items()]
    return value


def order_of(url_map):
    return [(rule.rule, rule.endpoint, sorted(rule.methods or ()), rule.websocket) for rule in url_map.iter_rules()]


# -- Requests ------------------------------------------------------------------------


def some_path(chance, rules):
    """A path that a rule may match, or one near it."""
    text = chance.choice(rules)[0]["string"] if chance.random() < 0.85 else "/".join(chance.choices(WORDS, k=3))
    text = re.sub(r"<(?:([^>]*):)?\w+>", lambda found: chance.choice(TEXTS[found[1] or ""]), text)
    if chance.random() < 0.1:
        text = "/a" + text
    spoil = chance.random()
    if spoil < 0.1:
        text += "/"
    elif spoil < 0.2:
        text = text.removesuffix("/")
    elif spoil < 0.3:
        text = text.replace("/", "//", 2)
    elif spoil < 0.4:
        text += chance.choice(["/a", "/1", "b", "//", "/<x>"])
    elif spoil < 0.45:
        text = chance.choice(["", "/", "//", "a", "///"])
    return text


def some_adapter(chance, host_matching):
    """Arguments of ``Map.bind``."""
    host = chance.choice(["localhost", "example.org", "www.example.org", "a.example.org", "example.org:8000"])
    return {
        "server_name": host,
        "script_name": chance.choice([None, "/", "/mounted", "/mounted/"]),
        "subdomain": None if host_matching else chance.choice([None, None, "", "www", "other", "7", "a-b", "a/b"]),
        "url_scheme": chance.choice(["http", "http", "https", "ws", "wss", ""]),
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
                number += compare(random.Random(entropy), mine, theirs, rules)

        run()
        round += 1
    print(f"{number} outcomes compared, none different")
    assert number >= COMPARISONS


def test_matching_is_werkzeugs():
    def compare(chance, mine, theirs, rules):
        for _ in range(PER_MAP):
            bound = some_adapter(chance, mine.host_matching)
            path, method = some_path(chance, rules), chance.choice(["GET", "GET", "POST", "PUT", "OPTIONS", "get"])
            websocket = chance.choice([None, None, False, True])
            ours, its = mine.bind(**bound), theirs.bind(**bound)
            expected = outcome(lambda: its.match(path, method, return_rule=True, websocket=websocket))
            assert outcome(lambda: ours.match(path, method, return_rule=True, websocket=websocket)) == expected
            expected = outcome(lambda: sorted(its.allowed_methods(path)))
            assert outcome(lambda: sorted(ours.allowed_methods(path))) == expected
            compare_request(mine, theirs, path, method.upper(), bool(websocket))
        return PER_MAP

    compared(compare)


def compare_request(mine, theirs, path, method, websocket):
    """What a request finds without an adapter is what the adapter of a request would find."""
    if mine.host_matching:
        return
    path = "/" + path.lstrip("/")
    adapter = theirs.bind("localhost", subdomain=theirs.default_subdomain or "")
    expected = outcome(lambda: adapter.match(path, method, return_rule=True, websocket=websocket))
    found = outcome(lambda: mine.matcher.find(path, method, websocket))
    if found is not None:
        assert found == expected
    else:
        # Neither a hit, which begins with the rule's text, nor one of these.
        assert isinstance(expected[0], type) and expected[0] not in (NotFound, MethodNotAllowed), expected


def test_building_is_werkzeugs():
    def compare(chance, mine, theirs, rules):
        for _ in range(PER_MAP):
            bound = some_adapter(chance, mine.host_matching)
            endpoint = chance.choice(["e", "f", "g", "blue.print", "blue.e", "none"])
            values = {name: some_value(chance) for name in ["x", "y", "z", "u", "sub", "d"] if chance.random() < 0.7}
            options = {
                "method": chance.choice([None, None, None, "GET", "POST", "get"]),
                "force_external": chance.random() < 0.3,
                "append_unknown": chance.random() < 0.8,
                "url_scheme": chance.choice([None, None, "https", "ws", ""]),
            }
            ours, its = mine.bind(**bound), theirs.bind(**bound)
            expected = outcome(lambda: its.build(endpoint, values, **options))
            assert outcome(lambda: ours.build(endpoint, values, **options)) == expected
            if not mine.host_matching:
                plain = theirs.bind("localhost", subdomain=theirs.default_subdomain or "")
                expected = outcome(lambda: plain.build(endpoint, values, options["method"]))
                path = outcome(lambda: mine.build_path(endpoint, values, options["method"], "GET"))
                if isinstance(path, str):
                    path = "/" + path.lstrip("/")
                assert path == expected or (path is None and needs_adapter(expected)), (path, expected)
        return PER_MAP

    compared(compare)


def needs_adapter(expected):
    return not isinstance(expected, str) or "://" in expected


def some_value(chance):
    return chance.choice(
        [
            "a",
            "b",
            "ab",
            "a b",
            "é",
            "a/b",
            "a?b",
            "",
            None,
            1,
            2,
            -3,
            True,
            1.5,
            ["a", "b"],
            uuid.UUID(int=5),
            "1",
            "%",
            "~.-_",
            "a\nb",
        ]
    )


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
    theirs = outcome(lambda: Map([Rule(string, endpoint="a")]))
    assert outcome(lambda: carboy.routing.Map([Rule(string, endpoint="a")])) == theirs
    assert theirs[0] in (SyntaxError, ValueError)
