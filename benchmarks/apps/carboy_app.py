"""The benchmark's two routes on carboy: ``sync_app`` with sync views, ``async_app`` with async ones."""

from __future__ import annotations

import typing as t

from carboy import Carboy

sync_app = Carboy("benchmark", static_folder=None)
async_app = Carboy("benchmark", static_folder=None)


@sync_app.get("/plain")
def plain() -> str:
    """Return text."""
    return "Hello, World!"


@sync_app.get("/items/<int:item>")
def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds a value from the path."""
    return {"id": item, "name": "cask"}


@async_app.get("/plain")
async def async_plain() -> str:
    """Return text."""
    return "Hello, World!"


@async_app.get("/items/<int:item>")
async def async_item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds a value from the path."""
    return {"id": item, "name": "cask"}
