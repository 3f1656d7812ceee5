"""The application under fault: accounts, transfers between them, and long answers."""

import os
import time

from sqlalchemy import literal, select, true
from sqlalchemy.orm import Mapped, aliased, mapped_column

from carboy import Blueprint, Carboy, request, stream_with_context
from carboy.db import Database

app = Carboy(__name__, instance_path=os.environ["BANK"])
app.config.from_prefixed_env("BANK_")
db = Database(app)


class Account(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class Transfer(db.Model):
    id: Mapped[str] = mapped_column(primary_key=True)


class Mark(db.Model):
    id: Mapped[str] = mapped_column(primary_key=True)


@app.get("/")
def index():
    return "open"


# -- Transfers ---------------------------------------------------------------------


def arguments():
    return request.args["key"], int(request.args["of"]), int(request.args["to"])


@app.post("/sync/transfer")
def transfer():
    key, of, to = arguments()
    move(key, of, to)
    return ""


@db.transaction(retries=20)
def move(key, of, to):
    if db.session.get(Transfer, key) is None:
        db.session.add(Transfer(id=key))
        # In any order, so that there are deadlocks.
        db.session.get_one(Account, of, with_for_update=True).balance -= 1
        db.session.get_one(Account, to, with_for_update=True).balance += 1


@app.post("/async/transfer")
async def async_transfer():
    key, of, to = arguments()
    await async_move(key, of, to)
    return ""


@db.transaction(retries=20, isolation="SERIALIZABLE")
async def async_move(key, of, to):
    session = db.aio.session
    if await session.get(Transfer, key) is None:
        session.add(Transfer(id=key))
        (await session.get_one(Account, of, with_for_update=True)).balance -= 1
        (await session.get_one(Account, to, with_for_update=True)).balance += 1


@app.get("/sync/accounts")
def accounts():
    return [account.balance for account in db.session.scalars(select(Account))]


@app.get("/async/accounts")
async def async_accounts():
    return [account.balance for account in await db.aio.session.scalars(select(Account))]


# -- Many at once --------------------------------------------------------------------


@app.post("/sync/mark/<key>")
def mark(key):
    """Never committed, so what is seen is one's own mark: others', if the session were theirs, too."""
    db.session.add(Mark(id=key))
    db.session.flush()
    time.sleep(0.02)
    return list(db.session.scalars(select(Mark.id)))


@app.post("/async/mark/<key>")
async def async_mark(key):
    import asyncio

    session = db.aio.session
    session.add(Mark(id=key))
    await session.flush()
    await asyncio.sleep(0.02)
    return list(await session.scalars(select(Mark.id)))


@app.get("/sync/page/<key>")
def page(key):
    """Stream what takes a connection from the first to the last line."""

    def lines():
        for part in range(3):
            time.sleep(0.005)
            yield db.session.scalar(select(literal(f"{key}.{part} ")))

    db.session.scalar(select(literal(key)))
    return stream_with_context(lines())


mixed = Blueprint("mixed", __name__, url_prefix="/mixed")


@mixed.before_request
def note_who_asks():
    db.session.scalar(select(literal("somebody")))


@mixed.before_request
async def let_others_go_first():
    import asyncio

    await asyncio.sleep(0)


@mixed.get("/page/<key>")
def mixed_page(key):
    """Have a connection in three threads, one after the other: for the hook, the view and the teardown."""
    return "".join(db.session.scalar(select(literal(f"{key}.{part} "))) for part in range(3))


app.register_blueprint(mixed)


@app.get("/async/page/<key>")
async def async_page(key):
    import asyncio

    @stream_with_context
    async def lines():
        for part in range(3):
            await asyncio.sleep(0.005)
            yield await db.aio.session.scalar(select(literal(f"{key}.{part} ")))

    await db.aio.session.scalar(select(literal(key)))
    return lines()


# -- Long answers ----------------------------------------------------------------------


def many():
    """Select a hundred thousand rows: more than fit between a database and a client who has stopped reading."""
    one, two, three = aliased(Account), aliased(Account), aliased(Account)
    rows = select(one.id * 10_000 + two.id * 100 + three.id).select_from(one)
    return rows.join(two, true()).join(three, three.id <= 10)


@app.get("/sync/stream")
def stream():
    def rows():
        for (number,) in db.session.execute(many().execution_options(yield_per=500)):
            yield f"{number} is the number of this row\n"

    return stream_with_context(rows())


@app.get("/async/stream")
async def async_stream():
    @stream_with_context
    async def rows():
        async for (number,) in await db.aio.session.stream(many().execution_options(yield_per=500)):
            yield f"{number} is the number of this row\n"

    return rows()


# -- What the tests look at --------------------------------------------------------------


@app.get("/pool")
def pool():
    """Connections in use, and open, in this process."""
    engines = db.engines
    pools = [engine.pool for engine in engines._sync.values()]
    pools += [engine.pool for of_loop in list(engines._async.values()) for engine in of_loop.values()]
    used = [pool.checkedout() for pool in pools]
    return {"in use": sum(used), "open": [pool.checkedin() + used for pool, used in zip(pools, used, strict=True)]}


@app.cli.command("open")
def open_bank():
    """Make the tables, with a hundred accounts of a hundred each."""
    db.drop_all()
    db.create_all()
    db.session.add_all([Account(id=number, balance=100) for number in range(1, 101)])
    db.session.commit()
