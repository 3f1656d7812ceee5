"""A row of a database by SQLAlchemy, on BlackSheep."""

from blacksheep import Application, Response, get, json
from cellar_rows import ASYNC_DATABASE, Cask
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

app = Application()
engine = create_async_engine(ASYNC_DATABASE)


@get("/rows/{int:number}")
async def row(number: int) -> Response:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return json((await database.get_one(Cask, number)).as_dict())
