"""Run an application's commands in a test."""

from __future__ import annotations

import typing as t

from click.testing import CliRunner, Result

if t.TYPE_CHECKING:
    from ..app import Carboy


class FlaskCliRunner(CliRunner):
    """Invoke the commands of one application and capture what they print.

    Usually made by :meth:`carboy.Carboy.test_cli_runner`.

    Args:
        app: The application whose commands are run.
        **kwargs: Passed to :class:`click.testing.CliRunner`.
    """

    def __init__(self, app: Carboy, **kwargs: t.Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    def invoke(self, cli: t.Any = None, args: t.Any = None, **kwargs: t.Any) -> Result:  # type: ignore[override]
        """Run a command and return what it did.

        Args:
            cli: The command or group; the application's own group by default.
            args: The command line, as a list of strings or one string.
            **kwargs: Passed to :meth:`click.testing.CliRunner.invoke`. Without ``obj`` the command gets a
                ``ScriptInfo`` that loads this application.
        """
        if "obj" not in kwargs:
            from ..cli import ScriptInfo

            kwargs["obj"] = ScriptInfo(create_app=lambda: self.app)
        return super().invoke(self.app.cli if cli is None else cli, args, **kwargs)
