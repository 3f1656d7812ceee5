"""The ``carboy`` program."""

from __future__ import annotations

from .groups import FlaskGroup

cli = FlaskGroup(
    name="carboy",
    help="""\
Work with a Carboy or Flask application.

The application is named by the option '--app' or the environment variable
'FLASK_APP', or is found in a file 'wsgi.py' or 'app.py' in the current folder.
""",
)
"""The group behind the ``carboy`` command."""


def main() -> None:
    """Run the ``carboy`` command, with ``flask`` being Carboy for what it loads.

    Raises:
        RuntimeError: The real Flask was imported before.
    """
    from .. import install_as_flask

    install_as_flask()
    cli.main()
