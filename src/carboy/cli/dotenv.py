"""Environment variables from files, read by python-dotenv where it is installed."""

from __future__ import annotations

import os

import click

DEFAULT_FILES = (".flaskenv", ".env")
"""Looked for in the current folder and those above; the later one wins."""


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

    files: list[str | os.PathLike[str]] = []
    if load_defaults:
        files += [dotenv.find_dotenv(name, usecwd=True) for name in DEFAULT_FILES]
    if path is not None:
        files.append(path)

    values: dict[str, str | None] = {}
    for file in files:
        if os.path.isfile(file):
            values |= dotenv.dotenv_values(file, encoding="utf-8")
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)
    return bool(values)
