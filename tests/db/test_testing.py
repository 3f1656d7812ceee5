"""Databases for tests: what `carboy.db.testing` and the fixtures leave behind, which is nothing."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pymysql
import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, create_engine, func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from carboy import Carboy, request
from carboy.db import Database, assert_queries
from carboy.db.testing import TestRun

shop = Database()


class Brewer(shop.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    flagship_id: Mapped[int | None] = mapped_column(ForeignKey("beer.id", use_alter=True))


class Beer(shop.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    brewer_id: Mapped[int | None] = mapped_column(ForeignKey("brewer.id"))


class Visit(shop.Model):
    __bind_key__ = "log"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Gives the run of tests for one kind of database."""
    made = {}
    with ExitStack() as stack:

        def get(kind):
            if kind not in made:
                made[kind] = TestRun(tmp_path_factory.mktemp(kind))
                stack.callback(made[kind].close)
            return made[kind]

        yield get


@pytest.fixture
def run(runs, kind):
    return runs(kind)


@pytest.fixture
def db():
    return shop


@pytest.fixture
def app(make_app, db, url, kind, tmp_path):
    log = f"sqlite:///{tmp_path}/log.sqlite" if kind == "sqlite" else f"{url}_log"
    app = make_app(DATABASE_BINDS={"log": log}, DATABASE_REPLICAS=[url])
    done = app.extensions["done"] = []

    @app.get("/sync")
    def sync_names():
        return names(db.session)

    @app.get("/async")
    async def async_names():
        return list(await db.session.scalars(select(Beer.name).order_by(Beer.name)))

    @app.get("/stream")
    async def streamed_names():
        async with db.aio.engine.connect() as connection:
            rows = await connection.stream(select(Beer.name).order_by(Beer.name))
            return [name async for (name,) in rows]

    @app.get("/core")
    async def core_names():
        async with db.aio.engine.connect() as connection:
            return list((await connection.execute(select(Beer.name).order_by(Beer.name))).scalars())

    @app.get("/read")
    async def read_names():
        return list(await db.read_session.scalars(select(Beer.name).order_by(Beer.name)))

    @app.post("/sync")
    def sync_brew():
        with db.transaction(isolation="SERIALIZABLE") as session:
            session.add_all([Beer(name=request.get_json()), Visit()])
            db.after_commit(lambda: done.append(request.get_json()))
        return {}

    @app.post("/async")
    async def async_brew():
        async with db.transaction() as session:
            session.add_all([Beer(name=request.get_json()), Visit()])
            db.after_commit(lambda: done.append(request.get_json()))
        return {}

    @app.post("/engine")
    async def engine_brew():
        async with db.aio.engine.begin() as connection:
            await connection.execute(Beer.__table__.insert().values(name=request.get_json()))
        return {}

    @app.post("/failing")
    async def failing_brew():
        async with db.transaction() as session:
            session.add(Beer(name=request.get_json()))
            await session.flush()
            raise LookupError

    return app


def names(session):
    return list(session.scalars(select(Beer.name).order_by(Beer.name)))


@pytest.fixture(params=["rolled_back", "emptied"])
def isolated(request, run):
    """Both ways to leave a database as it was."""
    return getattr(run, request.param)


def new_session(app, db):
    with app.app_context():
        return db.new_session()


def test_all_sides_see_each_other_and_nothing_is_left(isolated, app, db, protocol):
    client = app.test_client(protocol=protocol)
    for _ in range(2):
        with isolated(app), new_session(app, db) as session:
            assert names(session) == []
            session.add(Beer(name="Alt"))
            session.commit()
            for path in "/sync", "/async", "/engine":
                assert client.post(path, json=path).status_code == 200
            with pytest.raises(LookupError):
                client.post("/failing", json="Sour")
            expected = ["/async", "/engine", "/sync", "Alt"]
            assert sorted(names(session)) == expected
            for path in "/sync", "/async", "/stream", "/core", "/read":
                assert sorted(client.get(path).json) == expected, path
            assert session.scalar(select(func.count()).select_from(Visit)) == 2
    assert app.extensions["done"] == ["/sync", "/async"] * 2


def test_async_tests_see_what_requests_do(isolated, app, db):
    async def test():
        client = app.async_test_client()
        async with app.app_context():
            db.session.add(Beer(name="Alt"))
            await db.session.commit()
        await asyncio.gather(*(client.get(path) for path in ("/sync", "/async", "/stream", "/core", "/read") * 3))
        assert (await client.post("/async", json="Kölsch")).status_code == 200
        assert (await client.post("/sync", json="Pils")).status_code == 200
        async with app.app_context():
            assert list(await db.session.scalars(select(Beer.name).order_by(Beer.name))) == ["Alt", "Kölsch", "Pils"]

    for _ in range(2):
        with isolated(app):
            asyncio.run(test())


def test_a_session_that_has_only_read_takes_nothing_back(isolated, app, db):
    with isolated(app), new_session(app, db) as session:
        assert names(session) == []
        app.test_client().post("/sync", json="Pils")
        session.rollback()
        assert app.test_client().get("/async").json == ["Pils"]


