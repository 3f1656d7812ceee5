"""Every public name of Flask 3.1.3 is there, and can be called as in Flask (recorded by ``record.py``)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import carboy
from carboy.flask.blueprints import BlueprintSetupState

FOLDER = Path(__file__).parent
NAMES: dict[str, list[str]] = json.loads((FOLDER / "names.json").read_text())
SIGNATURES: dict[str, list[list[Any]]] = json.loads((FOLDER / "signatures.json").read_text())

# What Flask's main branch (3.2) adds to 3.1.
NEW_IN_3_2 = {
    "flask.ctx:AppContext": ["has_request"],
    "flask.ctx:RequestContext": ["from_environ", "has_request"],
    "flask.app:Flask": ["query"],
    "flask.blueprints:Blueprint": ["query"],
}


def find(qualified: str) -> Any:
    """Return what ``module:name.member`` of Flask is in carboy."""
    module_name, _, path = qualified.partition(":")
    value: Any = import_module(f"carboy.{module_name}")
    for name in filter(None, path.split(".")):
        value = inspect.getattr_static(value, name) if inspect.isclass(value) else getattr(value, name)
    return value


@pytest.mark.parametrize("owner", [name for name in NAMES if not name.endswith("()")])
def test_names_exist(owner: str) -> None:
    found = find(owner)
    annotated = {name for cls in getattr(found, "__mro__", ()) for name in getattr(cls, "__annotations__", {})}
    assert [name for name in NAMES[owner] if not hasattr(found, name) and name not in annotated] == []


@pytest.mark.parametrize("owner", NEW_IN_3_2)
def test_names_of_the_next_version_exist(owner: str) -> None:
    assert [name for name in NEW_IN_3_2[owner] if not hasattr(find(owner), name)] == []


INSTANCES: dict[str, Callable[[carboy.Carboy, carboy.Blueprint], Any]] = {
    "flask.app:Flask()": lambda app, bp: app,
    "flask.blueprints:Blueprint()": lambda app, bp: bp,
    "flask.sansio.blueprints:BlueprintSetupState()": lambda app, bp: BlueprintSetupState(bp, app, {}, True),
    "flask.ctx:AppContext()": lambda app, bp: app.app_context(),
    "flask.ctx:RequestContext()": lambda app, bp: app.test_request_context(),
    "flask.config:Config()": lambda app, bp: app.config,
    "flask.testing:FlaskClient()": lambda app, bp: app.test_client(),
    "flask.testing:FlaskCliRunner()": lambda app, bp: app.test_cli_runner(),
    "flask.templating:Environment()": lambda app, bp: app.jinja_env,
    "flask.cli:ScriptInfo()": lambda app, bp: find("flask.cli:ScriptInfo")(),
    "flask.cli:FlaskGroup()": lambda app, bp: find("flask.cli:cli"),
    "flask.json.tag:TaggedJSONSerializer()": lambda app, bp: find("flask.sessions:session_json_serializer"),
}


@pytest.mark.parametrize("owner", INSTANCES)
def test_instance_attributes_exist(owner: str) -> None:
    instance = INSTANCES[owner](carboy.Carboy("names"), carboy.Blueprint("bp", "names"))
    assert [name for name in NAMES[owner] if not hasattr(instance, name)] == []


@pytest.mark.parametrize("function", SIGNATURES)
def test_calls_that_flask_accepts_are_accepted(function: str) -> None:
    """Same names at the same places; whatever may be left out in Flask may be left out; nothing more is needed."""
    found = find(function)
    ours = list(inspect.signature(getattr(found, "__func__", found)).parameters.values())
    theirs = SIGNATURES[function]
    bound = [] if not theirs or theirs[0][0] != "self" else theirs[:1]
    if isinstance(found, classmethod) or bound:
        ours = ours[1:]
        theirs = theirs[len(bound) :]
    by_name = {parameter.name: parameter for parameter in ours}
    takes_any = {parameter.kind for parameter in ours if parameter.kind.name.startswith("VAR_")}
    for place, (name, kind, optional) in enumerate(theirs):
        if kind.startswith("VAR_"):
            assert kind in {given.name for given in takes_any}, f"{kind} is missing"
            continue
        parameter = by_name.get(name)
        assert parameter is not None, f"no parameter {name!r} in {[*by_name]}"
        assert parameter.default is not parameter.empty or not optional, f"{name!r} must be optional"
        if kind == "POSITIONAL_OR_KEYWORD":
            assert ours[place] is parameter, f"{name!r} is not at place {place}"
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, f"{name!r} is {parameter.kind.description}"
    known = {name for name, _, _ in theirs}
    for parameter in ours:
        if parameter.kind not in takes_any and parameter.name not in known:
            assert parameter.default is not parameter.empty, f"{parameter.name!r} is needed, and Flask has none"


def test_version_is_deprecated_as_in_flask_3_1() -> None:
    import carboy.flask

    with pytest.warns(DeprecationWarning, match="flask.__version__"):
        assert carboy.flask.__getattr__("__version__").startswith("3.1")
