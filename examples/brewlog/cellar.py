"""The cellar: temperature probes, asked all at once, and a page that keeps growing.

The probes are simulated: each has a delay and a temperature that wanders. Behind ``read``
a real one would make an HTTP request or talk to a bus; nothing else would change.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from carboy import Blueprint, current_app, get_template_attribute, render_template, request
from carboy.typing import ResponseReturnValue

blueprint = Blueprint("cellar", __name__, url_prefix="/cellar")


@dataclass(frozen=True, slots=True)
class Probe:
    """A place in the cellar and the temperatures, in °C, that it should keep."""

    place: str
    low: float
    high: float
    delay: float

    def temperature(self) -> float:
        """Return what the probe measures now, in °C."""
        middle, reach = (self.low + self.high) / 2, (self.high - self.low) / 2
        return round(middle + reach * 1.1 * math.sin(time.time() / 40 + self.delay * 20) + random.uniform(-0.1, 0.1), 1)

    async def read(self) -> float:
        """Ask the probe, which answers after its delay."""
        await asyncio.sleep(self.delay)
        return self.temperature()


PROBES = [
    Probe("Fermentation room", 18, 21, 0.31),
    Probe("Lager fridge", 8, 12, 0.24),
    Probe("Cold store", 1, 4, 0.38),
    Probe("Mead shelf", 16, 24, 0.17),
]


@blueprint.route("/")
async def overview() -> ResponseReturnValue:
    """Show all probes, in the time of the slowest one."""
    started = time.perf_counter()
    temperatures = await asyncio.gather(*(probe.read() for probe in PROBES))
    return render_template(
        "cellar/overview.html",
        probes=list(zip(PROBES, temperatures, strict=True)),
        took=time.perf_counter() - started,
        one_by_one=sum(probe.delay for probe in PROBES),
    )


@blueprint.route("/live")
async def live() -> ResponseReturnValue:
    """Send the page now and its rows as they come: the browser shows each at once."""
    rows = min(max(request.args.get("rows", 30, type=int), 1), 120)
    pause = current_app.config["LIVE_PAUSE"]
    page = render_template("cellar/live.html", probes=PROBES, rows=rows)
    head, tail = page.split("<!-- rows -->")
    as_row = get_template_attribute("cellar/row.html", "row")

    async def parts() -> AsyncIterator[str]:
        yield head
        for number in range(rows):
            if number:
                await asyncio.sleep(pause)
            yield as_row(time.strftime("%H:%M:%S"), [(probe, probe.temperature()) for probe in PROBES])
        yield tail

    return parts()