def test_failures_and_savepoints_are_the_transactions_own(isolated, app, db):
    with isolated(app), new_session(app, db) as session:
        session.add(Beer(name="Pils"))
        session.commit()
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT nonsense"))
        session.rollback()
        assert names(session) == ["Pils"]
        session.add(Beer(name="Helles"))
        session.flush()
        with pytest.raises(DBAPIError), session.begin_nested():
            session.add(Beer(name="Pils"))
            session.flush()
        session.commit()
        with session.begin_nested() as savepoint, new_session(app, db) as other:
            if isolated.__name__ == "rolled_back":
                # On one connection, even two with the same number.
                with other.begin_nested():
                    other.add(Beer(name="Alt"))
                other.rollback()
            session.add(Beer(name="Bock"))
            savepoint.rollback()
        session.rollback()
        assert names(session) == ["Helles", "Pils"]


def test_requests_at_the_same_time(isolated, app):
    with isolated(app), ThreadPoolExecutor(4) as pool:
        wanted = [f"{number:02}" for number in range(12)]

        def brew(name):
            # SQLite has its writers wait, the others would not.
            return app.test_client(protocol="asgi").post("/sync" if int(name) % 2 else "/async", json=name).status_code

        assert set(pool.map(brew, wanted)) == {200}
        assert app.test_client().get("/sync").json == wanted


def test_transactions_that_end_in_another_order(run, app, db):
    with run.rolled_back(app):
        with new_session(app, db) as first, new_session(app, db) as second:
            for session, name in (first, "Alt"), (second, "Bock"):
                session.add(Beer(name=name))
                session.flush()
            first.commit()
            second.commit()
            assert names(first) == ["Alt", "Bock"]
            for session, name in (first, "Pils"), (second, "Sour"):
                session.add(Beer(name=name))
                session.flush()
            first.rollback()
            with pytest.raises(RuntimeError, match="use db_clean"):
                second.commit()
        assert app.test_client().get("/sync").json == ["Alt", "Bock"]


def test_savepoints_of_its_own_are_not_counted(run, app):
    with run.rolled_back(app), assert_queries(4):
        # A transaction of two statements, and two reads.
        app.test_client().post("/async", json="Pils")
        app.test_client().get("/async")
        app.test_client().get("/sync")


def test_nobody_is_warned_of_a_query_that_holds_up_the_loop(run, app, protocol):
    app.debug = True
    with run.rolled_back(app):
        assert app.test_client(protocol=protocol).get("/async").json == []


def test_autocommit(isolated, app, db):
    with isolated(app), new_session(app, db) as session:
        with app.app_context(), db.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(Beer.__table__.insert().values(name="Pils"))
        assert names(session) == ["Pils"]


def test_tables_can_be_made_where_that_does_not_commit(isolated, app, db, kind):
    extra = Table("extra", MetaData(), Column("id", Integer))
    with isolated(app), app.app_context():
        if kind == "mariadb" and isolated.__name__ == "rolled_back":
            with pytest.raises(RuntimeError, match="mariadb commits"):
                extra.create(db.engine)
        else:
            extra.create(db.engine)
            extra.drop(db.engine)


def test_rows_that_refer_to_each_other_are_deleted(run, app, db):
    with run.emptied(app), new_session(app, db) as session:
        session.add(Brewer(id=1))
        session.flush()
        session.add(Beer(id=1, name="Alt", brewer_id=1))
        session.flush()
        session.get(Brewer, 1).flagship_id = 1
        session.commit()
    with run.emptied(app), new_session(app, db) as session:
        assert names(session) == []


def test_the_databases_of_the_application_are_not_touched(isolated, app, db):
    with isolated(app):
        app.test_client().post("/sync", json="Pils")
    with app.app_context():
        assert inspect(db.engine).get_table_names() == []


def test_the_database_of_a_session_that_outlives_the_test_is_refused(run, app, db):
    with run.rolled_back(app):
        session = new_session(app, db)
        session.add(Beer(name="Pils"))
        session.flush()
    session.rollback()
    with pytest.raises(RuntimeError, match="The test is over"):
        session.scalar(select(1))


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
def test_a_connection_that_is_lost_is_lost_for_one_test(run, app, db, kind):
    end = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mariadb": "KILL CONNECTION_ID()"}[kind]
    with run.rolled_back(app), pytest.raises((DBAPIError, pymysql.Error)), new_session(app, db) as session:
        session.execute(text(end))
    with run.rolled_back(app):
        assert app.test_client().get("/sync").json == []


def test_applications_with_settings_of_their_own(make_app, db, run, url):
    for seconds in None, 10, 20:
        app = make_app(DATABASE_BINDS={"log": url}, DATABASE_STATEMENT_TIMEOUT=seconds)
        with run.rolled_back(app), new_session(app, db) as session:
            session.add(Beer(name="Alt"))
            session.commit()
            assert names(session) == ["Alt"]


def test_an_application_can_start_and_stop_in_it(isolated, app, protocol):
    with isolated(app):
        client = app.test_client(protocol=protocol)
        with client.lifespan():
            client.post("/async", json="Pils")
        assert client.get("/sync").json == ["Pils"]


def test_databases_are_dropped_in_the_end(kind, app, db, url, tmp_path):
    run = TestRun(tmp_path, suffix="_gw0", create_tables=lambda database: database.create_all())
    with run.rolled_back(app) as database:
        assert database is db
        with app.app_context():
            own = db.engine.url
            assert own.database.endswith("_gw0") or kind == "sqlite"
    run.close()
    if kind != "sqlite":
        with pytest.raises(DBAPIError), create_engine(own).connect():
            pass


def test_where_it_cannot_be_made(kind, tmp_path, run):
    with pytest.raises(RuntimeError, match=r"has no database\. Call db\.init_app"), run.rolled_back(Carboy("x")):
        pass
