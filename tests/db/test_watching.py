import logging
import warnings

import pytest
from sqlalchemy import ForeignKey, select, text
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

from carboy.db import BlockingQuery, OneByOne, assert_queries, count_queries


@pytest.fixture
def models(db):
    class Brewer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        brewer_id: Mapped[int] = mapped_column(ForeignKey("brewer.id"))
        brewer: Mapped[Brewer] = relationship()

    return Brewer, Beer


@pytest.fixture
def kind():
    # What is watched does not depend on the database.
    return "sqlite"


@pytest.fixture
def app(make_app, db, models):
    Brewer, Beer = models
    app = make_app(DATABASE_SLOW_QUERY=None)
    with app.app_context():
        db.create_all()
        db.session.add_all([Beer(brewer=Brewer(name=str(n))) for n in range(6)])
        db.session.commit()
    return app


def test_statements_are_counted_in_requests_too(app, db, models, protocol):
    @app.get("/")
    async def view():
        await db.session.execute(text("SELECT 1"))
        return "ok"

    with assert_queries(3) as statements:
        app.test_client(protocol=protocol).get("/")
        with app.app_context():
            db.session.execute(text("SELECT 2"))
            db.session.execute(text("SELECT 3"))
    assert statements == ["SELECT 1", "SELECT 2", "SELECT 3"]
    with pytest.raises(AssertionError, match=r"1 statements were sent, not 0:\n1\. SELECT 4"), assert_queries(0):
        with app.app_context(), count_queries():
            db.session.execute(text("SELECT 4"))


@pytest.mark.parametrize("debug", [True, False])
def test_rows_that_are_loaded_one_by_one_are_told_once(app, db, models, protocol, debug):
    _, Beer = models
    app.debug = debug

    @app.get("/<how>")
    def names(how):
        statement = select(Beer).options(selectinload(Beer.brewer)) if how == "together" else select(Beer)
        return [beer.brewer.name for beer in db.session.scalars(statement).all()]

    client = app.test_client(protocol=protocol)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(client.get("/together").json) == 6
        assert not caught
        client.get("/alone")
    assert [warning.category for warning in caught] == [OneByOne] * debug
    if debug:
        assert f"Beer.brewer has been loaded 5 times in this request, one by one, at {__file__}:" in str(
            caught[0].message
        )


def test_a_sync_query_on_the_loop_is_told_with_its_place(app, db, protocol):
    app.debug = True

    @app.get("/")
    async def view():
        with db.new_session() as session:
            session.execute(text("SELECT 1"))
        await db.session.execute(text("SELECT 2"))
        return "ok"

    with pytest.warns(BlockingQuery) as caught:
        app.test_client(protocol=protocol).get("/")
    (warning,) = caught
    assert f"at {__file__}:" in str(warning.message) and "SELECT 1" in str(warning.message)


def test_slow_statements_are_logged_with_view_and_place(make_app, db, protocol, caplog):
    app = make_app(DATABASE_SLOW_QUERY=0)

    @app.get("/")
    async def view():
        await db.session.execute(text("SELECT 42"))
        return "ok"

    with caplog.at_level(logging.WARNING):
        app.test_client(protocol=protocol).get("/")
    (message,) = [record.message for record in caplog.records if "SELECT 42" in record.message]
    assert f"s, for 'view' at {__file__}:" in message


def test_uncommitted_changes_are_told(app, db, models, protocol):
    Brewer, _ = models
    app.debug = True

    @app.post("/")
    def view():
        db.session.add(Brewer(name="lost"))
        return "ok"

    with pytest.warns(UserWarning, match=r"not committed are lost: <Brewer \(pending"):
        app.test_client(protocol=protocol).post("/")
