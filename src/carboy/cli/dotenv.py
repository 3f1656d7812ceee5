"""Environment variables from files, read by python-dotenv where it is installed."""

from __future__ import annotations

import os

import click

DEFAULT_FILES = (".flaskenv", ".env")
"""Looked for in the current folder and those above; the later one wins."""

files: set[str] = set()
"""Every file that this process has loaded: what a reloader watches."""

_set_here: dict[str, str] = {}


def load_dotenv(path: str | os.PathLike[str] | None = None, load_defaults: bool = True) -> bool:
    """Set environment variables from dotenv files; what is set already stays.

    Without python-dotenv nothing is loaded, and if files are there a hint says so.

    Args:
        path: A file whose values win over those of the default files.
        load_defaults: Also load :data:`DEFAULT_FILES`, the nearest of each name.

    Returns:
        Whether the files held any variable.
    """
    try:
        import dotenv
    except ImportError:
        if path or any(os.path.isfile(name) for name in DEFAULT_FILES):
            click.secho(
                ' * There are dotenv files which are not loaded. To load them: pip install "carboy[dotenv]"',
                fg="yellow",
                err=True,
            )
        return False

    found: list[str | os.PathLike[str]] = []
    if load_defaults:
        found += [dotenv.find_dotenv(name, usecwd=True) for name in DEFAULT_FILES]
    if path is not None:
        found.append(path)

    values: dict[str, str | None] = {}
    for file in found:
        if os.path.isfile(file):
            values |= dotenv.dotenv_values(file, encoding="utf-8")
            files.add(os.path.abspath(file))
    for name, value in values.items():
        if value is not None and name not in os.environ:
            os.environ[name] = _set_here[name] = value
    return bool(values)


def forget() -> None:
    """Unset the variables that were loaded, so that a process started from here loads them as they are by then."""
    for name, value in _set_here.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _set_here.clear()
