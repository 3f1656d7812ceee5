"""Hands the alias on to child processes: ``carboy.pth`` calls this at interpreter start if ``CARBOY_AS_FLASK`` is set.

It must stay cheap, because every Python process with that variable runs it: no import of carboy, only a finder that
does so when something imports ``flask``. That is also why it lies beside the package and not in it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class FlaskOnDemand:
    """A finder that installs carboy's alias at the first import of ``flask``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return carboy's spec for *fullname* if it is ``flask`` or below it, else None."""
        if fullname.partition(".")[0] != "flask":
            return None
        sys.meta_path.remove(self)
        try:
            from carboy.flask import alias

            alias.install()
        except BaseException:
            # The next import of flask must fail too, not find the real Flask.
            sys.meta_path.insert(0, self)
            raise
        # The import system would take the spec of a module that has appeared meanwhile, and run carboy.flask twice.
        sys.modules.pop(fullname, None)
        return alias.finder.find_spec(fullname)


def wait_for_flask() -> None:
    """Put the finder in front of all others, once: in a virtual environment ``site`` reads a ``.pth`` file twice."""
    if not any(isinstance(finder, FlaskOnDemand) for finder in sys.meta_path):
        sys.meta_path.insert(0, FlaskOnDemand())
