"""The picture of the results: CPU time per request by framework, one panel for each case, as SVG."""

from __future__ import annotations

import typing as t
from xml.sax.saxutils import escape

from bars import ASYNC, SYNC
from cases import CASES
from serving import BARE

PANELS = ("plain", "path", "order", "session", "form", "page", "upload", "wait", "row")
COLUMNS = 3
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 340, 112, 46
BAR, STEP, HEAD, GAP = 11, 16, 34, 26
COLOURS = {"carboy": "#0f766e", "bare": "#d6d3d1", "Flask": "#b45309"}
OTHERS = "#94a3b8"
PROTOCOLS = {"granian WSGI": "WSGI", "granian RSGI": "RSGI", "granian ASGI": "ASGI", "uvicorn": "ASGI"}


def picture(http: dict[str, t.Any]) -> str:
    """Return the SVG of the results of HTTP requests."""
    panels = [_bars(http["results"], case) for case in PANELS]
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    heights = [HEAD + STEP * max(len(bars) for bars in row) for row in rows]
    width = COLUMNS * PANEL_WIDTH + (COLUMNS + 1) * GAP
    height = sum(heights) + (len(rows) + 1) * GAP + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="11" role="img">',
        "<title>Server CPU time per request, by framework</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{GAP}" y="36" font-size="17" font-weight="600" fill="#1c1917">Server CPU time per request</text>',
        f'<text x="{width - GAP}" y="36" text-anchor="end" fill="#57534e">microseconds, less is better;'
        " each framework on its best server</text>",
    ]
    top = 40 + GAP
    for number, row in enumerate(rows):
        for column, bars in enumerate(row):
            left = GAP + column * (PANEL_WIDTH + GAP)
            parts += _panel(CASES[PANELS[number * COLUMNS + column]].title, bars, left, top)
        top += heights[number] + GAP
    return "\n".join([*parts, "</svg>\n"])


def _bars(rows: list[dict[str, t.Any]], case: str) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    for row in rows:
        if row["case"] == case and (name := _name(row["target"], row["server"])):
            best[name] = min(row["cpu_us"], best.get(name, row["cpu_us"]))
    return sorted(best.items(), key=lambda bar: bar[1])


def _name(target: str, server: str) -> str:
    """Return what a bar is called, or nothing if there is none for it."""
    if target in (BARE, SYNC, ASYNC):
        protocol = PROTOCOLS.get(server, "")
        shown = protocol and (target != SYNC or protocol == "WSGI")
        return f"{target.split(',')[0].split()[0]}, {protocol}" if shown else ""
    return "" if target.startswith("carboy") else target.partition(",")[0]


def _panel(title: str, bars: list[tuple[str, float]], left: int, top: int) -> t.Iterator[str]:
    yield f'<text x="{left}" y="{top + 12}" font-size="13" font-weight="600" fill="#1c1917">{escape(title)}</text>'
    yield f'<line x1="{left}" x2="{left + PANEL_WIDTH}" y1="{top + 20}" y2="{top + 20}" stroke="#e7e5e4"/>'
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
    longest = max((value for _, value in bars), default=1)
    for i, (name, value) in enumerate(bars):
        y = top + HEAD + i * STEP
        kind = name.partition(",")[0]
        bold = ' font-weight="600"' if kind == "carboy" else ""
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        x, length = left + LABEL_WIDTH, max(1.0, value / longest * room)
        yield f'<text x="{x - 8}" y="{y + 9}" text-anchor="end" fill="#292524"{bold}>{escape(name)}</text>'
        colour = COLOURS.get(kind, OTHERS)
        yield f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" fill="{colour}"/>'
        yield f'<text x="{x + length + 5:.1f}" y="{y + 9}" fill="#57534e"{bold}>{shown}</text>'
