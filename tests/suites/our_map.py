"""A pytest plugin that makes ``werkzeug.routing.Map`` carboy's, and proves that Werkzeug's matcher is not asked."""

from __future__ import annotations

import typing as t

import pytest
import werkzeug.routing
from werkzeug.routing.matcher import StateMachineMatcher

from carboy.routing import Map, Matcher

_matched = 0
_match = Matcher.match


def _counting(self: Matcher, *args: t.Any) -> t.Any:
    global _matched
    _matched += 1
    return _match(self, *args)


def _refuse(*args: t.Any) -> t.NoReturn:
    raise AssertionError("This is Werkzeug's matcher; the test run must use carboy's.")


werkzeug.routing.Map = Map  # type: ignore[misc]
Matcher.match = _counting  # type: ignore[method-assign]
StateMachineMatcher.match = StateMachineMatcher.add = _refuse  # type: ignore[method-assign, assignment]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how often our matcher was asked."""
    terminalreporter.write_line(f"proof: {Map.__module__}.Map was the map; its matcher was asked {_matched} times")
