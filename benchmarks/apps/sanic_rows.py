"""A row of a database by SQLAlchemy, on Sanic."""

from __future__ import annotations

from cellar_rows import ASYNC_DATABASE, Cask
from sanic import HTTPResponse, Request, Sanic, json
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = Sanic("benchmark")
app.config.AUTO_EXTEND = False
engine = create_async_engine(ASYNC_DATABASE)


@app.get("/rows/<number:int>")
async def row(request: Request, number: int) -> HTTPResponse:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return json((await database.get_one(Cask, number)).as_dict())
