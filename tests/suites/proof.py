"""A pytest plugin that proves, after each test, that ``flask`` is carboy's module and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

_checked = 0


@pytest.fixture(autouse=True)
def _flask_is_carboy() -> Iterator[None]:
    global _checked
    yield
    names = [name for name in sys.modules if name == "flask" or name.startswith("flask.")]
    strangers = [name for name in names if sys.modules[name] is not sys.modules.get(f"carboy.{name}")]
    assert "flask" in names
    assert not strangers, f"not carboy's: {strangers}"
    _checked += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how often that was looked at, and where."""
    flask = sys.modules["flask"].__file__
    terminalreporter.write_line(f"proof: flask was {flask} after each of {_checked} tests (process {os.getpid()})")
