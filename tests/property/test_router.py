"""The compiled table gives Werkzeug's answer, or none."""

from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from carboy.routing import Map, Router

PARTS = [
    "a",
    "b",
    "ab",
    "<x>",
    "<int:x>",
    "a<x>",
    "<x>-<y>",
    "<path:x>",
    "<string(length=2):x>",
    "<any(a, b):x>",
    "<float:x>",
]
METHODS = [None, ["GET"], ["POST"], ["GET", "PUT"]]
SEGMENTS = ["", "a", "b", "ab", "1", "12", "1.5", "a-b", "aa", "a1", "é"]


@st.composite
def rules(draw):
    found = []
    for number in range(draw(st.integers(1, 7))):
        parts = draw(st.lists(st.sampled_from(PARTS), max_size=3))
        names = iter("xyzuvw")
        parts = [part.replace("x>", f"{next(names)}>").replace("y>", f"{next(names)}>") for part in parts]
        options = {
            "methods": draw(st.sampled_from(METHODS)),
            "endpoint": draw(st.sampled_from([f"e{number}", "shared"])),
            "defaults": draw(st.sampled_from([None, None, None, {"d": 1}])),
            "strict_slashes": draw(st.sampled_from([None, None, False])),
            "redirect_to": draw(st.sampled_from([None, None, None, None, "/moved"])),
            "websocket": draw(st.sampled_from([False] * 5 + [True])),
            "build_only": draw(st.sampled_from([False] * 5 + [True])),
        }
        if options["websocket"]:
            options["methods"] = draw(st.sampled_from([None, ["GET"]]))
        found.append(Rule("/" + "/".join(parts) + draw(st.sampled_from(["", "", "/"])), **options))
    return found


def by_werkzeug(url_map, path, method, websocket):
    adapter = url_map.bind("localhost", subdomain="", path_info=path, default_method=method)
    try:
        return adapter.match(return_rule=True, websocket=websocket)
    except HTTPException:
        return None


@settings(max_examples=400, deadline=None)
@given(
    rules(),
    st.lists(
        st.tuples(st.lists(st.sampled_from(SEGMENTS), max_size=4), st.sampled_from(["GET", "POST", "PUT"])),
        min_size=20,
        max_size=20,
    ),
)
def test_compiled_table_never_contradicts_werkzeug(found, requests):
    try:
        url_map = Map(found)
    except ValueError:
        return  # two variables of one name
    router = Router(url_map)
    for segments, method in requests:
        path = "/" + "/".join(segments)
        if path.startswith("//"):
            continue  # leading slashes are made one before routing
        for websocket in (False, True):
            mine = router.match(path, method, websocket)
            if mine is not None:
                assert mine == by_werkzeug(url_map, path, method, websocket), (path, method, websocket)


def test_ordinary_hits_need_no_werkzeug():
    url_map = Map([Rule("/", endpoint="a"), Rule("/x/<y>", endpoint="b"), Rule("/x/<int:y>/z", endpoint="c")])
    router = Router(url_map)
    hits = [router.match(path, "GET") for path in ("/", "/x/1", "/x/1/z")]
    assert [(rule.endpoint, values) for rule, values in hits] == [("a", {}), ("b", {"y": "1"}), ("c", {"y": 1})]
    assert router.match("/none", "GET") is None


def test_websockets_have_rules_of_their_own():
    url_map = Map([Rule("/x", endpoint="page"), Rule("/x/<int:y>", endpoint="socket", websocket=True)])
    router = Router(url_map)
    rule, values = router.match("/x/1", "GET", websocket=True)
    assert (rule.endpoint, values) == ("socket", {"y": 1})
    assert router.match("/x", "GET", websocket=True) is None
    assert router.match("/x/1", "GET") is None


def test_rules_added_later_are_seen():
    url_map = Map([Rule("/", endpoint="a")])
    router = Router(url_map)
    assert router.match("/b", "GET") is None
    url_map.add(Rule("/b", endpoint="b"))
    rule, values = router.match("/b", "GET")
    assert (rule.endpoint, values) == ("b", {})


def test_values_of_one_request_are_not_those_of_the_next():
    router = Router(Map([Rule("/", endpoint="a", defaults={"page": 1})], redirect_defaults=False))
    router.match("/", "GET")[1]["page"] = 2
    assert router.match("/", "GET")[1] == {"page": 1}
