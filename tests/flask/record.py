"""Records the public surface of the real Flask into ``names.json`` and ``signatures.json`` beside this file.

Run it with a Python that has Flask 3.1.3, as ``flask_suite.py --baseline`` makes one:
``.cache/venvs/flask-baseline-3.11/bin/python tests/flask/record.py``.
It keeps names and parameter names only: what carboy has to offer, not how.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = (
    "flask flask.app flask.blueprints flask.cli flask.config flask.ctx flask.debughelpers flask.globals flask.helpers"
    " flask.json flask.json.provider flask.json.tag flask.logging flask.sansio.app flask.sansio.blueprints"
    " flask.sansio.scaffold flask.sessions flask.signals flask.templating flask.testing flask.typing flask.views"
    " flask.wrappers"
).split()
# What Flask's modules define for their own use and no extension or test of Flask's reads.
INTERNAL = {"F", "T", "ft", "_signals", "_sentinel", "_werkzeug_version", "_get_werkzeug_version", "_lazy_sha1"}
DEPENDENCIES = {"blinker", "click", "itsdangerous", "jinja2", "markupsafe", "werkzeug"}
PRIVATE_BUT_USED = {"_cv_app", "_cv_request", "_endpoint_from_view_func", "_AppCtxGlobals", "_render"}


def wanted(name: str) -> bool:
    """Tell whether *name* is public, or private and relied on all the same."""
    return name in PRIVATE_BUT_USED or not (name.startswith(("_", "T_")) or name in INTERNAL)


def module_names(module: ModuleType) -> list[str]:
    """Return the names that *module* defines, and those it imports that a program may have imported from it."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and (node.level or str(node.module).partition(".")[0] in DEPENDENCIES):
            names.update(alias.asname or alias.name for alias in node.names)
    return sorted(name for name in names if wanted(name))


def members(owner: type) -> list[str]:
    """Return the public attributes that *owner* or one of its bases in Flask defines."""
    classes = [cls for cls in owner.__mro__ if cls.__module__.partition(".")[0] == "flask"]
    names = {name for cls in classes for name in [*vars(cls), *getattr(cls, "__annotations__", {})]}
    return sorted(name for name in names if not name.startswith("_"))


def instance_members(owner: type) -> list[str]:
    """Return the public attributes that the ``__init__`` of *owner* or of one of its bases in Flask sets."""
    classes = [cls for cls in owner.__mro__ if cls.__module__.partition(".")[0] == "flask"]
    names: set[str] = set()
    for cls in classes:
        if "__init__" in vars(cls):
            nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls.__init__))))
            stored = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
            names.update(node.attr for node in stored if ast.unparse(node.value) == "self")
    return sorted(name for name in names if not name.startswith("_"))


def parameters(function: Any) -> list[list[Any]]:
    """Return name, kind and 'may be left out' of each parameter of *function*."""
    return [
        [parameter.name, parameter.kind.name, parameter.default is not parameter.empty]
        for parameter in inspect.signature(function).parameters.values()
    ]


def main() -> None:
    """Write the two files."""
    names: dict[str, list[str]] = {}
    signatures: dict[str, list[list[Any]]] = {}
    for module_name in MODULES:
        module = import_module(module_name)
        names[module_name] = module_names(module)
        for name in names[module_name]:
            value = getattr(module, name)
            if getattr(value, "__module__", None) != module_name:
                continue
            if inspect.isfunction(value):
                signatures[f"{module_name}:{name}"] = parameters(value)
            elif inspect.isclass(value):
                names[f"{module_name}:{name}"] = members(value)
                if found := instance_members(value):
                    names[f"{module_name}:{name}()"] = found
                if inspect.isfunction(value.__init__):
                    signatures[f"{module_name}:{name}"] = parameters(value)
                for member in names[f"{module_name}:{name}"]:
                    method = getattr(value, member, None)
                    if inspect.isroutine(method):
                        signatures[f"{module_name}:{name}.{member}"] = parameters(method)
    folder = Path(__file__).parent
    for file, content in (("names.json", names), ("signatures.json", signatures)):
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(content.items()))
        (folder / file).write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
