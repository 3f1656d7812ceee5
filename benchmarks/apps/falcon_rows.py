"""A row of a database by SQLAlchemy, on Falcon: ``app`` for WSGI, ``async_app`` for ASGI."""

from __future__ import annotations

import falcon
import falcon.asgi
from cellar_rows import ASYNC_DATABASE, DATABASE, Cask
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

engine = create_engine(DATABASE)
async_engine = create_async_engine(ASYNC_DATABASE)


class Row:
    """A row."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, number: int) -> None:
        """Return it."""
        with Session(engine) as database:
            resp.media = database.get_one(Cask, number).as_dict()


class AsyncRow:
    """A row."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, number: int) -> None:
        """Return it."""
        async with AsyncSession(async_engine) as database:
            resp.media = (await database.get_one(Cask, number)).as_dict()


app = falcon.App()
app.add_route("/rows/{number:int}", Row())
async_app = falcon.asgi.App()
async_app.add_route("/rows/{number:int}", AsyncRow())
