import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from carboy import Carboy
from carboy.db import Database, DatabaseURLError, Identified, Model, Timestamps, uuid7


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://ada:s3cret@@host:port/shop", "is not a URL"),
        ("oracle://ada:s3cret@host/shop", "begins with 'oracle'"),
        ("postgresql+asyncpg://ada:s3cret@host/shop", "carboy.db uses postgresql"),
        ("postgresql://ada:s3cret@host", "names no database"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_password(tmp_path, url, message):
    app = Carboy("shop", instance_path=str(tmp_path))
    app.config["DATABASE_URL"] = url
    with pytest.raises(DatabaseURLError, match=f"DATABASE_URL.*{message}") as caught:
        Database(app)
    error = caught.value
    assert (
        "s3cret" not in f"{error!r} {error.__cause__!r} {error.__context__ if not error.__suppress_context__ else ''}"
    )


def test_many_processes_can_open_a_new_file_at_once(tmp_path):
    barrier = Barrier(5)

    def open_it(path):
        # Applications of their own, as in processes of their own.
        db = Database()
        app = Carboy("shop", instance_path=str(path))
        db.init_app(app)
        with app.app_context():
            barrier.wait(5)
            with db.engine.connect():
                pass
            db.engines.dispose()

    with ThreadPoolExecutor(5) as pool:
        for number in range(10):
            list(pool.map(open_it, [tmp_path / str(number)] * 5))


def test_the_default_is_a_file_in_the_instance_folder(tmp_path):
    app = Carboy("shop", instance_path=str(tmp_path / "instance"))
    db = Database(app)
    with app.app_context():
        assert db.session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert db.session.scalar(text("PRAGMA foreign_keys")) == 1
        db.engines.dispose()
    assert (tmp_path / "instance" / "app.sqlite").is_file()


def test_a_database_in_memory_is_the_same_for_all_connections(tmp_path):
    app = Carboy("shop", instance_path=str(tmp_path))
    app.config["DATABASE_URL"] = "sqlite:///:memory:"
    db = Database(app)

    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
    with app.app_context(), db.new_session() as other:
        db.session.add(Beer())
        db.session.commit()
        assert other.get(Beer, 1) is not None
        db.engines.dispose()


def test_models_name_their_tables_and_constraints(tmp_path):
    class Base(Model, DeclarativeBase):
        pass

    class HTTPLogEntry(Identified, Timestamps, Base):
        path: Mapped[str] = mapped_column(String(100), unique=True)

    class Special(HTTPLogEntry):
        pass

    class Named(Base):
        __tablename__ = "given"
        id: Mapped[int] = mapped_column(primary_key=True)

    assert HTTPLogEntry.__table__.name == "http_log_entry"
    assert Special.__table__ is HTTPLogEntry.__table__
    assert Named.__table__.name == "given"
    assert {constraint.name for constraint in HTTPLogEntry.__table__.constraints} == {
        "pk_http_log_entry",
        "uq_http_log_entry_path",
    }
    assert Database(model=Base).metadata is Base.metadata
    assert repr(Named(id=1)).startswith("<Named (transient")


def test_uuids_sort_by_time():
    made = [uuid7() for _ in range(3)]
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 3
    assert abs((made[0].int >> 80) / 1000 - __import__("time").time()) < 5


def test_rows_go_to_the_database_of_their_model(make_app, tmp_path, db, protocol):
    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)

    class Visit(db.Model):
        __bind_key__ = "log"
        id: Mapped[int] = mapped_column(primary_key=True)

    app = make_app(DATABASE_BINDS={"log": f"sqlite:///{tmp_path / 'log.sqlite'}"})
    with app.app_context():
        db.create_all()

    @app.post("/sync")
    def sync():
        db.session.add_all([Beer(), Visit()])
        db.session.commit()
        return "ok"

    @app.post("/async")
    async def asynchronous():
        db.session.add_all([Beer(), Visit()])
        await db.session.commit()
        return "ok"

    client = app.test_client(protocol=protocol)
    assert [client.post(path).text for path in ("/sync", "/async")] == ["ok", "ok"]
    with app.app_context():
        with db.engines.sync("log").connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM visit")) == 2
        with pytest.raises(KeyError, match="DATABASE_BINDS has 'log'"):
            db.engines.sync("logs")


def test_a_forked_child_has_connections_of_its_own(make_app, db):
    app = make_app()
    with app.app_context():
        db.session.execute(text("SELECT 1"))
        engine = db.engine
    read, write = os.pipe()
    if not os.fork():
        with app.app_context():
            db.session.execute(text("SELECT 1"))
            os.write(write, str(db.engine is not engine).encode())
        os._exit(0)
    os.wait()
    assert os.read(read, 10) == b"True"
    with app.app_context():
        assert db.session.scalar(text("SELECT 2")) == 2


def test_without_sqlalchemy_the_extra_is_named():
    code = "import sys; sys.modules['sqlalchemy'] = None\nimport carboy.db"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "carboy[db]"' in done.stderr
    untouched = subprocess.run(
        [sys.executable, "-c", "import carboy, sys; print('sqlalchemy' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert untouched.stdout == "False\n"
