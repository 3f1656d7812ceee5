import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column


@pytest.fixture
def Account(db):
    class Account(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        balance: Mapped[int]

    return Account


@pytest.fixture
def app(make_app, db, Account):
    app = make_app(DATABASE_POOL_SIZE=10)
    with app.app_context():
        db.create_all()
        db.session.add_all([Account(id=id, balance=100) for id in range(1, 6)])
        db.session.commit()
    return app


def balances(app, db, Account):
    with app.app_context():
        return list(db.session.scalars(select(Account.balance).order_by(Account.id)))


def test_all_or_nothing(app, db, Account):
    with app.app_context():
        with db.transaction() as session:
            session.get(Account, 1).balance = 1
        with pytest.raises(LookupError), db.transaction():
            db.session.get(Account, 1).balance = 2
            db.session.get(Account, 2).balance = 2
            raise LookupError
    assert balances(app, db, Account) == [1, 100, 100, 100, 100]


def test_one_inside_another_is_a_savepoint(app, db, Account):
    done = []
    with app.app_context(), db.transaction():
        db.session.get(Account, 1).balance = 1
        with db.transaction():
            db.session.get(Account, 2).balance = 2
            db.after_commit(lambda: done.append("kept"))
        with pytest.raises(LookupError), db.transaction():
            db.session.get(Account, 3).balance = 3
            db.after_commit(lambda: done.append("dropped"))
            raise LookupError
        assert done == []
    assert done == ["kept"]
    assert balances(app, db, Account) == [1, 2, 100, 100, 100]


def test_what_was_written_before_belongs_to_it(app, db, Account):
    with app.app_context():
        db.session.get(Account, 1).balance = 1
        db.session.flush()
        with db.transaction():
            db.session.get(Account, 2).balance = 2
    assert balances(app, db, Account)[:2] == [1, 2]


def test_functions_wait_for_the_commit(app, db, Account):
    seen = []
    with app.app_context():

        def tell():
            seen.append(db.session.get(Account, 1).balance)

        with db.transaction():
            db.session.get(Account, 1).balance = 7
            db.after_commit(tell)
            db.after_commit(lambda: 1 // 0)
            db.after_commit(tell)
            assert seen == []
        with pytest.raises(LookupError), db.transaction():
            db.after_commit(tell)
            raise LookupError
        db.session.get(Account, 1).balance = 8
        db.after_commit(tell)
        db.session.commit()
    assert seen == [7, 7, 8]
    with app.app_context():
        db.after_commit(lambda: seen.append("at once"))
    assert seen[3:] == ["at once"]


def transfer(db, Account, source, target):
    """Read, think, write: right only if nobody comes in between."""
    one, other = db.session.get(Account, source), db.session.get(Account, target)
    one.balance, other.balance = one.balance - 1, other.balance + 1


PAIRS = [(n % 5 + 1, (n * 3 + 1) % 5 + 1) for n in range(60) if n % 5 != (n * 3 + 1) % 5]


def expected():
    found = [100] * 5
    for source, target in PAIRS:
        found[source - 1] -= 1
        found[target - 1] += 1
    return found


@pytest.fixture
def isolation(kind):
    # Where reading takes no lock, only this level notices that what was read has changed.
    return {"isolation": "SERIALIZABLE"} if kind != "sqlite" else {}


def test_transfers_at_the_same_time_are_exact_in_threads(app, db, Account, isolation):
    move = db.transaction(retries=50, **isolation)(transfer)

    def work(pair):
        with app.app_context():
            move(db, Account, *pair)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, PAIRS))
    assert balances(app, db, Account) == expected()


def test_transfers_at_the_same_time_are_exact_on_a_loop(app, db, Account, isolation):
    @db.transaction(retries=50, **isolation)
    async def move(source, target):
        one, other = await db.session.get(Account, source), await db.session.get(Account, target)
        await asyncio.sleep(0)
        one.balance, other.balance = one.balance - 1, other.balance + 1

    async def work(waiting):
        while waiting:
            async with app.app_context():
                await move(*waiting.pop())

    async def main():
        waiting = list(PAIRS)
        await asyncio.gather(*(work(waiting) for _ in range(6)))
        async with app.app_context():
            await db.engines.dispose_async()

    asyncio.run(main())
    assert balances(app, db, Account) == expected()


def test_an_error_of_ones_own_is_not_tried_again(app, db):
    calls = []

    @db.transaction
    def fail():
        calls.append(1)
        raise LookupError

    with app.app_context(), pytest.raises(LookupError):
        fail()
    assert calls == [1]


def test_mixing_up_sync_and_async_is_told(app, db, protocol):
    @app.get("/")
    async def view():
        with pytest.raises(RuntimeError, match="async with"), db.transaction():
            pass
        return "ok"

    assert app.test_client(protocol=protocol).get("/").text == "ok"
    with app.app_context(), pytest.raises(RuntimeError, match=r"db\.session"):
        db.aio.session  # noqa: B018
