import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, NullPool, create_engine, inspect, make_url, select, text
from sqlalchemy.orm import Mapped, mapped_column

from carboy import Carboy
from carboy.db import Database
from carboy.db.migrations import MigrationError

SERVER = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}


def first(db):
    """The models as they were."""

    class Brewery(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None]
        brewery_id: Mapped[int] = mapped_column(ForeignKey("brewery.id", ondelete="CASCADE"))

    return Brewery, Beer


def second(db):
    """The models as they became: the table that others refer to has to be made anew on SQLite."""

    class Brewery(db.Model):
        __table_args__ = (CheckConstraint("founded > 1000", name="founded"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(unique=True)
        founded: Mapped[int | None]

    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str | None]
        brewery_id: Mapped[int] = mapped_column(ForeignKey("brewery.id", ondelete="CASCADE"))

    return Brewery, Beer


@pytest.fixture
def project(url, tmp_path):
    """Makes the application with some models: what a deployment would."""
    opened = []

    def make(models, **config):
        db = Database()
        app = Carboy("shop", root_path=str(tmp_path), instance_path=str(tmp_path))
        app.config.update({"TESTING": True, "DATABASE_URL": url} | config)
        db.init_app(app)
        app.models = models(db)
        context = app.app_context()
        context.push()
        opened.append((context, db))
        return app, db

    yield make
    for context, db in reversed(opened):
        db.session.close()
        context.app.async_to_sync(db.engines.dispose_async)()
        db.engines.dispose()
        context.pop()


@pytest.fixture
def migrated(project):
    """A project with two migrations, of which none was run."""
    _, db = project(first)
    db.migrations.revision("first tables")
    db.migrations.upgrade()
    _, db = project(second)
    db.migrations.revision("more of breweries")
    db.migrations.downgrade("base")
    return project(second)


@pytest.fixture
def tables(url):
    """Tells which tables and columns there are."""
    engine = create_engine(make_url(url).set(drivername=SERVER[url.partition(":")[0]]), poolclass=NullPool)

    def tables():
        look = inspect(engine)
        found = {name: sorted(column["name"] for column in look.get_columns(name)) for name in look.get_table_names()}
        found.pop("alembic_version", None)
        return found

    return tables


FIRST = {"brewery": ["id", "name"], "beer": ["brewery_id", "id", "name"]}
SECOND = {"brewery": ["founded", "id", "name"], "beer": ["brewery_id", "id", "title"]}


def test_up_and_down_from_an_empty_database(migrated, tables):
    _, db = migrated
    older, newer = [script.revision for script in reversed(db.migrations.history())]
    assert db.migrations.upgrade("+1") == [older] and tables() == FIRST
    assert db.migrations.pending() == [newer]
    assert db.migrations.upgrade() == [newer] and tables() == SECOND
    assert db.migrations.upgrade() == [] and db.migrations.current() == [newer]
    assert db.migrations.differences() == []
    assert db.migrations.downgrade() == [newer] and tables() == FIRST
    assert db.migrations.downgrade("base") == [older] and tables() == {}


def test_up_and_down_with_rows(migrated, project, url):
    _, db = migrated
    db.migrations.upgrade("+1")
    app, old = project(first)
    Brewery, Beer = app.models
    with old.transaction() as session:
        session.add(Brewery(id=1, name="Abbey"))
        session.flush()
        session.add_all([Beer(name=name, brewery_id=1) for name in ("Blonde", "Brune")])
    app, db = project(second)
    Brewery, Beer = app.models
    db.migrations.upgrade()
    assert db.session.get(Brewery, 1).name == "Abbey"
    # Making a table anew has deleted nothing that refers to it.
    assert len(db.session.scalars(select(Beer).where(Beer.brewery_id == 1)).all()) == 2
    db.session.rollback()
    db.migrations.downgrade()
    app, old = project(first)
    Brewery, Beer = app.models
    assert len(old.session.scalars(select(Beer).join(Brewery)).all()) == 2


def test_several_processes_run_each_migration_once(migrated, tables, url, tmp_path):
    _, db = migrated
    with Path(db.migrations.history()[-1].path).open("a") as file:
        file.write("\n_upgrade = upgrade\n\n\ndef upgrade():\n    import time\n\n    time.sleep(0.3)\n    _upgrade()\n")
    (tmp_path / "wsgi.py").write_text(
        "from carboy import Carboy\nfrom carboy.db import Database\n"
        f"app = Carboy('shop', root_path={str(tmp_path)!r}, instance_path={str(tmp_path)!r})\n"
        f"app.config['DATABASE_URL'] = {url!r}\nDatabase(app)\n"
    )
    command = [sys.executable, "-m", "carboy", "db", "upgrade"]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, said
    ran = [line.split()[1] for text in said for line in text.splitlines() if line.startswith("ran")]
    assert ran == [script.revision for script in reversed(db.migrations.history())]
    assert tables() == SECOND


def test_what_fails_says_where_and_leaves_nothing(migrated, tables, kind):
    _, db = migrated
    path = Path(db.migrations.history()[0].path)
    path.write_text(path.read_text().replace("def downgrade", "    op.execute('SELECT nonsense')\n\n\ndef downgrade"))
    with pytest.raises(MigrationError) as caught:
        db.migrations.upgrade()
    assert f"{path}:" in str(caught.value) and "nonsense" in str(caught.value)
    if kind == "mariadb":
        assert "may be done in part" in str(caught.value)
    else:
        assert tables() == {} and db.migrations.current() == []


def test_rows_that_would_refer_to_nothing_stop_a_migration(project, kind, tmp_path):
    if kind != "sqlite":
        return  # Others check foreign keys while they migrate.
    app, db = project(first)
    Brewery, Beer = app.models
    db.migrations.revision("first tables")
    db.migrations.upgrade()
    with db.transaction() as session:
        session.add(Brewery(id=1, name="Abbey"))
        session.flush()
        session.add(Beer(name="Blonde", brewery_id=1))
    path, _ = db.migrations.revision("lose the breweries", empty=True)
    path.write_text(path.read_text().replace("    pass", "    op.execute('DELETE FROM brewery')", 1))
    with pytest.raises(MigrationError, match=r"row 1 of beer \(to brewery\)"):
        db.migrations.upgrade()
    assert db.session.get(Brewery, 1) is not None


def test_offline_sql_makes_the_same_tables(migrated, tables, url, kind):
    _, db = migrated
    older = db.migrations.history()[-1].revision
    if kind == "sqlite":
        with pytest.raises(MigrationError, match="run 'carboy db upgrade'"):
            db.migrations.sql()
    sql = db.migrations.sql(older if kind == "sqlite" else "heads")
    engine = create_engine(make_url(url).set(drivername=SERVER[kind]), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        for statement in sql.split(";"):
            lines = [line for line in statement.splitlines() if not line.startswith("--")]
            if "".join(lines).strip():
                connection.exec_driver_sql("\n".join(lines))
    assert tables() == (FIRST if kind == "sqlite" else SECOND)
    assert len(db.migrations.current()) == 1


def test_an_empty_revision_is_refused_unless_asked_for(migrated, tmp_path):
    _, db = migrated
    with pytest.raises(MigrationError, match="has not been run"):
        db.migrations.revision("too early")
    db.migrations.upgrade()
    with pytest.raises(MigrationError, match="there is nothing to migrate"):
        db.migrations.revision("nothing")
    assert len(list((tmp_path / "migrations").glob("*.py"))) == 2
    path, _ = db.migrations.revision("fill in the years", empty=True)
    path.write_text(path.read_text().replace("    pass", "    op.execute('UPDATE brewery SET founded = 1900')", 1))
    db.session.execute(text("INSERT INTO brewery (id, name) VALUES (1, 'Abbey')"))
    db.session.commit()
    db.migrations.upgrade()
    assert db.session.execute(text("SELECT founded FROM brewery")).scalar() == 1900


def test_what_loses_data_is_told(migrated, project):
    _, db = migrated
    db.migrations.upgrade()

    def third(db):
        class Brewery(db.Model):
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = mapped_column(unique=True)

    _, db = project(third)
    _, losses = db.migrations.revision("less")
    assert sorted(losses) == ["drops the column brewery.founded", "drops the table beer"]


def test_several_last_revisions_are_explained_and_tied(migrated):
    app, db = migrated
    db.migrations.upgrade()
    one, _ = db.migrations.revision("one", empty=True)
    text = one.read_text()
    one.unlink()
    other, _ = db.migrations.revision("other", empty=True)
    one.write_text(text)
    with pytest.raises(MigrationError) as caught:
        db.migrations.revision("more", empty=True)
    assert one.name in str(caught.value) and other.name in str(caught.value)
    assert "carboy db merge" in str(caught.value)
    result = app.test_cli_runner().invoke(args=["db", "check"])
    assert result.exit_code == 1 and "carboy db merge" in result.output
    db.migrations.merge()
    assert len(db.migrations.heads()) == 1
    assert len(db.migrations.upgrade()) == 3


def test_each_bind_has_its_own(project, tables, tmp_path):
    def models(db):
        class Beer(db.Model):
            id: Mapped[int] = mapped_column(primary_key=True)

        class Entry(db.Model):
            __bind_key__ = "log"
            id: Mapped[int] = mapped_column(primary_key=True)

        return Beer, Entry

    app, db = project(models, DATABASE_BINDS={"log": f"sqlite:///{tmp_path / 'log.sqlite'}"})
    run = app.test_cli_runner().invoke
    assert run(args=["db", "revision", "-m", "beers"]).exit_code == 0
    assert run(args=["db", "revision", "-m", "entries", "--bind", "log"]).exit_code == 0
    result = run(args=["db", "upgrade"])
    assert result.exit_code == 0 and "main: ran" in result.output and "log: ran" in result.output
    assert tables() == {"beer": ["id"]}
    assert inspect(db.engines.sync("log")).get_table_names() == ["alembic_version", "entry"]
    assert run(args=["db", "check"]).exit_code == 0
    assert "no bind 'nix'" in run(args=["db", "upgrade", "--bind", "nix"]).output


def test_tables_that_were_there_before(project, tables):
    _, db = project(first)
    db.create_all()
    db.session.execute(text("CREATE TABLE carboy_something (id INTEGER)"))
    db.session.commit()
    assert db.migrations.differences() == []
    path, _ = db.migrations.revision("first tables", empty=True)
    db.migrations.stamp()
    assert db.migrations.pending() == [] and db.migrations.current() == db.migrations.heads()
    assert path.exists()


def test_seed_and_reset(migrated, tables):
    app, db = migrated
    Brewery, _ = app.models
    run = app.test_cli_runner().invoke

    @db.seed
    def abbeys():
        db.session.add(Brewery(name="Abbey"))

    @db.seed
    async def others():
        db.session.add(Brewery(name="Pub"))

    assert "Run first: carboy db upgrade" in run(args=["db", "seed"]).output
    db.migrations.upgrade()
    assert run(args=["db", "seed"]).output == "Called: abbeys, others\n"
    assert run(args=["db", "seed"]).exit_code == 1  # The names are taken: nothing was added twice.
    db.session.execute(text("CREATE TABLE left_over (id INTEGER)"))
    db.session.commit()
    app.testing = False
    assert "deletes all data" in run(args=["db", "reset", "--yes"]).output
    app.testing = True
    assert run(args=["db", "reset"], input="n\n").exit_code == 1
    db.session.rollback()
    assert run(args=["db", "reset", "--yes"]).exit_code == 0
    assert tables() == SECOND
    assert sorted(db.session.scalars(select(Brewery.name))) == ["Abbey", "Pub"]


def test_in_async_code_it_says_so(migrated):
    app, db = migrated

    @app.get("/")
    async def view():
        db.migrations.upgrade()

    app.testing = True
    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
        app.test_client().get("/")


def test_the_commands_as_a_newcomer_types_them(tmp_path, kind):
    if kind != "sqlite":
        return  # What they do on other databases is above; this is about how they are called.
    (tmp_path / "app.py").write_text(
        """
from sqlalchemy.orm import Mapped, mapped_column

from carboy import Carboy
from carboy.db import Database

app = Carboy(__name__)
db = Database(app)


class Beer(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
"""
    )

    def carboy(*args, code=0):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLASK_")}
        result = subprocess.run(
            [sys.executable, "-m", "carboy", "db", *args],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout + result.stderr

    assert "is ready" in carboy("init")
    assert "Written" in carboy("revision", "--autogenerate", "-m", "beers")
    assert "ran" in carboy("upgrade")
    assert "There is no revision 'nix'" in carboy("upgrade", "nix", code=1)


def test_what_the_commands_say(migrated):
    app, _ = migrated

    def carboy(*args, code=0):
        result = app.test_cli_runner().invoke(args=["db", *args])
        assert result.exit_code == code, result.output
        return result.output

    assert "not run yet" in carboy("check", code=1)
    assert carboy("upgrade").count("ran") == 2
    assert "agree" in carboy("check")
    assert "(the last)" in carboy("current")
    assert carboy("history").startswith("* ")
    assert "took back" in carboy("downgrade", "--yes")
    assert carboy("history").startswith("  ")
    assert "CREATE TABLE beer" in carboy("upgrade", "+1", "--sql")
    assert "is taken to be at" in carboy("stamp")
