"""The alias: ``flask`` and its submodules become carboy's own module objects.

``flask.x`` is the object that ``carboy.flask.x`` is, never a second copy: all of them are imported at once, put into
``sys.modules`` under both names, and kept here, so that a name which somebody drops from ``sys.modules`` comes back as
the same object. The environment variable ``CARBOY_AS_FLASK`` carries the alias to child processes: ``carboy.pth``,
which is installed beside the package, reads it at interpreter start. ``0`` keeps the alias off, whoever asks for it.

Distribution metadata is left alone: where Flask is installed too, ``importlib.metadata.version("flask")`` finds it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pkgutil import walk_packages
from types import ModuleType

SWITCH = "CARBOY_AS_FLASK"
_PACKAGE = "carboy.flask"
# Neither is a part of Flask; importing the plugin would install the alias.
_NOT_ALIASED = (f"{_PACKAGE}.__main__", f"{_PACKAGE}.pytest_plugin")


class _KeepModule(Loader):
    """Loads a module that exists already, without running it again."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._spec = module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just replaced the module's spec by the alias's: reload() needs its own.
        module.__spec__ = self._spec


class AliasFinder(MetaPathFinder):
    """Finds ``flask`` and its submodules among the modules that it holds."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec that leads to carboy's module for *fullname*, or None for any other name."""
        module = self.modules.get(fullname)
        if module is None:
            return None
        return ModuleSpec(fullname, _KeepModule(module), origin=module.__file__, is_package=hasattr(module, "__path__"))


finder = AliasFinder()


def install() -> None:
    """Make ``flask`` and all its submodules carboy's, in this process and in its child processes.

    Call it before anything imports ``flask``. Calling it again does no harm. With ``CARBOY_AS_FLASK=0`` in the
    environment it does nothing, so that the same program can be tried on the real Flask.

    Raises:
        RuntimeError: If the real Flask is imported already.
    """
    if os.environ.get(SWITCH) == "0":
        return
    if not finder.modules:
        finder.modules.update(_import_all())
    _refuse_the_real_flask()
    os.environ[SWITCH] = "1"
    if finder not in sys.meta_path:
        # Before what looks into folders, but behind what only watches: tracing tools patch Flask as it is imported.
        sys.meta_path.insert(sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0, finder)
    for name in finder.modules:
        import_module(name)
    _refuse_the_real_flask()


def _import_all() -> dict[str, ModuleType]:
    """Import ``carboy.flask`` and everything below it; return the modules by their names under ``flask``."""
    package = import_module(_PACKAGE)
    names = [found.name for found in walk_packages(package.__path__, f"{_PACKAGE}.")]
    modules = {name: import_module(name) for name in [_PACKAGE, *names] if name not in _NOT_ALIASED}
    return {name.removeprefix("carboy."): module for name, module in modules.items()}


def _refuse_the_real_flask() -> None:
    for name, ours in finder.modules.items():
        found = sys.modules.get(name)
        if found is not None and found is not ours:
            raise RuntimeError(
                f"carboy cannot become 'flask': {name!r} is already imported, from {getattr(found, '__file__', None)},"
                " and code that holds its objects would not see carboy's. Call carboy.install_as_flask() before the"
                " first import of flask or of a Flask extension, start the program through the 'carboy' command, or"
                f" set {SWITCH}=1 in its environment."
            )
