"""``pytest -p carboy.flask.pytest_plugin``: tests, conftest files and later plugins import carboy as ``flask``.

The alias is installed when pytest imports this module, which it does for ``-p`` before it loads any other plugin.
"""

from __future__ import annotations

import importlib.metadata
import sys

from . import alias

alias.install()


def pytest_report_header() -> str:
    """Say in the report's header which package ``flask`` is."""
    if "flask" not in alias.finder.modules:
        return f"flask is not carboy: {alias.SWITCH}=0"
    return f"flask is carboy {importlib.metadata.version('carboy')} ({sys.modules['flask'].__file__})"
