"""A row of a database by SQLAlchemy, on aiohttp: ``python -m aiohttp_rows PORT``."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web
from cellar_rows import ASYNC_DATABASE, Cask
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

engine = create_async_engine(ASYNC_DATABASE)


async def row(request: web.Request) -> web.Response:
    """Return a row."""
    async with AsyncSession(engine) as database:
        return web.json_response((await database.get_one(Cask, int(request.match_info["number"]))).as_dict())


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get(r"/rows/{number:\d+}", row)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())
