"""Where an application's package lies on disk."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys


def get_root_path(import_name: str) -> str:
    """Return the folder of the module or package *import_name*.

    The working directory, if it has no file of its own (an interactive session,
    or a name that cannot be imported).

    Raises:
        RuntimeError: It is a namespace package, or its importer names no file.
    """
    module = sys.modules.get(import_name)
    file: str | None = getattr(module, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(import_name)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.loader is None:
            return os.getcwd()
        get_filename = getattr(spec.loader, "get_filename", None)
        if get_filename is not None:
            file = get_filename(import_name)
        else:
            # An importer that tells the file only by importing.
            file = getattr(importlib.import_module(import_name), "__file__", None)
    if file is None:
        raise RuntimeError(
            f"No root path can be found for the provided module {import_name!r}: it is a namespace package, or its"
            " importer gives no file name. Pass 'root_path' explicitly."
        )
    return os.path.dirname(os.path.abspath(file))


def _package_parent(import_name: str) -> str:
    # The folder that has to be on sys.path for import_name to be importable.
    top = import_name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return os.getcwd()
    locations = spec.submodule_search_locations
    if not locations:
        return os.path.dirname(spec.origin or os.getcwd())
    if spec.origin not in (None, "namespace"):
        return os.path.dirname(os.path.dirname(spec.origin or ""))
    # A namespace package lies in several folders: take the one that holds import_name.
    inner = importlib.util.find_spec(import_name)
    location = next(iter(locations))
    if inner is not None and inner.submodule_search_locations:
        path = pathlib.Path(os.path.commonpath(list(inner.submodule_search_locations)))
        location = next((place for place in locations if path.is_relative_to(place)), location)
    return os.path.dirname(location)


def find_package(import_name: str) -> tuple[str | None, str]:
    """Return the prefix a package is installed under, and its parent folder.

    The prefix is None where the package is not installed: it lies in a project
    folder.
    """
    parent = _package_parent(import_name)
    prefix = os.path.abspath(sys.prefix)
    if pathlib.PurePath(parent).is_relative_to(prefix):
        return prefix, parent
    above, folder = os.path.split(parent)
    if folder.lower() != "site-packages":
        return None, parent
    outer, name = os.path.split(above)
    if name.lower() == "lib":  # Windows: prefix/lib/site-packages
        return outer, parent
    if os.path.basename(outer).lower() == "lib":  # POSIX: prefix/lib/pythonX.Y/site-packages
        return os.path.dirname(outer), parent
    return above, parent  # an egg, or any other site folder
