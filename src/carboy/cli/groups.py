"""Groups of commands that know an application.

:class:`AppGroup` runs its commands inside an application context;
:class:`FlaskGroup` also finds the application, and adds its commands to the
built-in ones and those of installed packages.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import traceback
import typing as t
from functools import update_wrapper

import click
from click.core import ParameterSource

from ..context import current_app_context, has_app_context
from .discovery import NoAppException, ScriptInfo
from .dotenv import load_dotenv

if t.TYPE_CHECKING:
    from ..app import Carboy

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

PLUGIN_GROUPS = ("flask.commands", "carboy.commands")
"""Entry point groups in which installed packages offer commands."""


def with_appcontext(f: F) -> F:
    """Run a click callback inside the application's context.

    Commands of ``app.cli`` and ``blueprint.cli`` have this already. An active
    context is left as it is.
    """

    @click.pass_context
    def invoke(ctx: click.Context, /, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if not has_app_context():
            app = ctx.ensure_object(ScriptInfo).load_app()
            ctx.with_resource(app.app_context())
        return ctx.invoke(f, *args, **kwargs)

    return t.cast(F, update_wrapper(invoke, f))


class AppGroup(click.Group):
    """A click group whose commands run inside the application's context.

    Example::

        @app.cli.command()
        @click.argument("name")
        def add_user(name): ...
    """

    def command(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        """Make a command of a function, as :meth:`click.Group.command` does.

        Args:
            with_appcontext: False for a command that wants no context.
        """
        wants_context = kwargs.pop("with_appcontext", True)

        def decorate(f: t.Callable[..., t.Any]) -> click.Command:
            make_command = super(AppGroup, self).command(*args, **kwargs)
            return t.cast(click.Command, make_command(with_appcontext(f) if wants_context else f))

        if len(args) == 1 and callable(args[0]):  # Used without parentheses.
            f, args = args[0], ()
            return decorate(f)
        return decorate

    def group(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        """Make a group inside this one, an :class:`AppGroup` unless told else."""
        kwargs.setdefault("cls", AppGroup)
        return super().group(*args, **kwargs)


class _GroupOption(click.Option):
    """An option which ``CARBOY_<NAME>`` sets where the group's prefix did not."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        value = super().resolve_envvar_value(ctx)
        return value if value or self.name is None else os.environ.get(f"CARBOY_{self.name.upper()}") or None


def _set_app(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.ensure_object(ScriptInfo).app_import_path = value
    return value


def _set_debug(ctx: click.Context, param: click.Parameter, value: bool) -> bool | None:
    source = ctx.get_parameter_source(param.name or "")
    if source in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP):
        return None  # Not given: the environment decides.
    # In the environment rather than on the application, so that a factory can read it.
    os.environ["FLASK_DEBUG"] = "1" if value else "0"
    return value


def _load_env_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        try:
            import dotenv  # noqa: F401
        except ImportError:
            raise click.BadParameter(
                'python-dotenv is needed to load an env file: pip install "carboy[dotenv]"', ctx, param
            ) from None
    load_defaults = ctx.ensure_object(ScriptInfo).load_dotenv_defaults
    if value is not None or load_defaults:
        load_dotenv(value, load_defaults=load_defaults)
    return value


def get_version(ctx: click.Context, param: click.Parameter | None, value: t.Any) -> None:
    """Print the versions of Python and of the packages that matter, and exit."""
    if not value or ctx.resilient_parsing:
        return
    try:
        flask = f"Flask {importlib.metadata.version('flask')} (installed, but Carboy serves in its place)"
    except importlib.metadata.PackageNotFoundError:
        flask = "Flask 3.1 interface, provided by Carboy"
    click.echo(
        f"Python {platform.python_version()}\n"
        f"Carboy {importlib.metadata.version('carboy')}\n"
        f"{flask}\n"
        f"Werkzeug {importlib.metadata.version('werkzeug')}",
        color=ctx.color,
    )
    ctx.exit()


# Eager options are processed in this order: --env-file may set FLASK_APP, which --help needs to list all commands.
_env_file_option = _GroupOption(
    ["-e", "--env-file"],
    type=click.Path(exists=True, dir_okay=False),
    help="Load environment variables from this file. They win over those in '.env' and '.flaskenv', and give way to"
    " those set already. Needs python-dotenv.",
    is_eager=True,
    expose_value=False,
    callback=_load_env_file,
)
_app_option = _GroupOption(
    ["-A", "--app"],
    metavar="IMPORT",
    help="The application or factory to load, as 'module:name'. The module is a dotted name or a file. The name may"
    " be left out if it is 'app', 'application', 'create_app' or 'make_app'; 'name(args)' passes arguments to a"
    " factory.",
    is_eager=True,
    expose_value=False,
    callback=_set_app,
)
debug_option = _GroupOption(
    ["--debug/--no-debug"], help="Turn debug mode on or off.", expose_value=False, callback=_set_debug
)
version_option = click.Option(
    ["--version"],
    help="Show the versions of Carboy and what it runs on.",
    expose_value=False,
    callback=get_version,
    is_flag=True,
    is_eager=True,
)


