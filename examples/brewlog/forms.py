"""Forms by hand: read a field, check it, keep what was typed and what was wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date


class Form:
    """One submitted form. Each method returns the clean value, or notes an error.

    Templates show ``form.typed`` and ``form.errors``, both by field name.
    """

    def __init__(self, typed: Mapping[str, str]) -> None:
        self.typed = typed
        self.errors: dict[str, str] = {}

    def text(self, name: str, *, at_least: int = 0, at_most: int) -> str:
        """Return the field without surrounding space; lengths are in characters."""
        value = self.typed.get(name, "").strip()
        if at_least and not value:
            self.errors[name] = "Please fill this in."
        elif len(value) < at_least:
            self.errors[name] = f"Use at least {at_least} characters."
        elif len(value) > at_most:
            self.errors[name] = f"Use at most {at_most} characters."
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return the field as a number from *low* to *high*; a decimal comma is fine."""
        try:
            value = float(self.typed.get(name, "").replace(",", "."))
        except ValueError:
            self.errors[name] = "Please enter a number."
            return low
        if not low <= value <= high:
            self.errors[name] = f"Enter a number from {low:g} to {high:g}."
        return value

    def choice(self, name: str, options: Collection[str]) -> str:
        """Return the field, which must be one of *options*."""
        value = self.typed.get(name, "")
        if value not in options:
            self.errors[name] = "Pick one of the list."
        return value

    def day(self, name: str) -> date:
        """Return the field as a date."""
        try:
            return date.fromisoformat(self.typed.get(name, ""))
        except ValueError:
            self.errors[name] = "Enter a date such as 2026-03-07."
            return date.today()
