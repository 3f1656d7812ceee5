"""A row of a database by ``carboy.db``: ``sync_app`` with sync views, ``async_app`` with async ones."""

from __future__ import annotations

import typing as t

from cellar_rows import DATABASE, Base, Cask

from carboy import Carboy
from carboy.db import Database

db = Database(model=Base)
sync_app = Carboy("benchmark")
async_app = Carboy("benchmark")
for app in (sync_app, async_app):
    app.config["DATABASE_URL"] = DATABASE
    db.init_app(app)


@sync_app.get("/rows/<int:number>")
def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    return db.get_or_404(Cask, number).as_dict()


@async_app.get("/rows/<int:number>")
async def async_row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    return (await db.aio.get_or_404(Cask, number)).as_dict()
