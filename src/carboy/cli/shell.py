"""The command ``shell``: a Python prompt inside the application's context."""

from __future__ import annotations

import os
import sys
import typing as t

import click

from ..context import current_app_context
from .groups import with_appcontext


@click.command("shell", short_help="Run a shell in the app context.")
@with_appcontext
def shell_command() -> None:
    """Run an interactive Python shell inside the application's context.

    Its names are those that the application's shell context processors give.
    ``PYTHONSTARTUP`` and ``sys.__interactivehook__`` work as in plain Python.
    """
    interact({})


def interact(names: dict[str, t.Any], note: str = "") -> None:
    """Run a shell that knows *names*, and what the application's shell context processors give.

    Args:
        names: They win.
        note: A line for the banner.
    """
    import code

    app = current_app_context().app
    namespace: dict[str, t.Any] = {}

    startup = os.environ.get("PYTHONSTARTUP")
    if startup and os.path.isfile(startup):
        with open(startup, "rb") as file:
            exec(compile(file.read(), startup, "exec"), namespace)
    namespace.update(app.make_shell_context())
    namespace.update(names)

    hook = getattr(sys, "__interactivehook__", None)
    if hook is not None:
        _complete_names(namespace)
        hook()
    banner = f"Python {sys.version} on {sys.platform}\nApp: {app.import_name}\nInstance: {app.instance_path}"
    code.interact(f"{banner}\n{note}" if note else banner, local=namespace)


def _complete_names(namespace: dict[str, t.Any]) -> None:
    # The completer looks into __main__ by default, which is the command and not the shell.
    try:
        import readline
        from rlcompleter import Completer
    except ImportError:
        return
    readline.set_completer(Completer(namespace).complete)
