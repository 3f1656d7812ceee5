"""A row of a database by SQLAlchemy, on Quart."""

from __future__ import annotations

import typing as t

from cellar_rows import ASYNC_DATABASE, Cask
from quart import Quart
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = Quart("benchmark")
engine = create_async_engine(ASYNC_DATABASE)


@app.get("/rows/<int:number>")
async def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return (await database.get_one(Cask, number)).as_dict()
