"""A row of a database by SQLAlchemy, on Starlette."""

from __future__ import annotations

from cellar_rows import ASYNC_DATABASE, Cask
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

engine = create_async_engine(ASYNC_DATABASE)


async def row(request: Request) -> JSONResponse:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return JSONResponse((await database.get_one(Cask, request.path_params["number"])).as_dict())


app = Starlette(routes=[Route("/rows/{number:int}", row)])
