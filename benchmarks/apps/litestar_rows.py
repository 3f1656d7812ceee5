"""A row of a database by SQLAlchemy, on Litestar."""

import typing as t

from cellar_rows import ASYNC_DATABASE, Cask
from litestar import Litestar, get
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

engine = create_async_engine(ASYNC_DATABASE)


@get("/rows/{number:int}")
async def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return (await database.get_one(Cask, number)).as_dict()


app = Litestar([row], openapi_config=None)
