"""A row of a database by SQLAlchemy alone, on carboy: ``sync_app`` with sync views, ``async_app`` with async ones."""

from __future__ import annotations

import typing as t

from cellar_rows import ASYNC_DATABASE, DATABASE, Cask
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from carboy import Carboy

sync_app = Carboy("benchmark")
async_app = Carboy("benchmark")
engine = create_engine(DATABASE)
async_engine = create_async_engine(ASYNC_DATABASE)


@sync_app.get("/rows/<int:number>")
def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    with Session(engine) as database:
        return database.get_one(Cask, number).as_dict()


@async_app.get("/rows/<int:number>")
async def async_row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    async with AsyncSession(async_engine) as database:
        return (await database.get_one(Cask, number)).as_dict()
