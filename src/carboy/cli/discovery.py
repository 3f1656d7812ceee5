"""Find the application that a command is about.

Owns the way from what the user typed (``--app shop.web:create_app("dev")``, or
nothing) to an application object, and the errors that say where that way ended.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import traceback
import typing as t
from pathlib import Path
from types import ModuleType

import click

from ..debug import get_debug_flag, get_load_dotenv

if t.TYPE_CHECKING:
    import os

    from ..app import Carboy


class NoAppException(click.UsageError):
    """No application was found, or it could not be loaded."""


def find_best_app(module: ModuleType) -> Carboy:
    """Return the application that a module most likely means.

    Tried in this order: an application named ``app`` or ``application``; the
    only application in the module; what the function ``create_app`` or
    ``make_app`` returns when called without arguments.

    Raises:
        NoAppException: There is none, more than one, or the function needs
            arguments.
    """
    from ..app import Carboy

    for name in ("app", "application"):
        app = getattr(module, name, None)
        if isinstance(app, Carboy):
            return app

    apps = [value for value in vars(module).values() if isinstance(value, Carboy)]
    if len(apps) == 1:
        return apps[0]
    if apps:
        raise NoAppException(
            f"Module '{module.__name__}' has {len(apps)} applications. Name the one to use: '{module.__name__}:name'."
        )

    for name in ("create_app", "make_app"):
        factory = getattr(module, name, None)
        if not inspect.isfunction(factory):
            continue
        if not _accepts(factory):
            raise NoAppException(
                f"The factory '{name}' in module '{module.__name__}' cannot be called without arguments. Give"
                f" them: '{module.__name__}:{name}(args)'."
            )
        app = factory()
        if isinstance(app, Carboy):
            return app

    raise NoAppException(
        f"Module '{module.__name__}' has no application and no factory 'create_app' or 'make_app' that returns one."
        f" If it goes by another name, give that: '{module.__name__}:name'."
    )


def _accepts(factory: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> bool:
    # The function's own signature: what it wraps may want other arguments than it does itself.
    try:
        inspect.signature(factory, follow_wrapped=False).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def find_app_by_string(module: ModuleType, app_name: str) -> Carboy:
    """Return the application that *app_name* stands for in a module.

    Args:
        app_name: A variable's name; or a function's, with or without arguments
            in parentheses. The arguments are Python literals.

    Raises:
        NoAppException: The text is something else, or did not lead to an
            application.
    """
    from ..app import Carboy

    name, args, kwargs = _parse_app_name(app_name)
    try:
        app = getattr(module, name)
    except AttributeError:
        raise NoAppException(f"Module {module.__name__!r} has no attribute {name!r}.") from None

    if inspect.isfunction(app):
        if not _accepts(app, *args, **kwargs):
            raise NoAppException(
                f"The factory '{name}{inspect.signature(app)}' in module {module.__name__!r} cannot be called as"
                f" {app_name!r}."
            )
        app = app(*args, **kwargs)
    if isinstance(app, Carboy):
        return app
    raise NoAppException(f"'{module.__name__}:{app_name}' is no application but a {type(app).__name__}.")


def _parse_app_name(app_name: str) -> tuple[str, list[t.Any], dict[str, t.Any]]:
    try:
        expression = ast.parse(app_name.strip(), mode="eval").body
    except SyntaxError:
        expression = None
    match expression:
        case ast.Name(id=name):
            return name, [], {}
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            try:
                return (
                    name,
                    [ast.literal_eval(arg) for arg in args],
                    {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg},
                )
            except (ValueError, TypeError):
                raise NoAppException(f"The arguments in {app_name!r} are not all literal values.") from None
        case ast.Call():
            raise NoAppException(f"The function in {app_name!r} is not a simple name.")
    raise NoAppException(f"{app_name!r} is neither an attribute's name nor a function call.")


def prepare_import(path: str | os.PathLike[str]) -> str:
    """Return the import name of a file or module, made importable.

    The folder that holds it, or that holds its outermost package, is put first
    on ``sys.path``.

    Args:
        path: A file with or without ``.py``, a package's folder, or a dotted
            name relative to the current folder.
    """
    location = Path(path).resolve()
    if location.suffix == ".py":
        location = location.with_suffix("")
    if location.name == "__init__":
        location = location.parent

    names = [location.name]
    folder = location.parent
    while (folder / "__init__.py").exists():
        names.insert(0, folder.name)
        folder = folder.parent

    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
    return ".".join(names)


@t.overload
def locate_app(module_name: str, app_name: str | None, raise_if_not_found: t.Literal[True] = True) -> Carboy: ...


@t.overload
def locate_app(module_name: str, app_name: str | None, raise_if_not_found: bool) -> Carboy | None: ...


def locate_app(module_name: str, app_name: str | None, raise_if_not_found: bool = True) -> Carboy | None:
    """Import a module and return its application.

    Args:
        app_name: As for :func:`find_app_by_string`; None means
            :func:`find_best_app`.
        raise_if_not_found: If False, a module that does not exist gives None.

    Raises:
        NoAppException: There is no such module, its import failed, or it has no
            such application.
    """
    try:
        __import__(module_name)
    except ImportError as error:
        # With only this frame in the traceback no code of the module ran: it was not found.
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise NoAppException(
                f"Importing {module_name!r} raised an ImportError:\n\n{traceback.format_exc()}"
            ) from None
        if raise_if_not_found:
            raise NoAppException(f"There is no module {module_name!r} to import.") from None
        return None

    module = sys.modules[module_name]
    return find_best_app(module) if app_name is None else find_app_by_string(module, app_name)


class ScriptInfo:
    """What a command knows of its application: how to load it, once.

    It is the ``obj`` of the click context of every command. A test that invokes
    a command without the group passes one:
    ``runner.invoke(command, obj=ScriptInfo(create_app=lambda: app))``.

    Args:
        app_import_path: Where the application is, as in ``--app``.
        create_app: Makes the application; comes before *app_import_path*.
        set_debug_flag: Set the application's debug mode from the environment.
        load_dotenv_defaults: Whether default dotenv files are to be loaded by
            who loads such files; ``FLASK_SKIP_DOTENV`` overrides it.
    """

    def __init__(
        self,
        app_import_path: str | None = None,
        create_app: t.Callable[..., Carboy] | None = None,
        set_debug_flag: bool = True,
        load_dotenv_defaults: bool = True,
    ) -> None:
        self.app_import_path = app_import_path
        self.create_app = create_app
        self.data: dict[t.Any, t.Any] = {}
        """For commands to keep what they like."""
        self.set_debug_flag = set_debug_flag
        self.load_dotenv_defaults = get_load_dotenv(load_dotenv_defaults)
        self._loaded_app: Carboy | None = None

    def load_app(self) -> Carboy:
        """Return the application; the first call loads it.

        Raises:
            NoAppException: There is none, or its module cannot be imported.
        """
        if self._loaded_app is None:
            app = self._find_app()
            if self.set_debug_flag:
                app.debug = get_debug_flag()
            self._loaded_app = app
        return self._loaded_app

    def _find_app(self) -> Carboy:
        if self.create_app is not None:
            return self.create_app()
        if self.app_import_path:
            # Not at the colon of a Windows drive, which a slash follows.
            path, *name = re.split(r":(?![\\/])", self.app_import_path, maxsplit=1)
            return locate_app(prepare_import(path), name[0] if name else None)
        for path in ("wsgi.py", "app.py"):
            app = locate_app(prepare_import(path), None, raise_if_not_found=False)
            if app is not None:
                return app
        raise NoAppException(
            "No application was found. Name it with the option '--app' or the environment variable 'FLASK_APP', or"
            " run the command in a folder with a file 'wsgi.py' or 'app.py' that holds it."
        )


pass_script_info = click.make_pass_decorator(ScriptInfo, ensure=True)
"""Decorator: call a command with its :class:`ScriptInfo` as first argument."""