class FlaskGroup(AppGroup):
    """The group behind the ``carboy`` command; make one for a script of yours.

    Its commands are the built-in ones (``run``, ``serve``, ``shell``, ``routes``,
    ``doctor``), those of installed packages, and those of the application.

    Example::

        @click.group(cls=FlaskGroup, create_app=create_app)
        def cli():
            "Manage the shop."

    Args:
        add_default_commands: Add the built-in commands.
        create_app: Makes the application; by default it is looked for as
            ``--app`` says.
        add_version_option: Add ``--version``.
        load_dotenv: Load the nearest ``.env`` and ``.flaskenv``.
        set_debug_flag: Set the application's debug mode from the environment.
        extra: Passed to :class:`click.Group`.
    """

    def __init__(
        self,
        add_default_commands: bool = True,
        create_app: t.Callable[..., Carboy] | None = None,
        add_version_option: bool = True,
        load_dotenv: bool = True,
        set_debug_flag: bool = True,
        **extra: t.Any,
    ) -> None:
        # Options with callbacks, so that the group's own callback stays free for the user.
        params: list[click.Parameter] = [*(extra.pop("params", None) or ()), _env_file_option, _app_option]
        params.append(debug_option)
        if add_version_option:
            params.append(version_option)
        settings = {"auto_envvar_prefix": "FLASK", **extra.pop("context_settings", {})}
        super().__init__(params=params, context_settings=settings, **extra)

        self.create_app = create_app
        self.load_dotenv = load_dotenv
        self.set_debug_flag = set_debug_flag
        self._loaded_plugin_commands = False
        self._plugin_commands: set[str] = set()
        if add_default_commands:
            self._add_default_commands()

    def _add_default_commands(self) -> None:
        from .doctor import doctor_command
        from .routes import routes_command
        from .run import run_command
        from .serve import serve_command
        from .shell import shell_command

        for command in (run_command, serve_command, shell_command, routes_command, doctor_command):
            self.add_command(command)

    def _load_plugin_commands(self) -> None:
        if self._loaded_plugin_commands:
            return
        for group in PLUGIN_GROUPS:
            for entry_point in importlib.metadata.entry_points(group=group):
                self.add_command(entry_point.load(), entry_point.name)
                self._plugin_commands.add(entry_point.name)
        self._loaded_plugin_commands = True

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command *name*, or None.

        Built-in commands and those of packages come first, and work even if the
        application cannot be loaded.
        """
        self._load_plugin_commands()
        command = super().get_command(ctx, name)
        if command is not None and name not in self._plugin_commands:
            return command
        try:
            app = ctx.ensure_object(ScriptInfo).load_app()
        except NoAppException as error:
            if command is None:
                _show_error(f"Error: {error.format_message()}")
            return command
        if command is not None and not getattr(app.cli.commands.get(name), "wins_over_packages", False):
            return command
        # From here on, so that callbacks of the command's parameters have the context too.
        if not has_app_context() or current_app_context().app is not app:
            ctx.with_resource(app.app_context())
        return app.cli.get_command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the sorted names of all commands.

        An application that cannot be loaded is reported on the standard error.
        """
        self._load_plugin_commands()
        names = set(super().list_commands(ctx))
        try:
            names.update(ctx.ensure_object(ScriptInfo).load_app().cli.list_commands(ctx))
        except NoAppException as error:
            _show_error(f"Error: {error.format_message()}")
        except Exception:
            _show_error(traceback.format_exc())
        return sorted(names)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: t.Any
    ) -> click.Context:
        """Make the click context, with a :class:`ScriptInfo` as its ``obj``."""
        # Tells `app.run()` to do nothing: a module that calls it unguarded would block the import.
        os.environ["FLASK_RUN_FROM_CLI"] = "true"
        if "obj" not in extra and "obj" not in self.context_settings:
            extra["obj"] = ScriptInfo(
                create_app=self.create_app,
                set_debug_flag=self.set_debug_flag,
                load_dotenv_defaults=self.load_dotenv,
            )
        return super().make_context(info_name, args, parent=parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; where help is all that is asked for, load first."""
        asks_for_help = (
            self.no_args_is_help if not args else len(args) == 1 and args[0] in self.get_help_option_names(ctx)
        )
        if asks_for_help:
            # Help ends the parsing before these options are processed, but it lists the application's commands.
            _env_file_option.handle_parse_result(ctx, {}, [])
            _app_option.handle_parse_result(ctx, {}, [])
        try:
            return super().parse_args(ctx, args)
        except (click.UsageError, click.exceptions.Exit):
            ctx.close()  # Leaves the application context that was entered to list commands.
            raise


def _show_error(message: str) -> None:
    click.secho(f"{message}\n", err=True, fg="red")
