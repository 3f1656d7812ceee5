"""What brewers know: styles, states, and the arithmetic of gravity. No web in here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Style:
    """A kind of brew and the colour it has in the glass."""

    name: str
    colour: str

    def __str__(self) -> str:
        return self.name


STYLES = {
    "pale-ale": Style("Pale ale", "#e0a03a"),
    "ipa": Style("IPA", "#d4812a"),
    "wheat": Style("Wheat beer", "#ecc65c"),
    "saison": Style("Saison", "#e6b04a"),
    "amber": Style("Amber ale", "#b5571f"),
    "porter": Style("Porter", "#5a2d1a"),
    "stout": Style("Stout", "#2e1a14"),
    "cider": Style("Cider", "#e8cf70"),
    "mead": Style("Mead", "#f0bd45"),
}

STATUSES = {
    "planned": "Planned",
    "fermenting": "Fermenting",
    "conditioning": "Conditioning",
    "ready": "Ready",
}


def abv(original: float, current: float) -> float:
    """Return the alcohol by volume, in percent, after gravity fell from *original* to *current*."""
    return max(0.0, (original - current) * 131.25)


def progress(original: float, target: float, current: float) -> float:
    """Return how far fermentation has come, 0 to 1, between *original* and *target* gravity."""
    return min(1.0, max(0.0, (original - current) / (original - target)))


def format_gravity(value: float | None) -> str:
    """Return a specific gravity as brewers write it: three decimals, or a dash if unknown."""
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def format_day(day: date) -> str:
    """Return a date as ``7 Mar 2026``."""
    return f"{day.day} {day:%b %Y}"


def format_moment(moment: datetime) -> str:
    """Return a time as ``7 Mar, 18:30``."""
    return f"{moment.day} {moment:%b, %H:%M}"
