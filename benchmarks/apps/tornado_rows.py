"""A row of a database by SQLAlchemy, on Tornado: ``python -m tornado_rows PORT``."""

from __future__ import annotations

import asyncio
import sys

import tornado.web
import uvloop
from cellar_rows import ASYNC_DATABASE, Cask
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

engine = create_async_engine(ASYNC_DATABASE)


class Row(tornado.web.RequestHandler):
    """A row."""

    async def get(self, number: str) -> None:
        """Return it."""
        async with AsyncSession(engine) as database:
            self.write((await database.get_one(Cask, int(number))).as_dict())


async def main() -> None:
    """Serve until the process is ended."""
    application = tornado.web.Application([(r"/rows/(\d+)", Row)], log_function=lambda handler: None)
    application.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
