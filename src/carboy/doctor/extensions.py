"""What to expect of the extensions that an application has loaded."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
import typing as t
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path

from ..cli.groups import PLUGIN_GROUPS
from .findings import Finding

_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")


@cache
def known() -> dict[str, dict[str, t.Any]]:
    """Return what ``extensions.toml`` says, by the project's normalized name."""
    return tomllib.loads(Path(__file__).with_name("extensions.toml").read_text())


def normalized(name: str) -> str:
    """Return a project's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def loaded_extensions(registered: t.Iterable[str]) -> list[tuple[Distribution, list[str]]]:
    """Return the installed projects that build on Flask and of which something is imported, with those modules.

    Args:
        registered: The keys of ``app.extensions``. What has a command was imported for it, used or not; so it counts if
            it is registered.
    """
    keys = {normalized(key) for key in registered}
    modules: dict[str, list[str]] = {}
    for module, projects in importlib.metadata.packages_distributions().items():
        if module in sys.modules:
            for project in projects:
                modules.setdefault(normalized(project), []).append(module)
    found = []
    for distribution in importlib.metadata.distributions():
        name = normalized(distribution.metadata["Name"] or "")
        if name not in modules or name in ("flask", "carboy"):
            continue
        if any(entry_point.group in PLUGIN_GROUPS for entry_point in distribution.entry_points):
            names = {normalized(module) for module in modules[name]}
            if not keys & (names | {module.removeprefix("flask-") for module in names}):
                continue
        if name in known() or _requires_flask(distribution):
            found.append((distribution, sorted(set(modules.pop(name)))))
    return sorted(found, key=lambda item: normalized(item[0].metadata["Name"]))


def _requires_flask(distribution: Distribution) -> bool:
    for requirement in distribution.requires or ():
        name = _REQUIREMENT.match(requirement)
        if name is not None and normalized(name[0]) == "flask" and "extra ==" not in requirement:
            return True
    return False


def judge(distribution: Distribution, modules: list[str], has_secret_key: bool) -> t.Iterator[Finding]:
    """Yield what is to be said of one extension."""
    name = distribution.metadata["Name"]
    subject = f"{name} {distribution.version}"
    facts = known().get(normalized(name))
    if facts is None:
        yield _judge_unknown(subject, modules)
        return
    tested = facts.get("tested")
    if "problem" in facts:
        yield Finding("problem", subject, facts["problem"])
    else:
        if tested is None:
            text = "works"
        elif tested == distribution.version:
            text = "works: its own tests pass"
        else:
            text = f"expected to work: its own tests pass in version {tested}"
        note = facts.get("note", "")
        yield Finding("note" if note else "good", subject, text, note)
    if facts.get("secret_key") and not has_secret_key:
        yield Finding("problem", subject, "needs a secret key, and the application has none", "set SECRET_KEY")


def _judge_unknown(subject: str, modules: list[str]) -> Finding:
    missing = sorted(set(_missing_names(modules)))
    if missing:
        return Finding(
            "problem",
            subject,
            f"not tested by us; it imports what carboy does not have: {', '.join(missing)}",
            "see whether a newer version does without; Flask 3.1 may not have it either",
        )
    return Finding("good", subject, "not tested by us; all that it imports from flask is there")


def _missing_names(modules: list[str]) -> t.Iterator[str]:
    """Yield the names that modules import from flask, with no ``except`` around, and that carboy does not have."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in modules and file.endswith(".py"):
            try:
                tree = ast.parse(Path(file).read_text(encoding="utf-8"))
            except (OSError, SyntaxError, UnicodeDecodeError):
                continue
            for node in _unguarded(tree):
                if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "flask":
                    yield from _missing_of(node)


def _unguarded(node: ast.AST) -> t.Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.Try, ast.If)):
            yield child
            yield from _unguarded(child)


def _missing_of(node: ast.ImportFrom) -> t.Iterator[str]:
    ours = "carboy." + str(node.module)
    try:
        module = importlib.import_module(ours)
    except ImportError:
        yield str(node.module)
        return
    for alias in node.names:
        if alias.name != "*" and not hasattr(module, alias.name):
            try:
                importlib.import_module(f"{ours}.{alias.name}")
            except ImportError:
                yield f"{node.module}.{alias.name}"


def conflicts(distributions: t.Iterable[Distribution]) -> t.Iterator[Finding]:
    """Yield what is installed in a version that one of *distributions* does not want, or is missing."""
    requirement_class = _requirement_class()
    if requirement_class is None:
        yield Finding("note", "versions", "not compared: that needs the package 'packaging'", "pip install packaging")
        return
    for distribution in distributions:
        for text in distribution.requires or ():
            requirement = requirement_class(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if normalized(requirement.name) == "flask":
                # carboy takes its place, whether it is installed or not.
                continue
            subject = f"{distribution.metadata['Name']} {distribution.version}"
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                yield Finding(
                    "problem", subject, f"needs {requirement}, which is not installed", f'pip install "{text}"'
                )
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                yield Finding(
                    "problem", subject, f"needs {requirement}; installed is {version}", f'pip install "{requirement}"'
                )


def _requirement_class() -> t.Any:
    for module in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return importlib.import_module(module).Requirement
        except ImportError:
            continue
    return None
