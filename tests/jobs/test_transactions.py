"""Jobs that are queued with an application's data, or not at all."""

import os

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, mapped_column

from carboy.db import Database
from carboy.jobs import Query
from carboy.jobs.transactions import hand_over_rest, outbox


@pytest.fixture(params=["same database", "another engine"])
def where(request):
    return request.param


@pytest.fixture
def kind(request, where):
    return request.param


@pytest.fixture
def db():
    return Database()


@pytest.fixture
def app(app, db, jobs_url, where, tmp_path):
    app.config["DATABASE_URL"] = jobs_url
    state = app.extensions["carboy.jobs"]
    if where == "another engine":
        state.settings = type(state.settings)(
            **vars(state.settings) | {"url": f"sqlite:///{tmp_path / 'other.sqlite'}"}
        )
    db.init_app(app)

    class Order(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)

    app.order = Order
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        app.async_to_sync(db.engines.dispose_async)()
        db.engines.dispose()


pytestmark = pytest.mark.parametrize(
    "kind", ["sqlite", *os.environ.get("CARBOY_JOBS_SERVERS", "").split()], indirect=True
)


@pytest.fixture
def send(jobs):
    @jobs.job
    def send(order_id):
        return order_id

    return send


@pytest.fixture
def counts(app, jobs, db):
    """Tells how many orders and how many jobs there are."""

    async def count():
        return len(await (await jobs.engine()).find(Query()))

    def counts():
        with app.app_context():
            orders = db.session.scalar(select(func.count()).select_from(app.order))
            return orders, app.async_to_sync(count)()

    return counts


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_a_job_is_there_if_the_data_is(app, db, send, counts, protocol):
    @app.post("/orders/<int:order_id>")
    def sync_view(order_id):
        with db.transaction() as session:
            session.add(app.order(id=order_id))
            send.enqueue(order_id)
            if order_id % 2:
                raise LookupError
        return ""

    @app.post("/async/<int:order_id>")
    async def async_view(order_id):
        async with db.transaction() as session:
            session.add(app.order(id=order_id))
            await send.enqueue(order_id)
            if order_id % 2:
                raise LookupError
        return ""

    @app.post("/plain/<int:order_id>")
    def plain_view(order_id):
        db.session.add(app.order(id=order_id))
        send.enqueue(order_id)
        if order_id % 2 == 0:
            db.session.commit()
        return ""

    app.register_error_handler(LookupError, lambda error: ("", 500))
    client = app.test_client(protocol=protocol)
    numbers = iter(range(2, 20))
    for path in ("orders", "async", "plain"):
        assert client.post(f"/{path}/{next(numbers)}").status_code == 200
        client.post(f"/{path}/{next(numbers)}")
    assert counts() == (3, 3)


def test_what_was_left_in_the_outbox_is_handed_over(app, db, jobs, send, counts, where, monkeypatch):
    """The process dies after the commit, before the job is handed over."""
    monkeypatch.setattr("carboy.jobs.transactions._hand_over", _die)
    monkeypatch.setattr("carboy.jobs.transactions._LEFT_BEHIND", -1.0)
    with app.app_context(), db.transaction() as session:
        session.add(app.order(id=1))
        send.enqueue(1)

    async def relay():
        engine = await jobs.engine()
        return [await hand_over_rest(jobs.of_app, engine) for _ in range(2)]

    with app.app_context():
        handed_over = app.async_to_sync(relay)()
    assert handed_over == ([0, 0] if where == "same database" else [1, 0])
    assert counts() == (1, 1)


async def _die(*args):
    """Do nothing, like who is dead."""


def test_a_job_handed_over_twice_is_there_once(app, db, jobs, send, counts, where, monkeypatch):
    """The process dies between handing over and forgetting."""
    monkeypatch.setattr("carboy.jobs.transactions._forget", lambda database, ids: None)
    monkeypatch.setattr("carboy.jobs.transactions._LEFT_BEHIND", -1.0)
    with app.app_context(), db.transaction() as session:
        session.add(app.order(id=1))
        send.enqueue(1)

    async def relay():
        await hand_over_rest(jobs.of_app, await jobs.engine())

    with app.app_context():
        app.async_to_sync(relay)()
    assert counts() == (1, 1)
    if where == "another engine":
        with app.app_context():
            assert db.session.scalar(select(func.count()).select_from(outbox)) == 1
