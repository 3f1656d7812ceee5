"""The fermentation curve as SVG coordinates; the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .models import Batch, Reading

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 28


@dataclass(frozen=True, slots=True)
class Curve:
    """Everything the template needs: points, the filled area under them, and the axes."""

    points: list[tuple[float, float, str]]
    line: str
    area: str
    grid: list[tuple[float, str]]
    days: list[tuple[float, str]]
    target: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def draw(batch: Batch, readings: Sequence[Reading]) -> Curve | None:
    """Return the curve of *readings*, or None when there are too few for a line."""
    if len(readings) < 2:
        return None
    times = [reading.taken_at for reading in readings]
    hours = [(time - times[0]).total_seconds() / 3600 for time in times]
    span = hours[-1] or 1.0
    gravities = [reading.gravity for reading in readings]
    high: float = max(batch.original_gravity, *gravities)
    low: float = min(batch.target_gravity, *gravities) - 0.004

    def x(hour: float) -> float:
        return round(LEFT + hour / span * (WIDTH - LEFT - RIGHT), 1)

    def y(gravity: float) -> float:
        return round(TOP + (high - gravity) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    points = [
        (x(hour), y(gravity), f"{time:%d %b %H:%M}: {gravity:.3f}")
        for hour, gravity, time in zip(hours, gravities, times, strict=True)
    ]
    line = " ".join(f"{left},{top}" for left, top, _ in points)
    floor = HEIGHT - BOTTOM
    step = max(1, round(span / 24 / 6))
    return Curve(
        points=points,
        line=line,
        area=f"{points[0][0]},{floor} {line} {points[-1][0]},{floor}",
        grid=[(y(low + (high - low) * part / 4), f"{low + (high - low) * part / 4:.3f}") for part in range(5)],
        days=[(x(day * 24), f"day {day}") for day in range(0, int(span / 24) + 1, step)],
        target=y(batch.target_gravity),
    )
