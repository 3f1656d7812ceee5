"""The migrations of the example application, on each database, with nothing and with a club in it."""

import pytest
from examples.brewlog import create_app
from examples.brewlog.models import Batch, Reading, User, db
from sqlalchemy import func, inspect, select, text


@pytest.fixture
def brewlog(url, tmp_path):
    app = create_app({"TESTING": True, "DATABASE_URL": url}, tmp_path)
    with app.app_context():
        yield app
        db.session.close()
        app.async_to_sync(db.engines.dispose_async)()
        db.engines.dispose()


def tables():
    return set(inspect(db.engine).get_table_names()) - {"alembic_version"}


def test_from_nothing_up_and_down(brewlog):
    db.migrations.upgrade()
    assert tables() == {"user", "batch", "reading", "photo"}
    assert db.migrations.differences() == []
    db.migrations.downgrade("base")
    assert tables() == set()


def test_with_a_club_up_and_down(brewlog):
    db.migrations.upgrade()
    db.migrations.seed()
    batches, readings = [db.session.scalar(select(func.count()).select_from(model)) for model in (Batch, Reading)]
    db.session.rollback()
    assert batches == 11

    def counts():
        found = [db.session.scalar(text(f"SELECT count(*) FROM {name}")) for name in ("batch", "reading")]
        db.session.rollback()
        return found

    db.migrations.downgrade()
    assert "folded" not in [column["name"] for column in inspect(db.engine).get_columns("user")]
    assert counts() == [batches, readings]
    db.session.execute(
        text(f"UPDATE {db.engine.dialect.identifier_preparer.quote('user')} SET name = 'ADA' WHERE id = 1")
    )
    db.session.commit()
    db.migrations.upgrade()
    assert counts() == [batches, readings]
    assert db.session.scalars(select(User.folded).order_by(User.id)).all() == ["ada", "bo", "mira"]
    assert {batch.brewer.name for batch in db.session.scalars(select(Batch))} == {"ADA", "bo", "mira"}
