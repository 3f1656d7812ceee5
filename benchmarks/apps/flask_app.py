"""The benchmark's two routes on Flask."""

from __future__ import annotations

import typing as t

from flask import Flask

app = Flask("benchmark", static_folder=None)


@app.get("/plain")
def plain() -> str:
    """Return text."""
    return "Hello, World!"


@app.get("/items/<int:item>")
def item(item: int) -> dict[str, t.Any]:
    """Return JSON that holds a value from the path."""
    return {"id": item, "name": "cask"}
