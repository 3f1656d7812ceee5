"""The fixtures, in small suites that pytest runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

SHOP = """
from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column
from carboy import Carboy, request
from carboy.db import Database

db = Database()

class Beer(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]

def create_app(**config):
    app = Carboy("shop", instance_path="{folder}")
    app.config.update(TESTING=True, DATABASE_URL="{url}")
    db.init_app(app)

    @app.get("/")
    def names():
        return list(db.session.scalars(select(Beer.name)))

    @app.post("/<name>")
    async def brew(name):
        db.session.add(Beer(name=name))
        await db.session.commit()
        return {{}}

    return app
"""

CONFTEST = """
import pytest
from shop import create_app

@pytest.fixture
def app():
    return create_app()

@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def client(app, request):
    return app.test_client(protocol=request.param)
"""


@pytest.fixture
def suite(pytester, tmp_path):
    """Runs tests of the shop, with its database at a URL; returns how many there were of each outcome."""

    def run(tests, *, url="sqlite:///", conftest="", options=()):
        pytester.makeconftest(CONFTEST + conftest)
        pytester.makepyfile(shop=SHOP.format(url=url, folder=tmp_path), test_shop=tests)
        return pytester.runpytest_inprocess("-W", "error", *options).parseoutcomes()

    return run


@pytest.mark.parametrize("fixture", ["db_rollback", "db_clean"])
def test_each_test_has_the_database_for_itself(suite, url, fixture):
    outcomes = suite(
        f"""
        import pytest
        from shop import Beer, db

        pytestmark = pytest.mark.usefixtures("{fixture}")

        def test_requests(client, db_session):
            assert client.get("/").json == []
            db_session.add(Beer(name="Alt"))
            db_session.commit()
            client.post("/Pils")
            assert sorted(client.get("/").json) == ["Alt", "Pils"]
            assert len(db_session.query(Beer).all()) == 2

        def test_context(app):
            with app.app_context(), db.transaction() as session:
                session.add(Beer(name="Alt"))
            assert app.test_client().get("/").json == ["Alt"]

        @pytest.mark.anyio
        async def test_async(app, {fixture}):
            client = app.async_test_client()
            async with app.app_context():
                async with {fixture}.transaction() as session:
                    session.add(Beer(name="Alt"))
            assert (await client.get("/")).json == ["Alt"]

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
        """,
        url=url,
    )
    assert outcomes == {"passed": 5}
    own = create_engine(url.replace("://", {"p": "+psycopg://", "m": "+pymysql://", "s": "://"}[url[0]], 1))
    assert inspect(own).get_table_names() == []
    own.dispose()


def test_a_test_may_ask_for_real_commits_where_all_are_rolled_back(suite):
    outcomes = suite(
        """
        import pytest

        def test_one(app, db_rollback, db_session):
            assert type(db_session.get_bind().pool).__name__ == "StaticPool"

        def test_other(app, db_clean, db_session):
            assert type(db_session.get_bind().pool).__name__ == "NullPool"
        """,
        conftest="""
@pytest.fixture(autouse=True)
def each_test_is_rolled_back(db_rollback):
    pass
""",
    )
    assert outcomes == {"passed": 2}


def test_the_suite_says_how_tables_are_made(suite):
    outcomes = suite(
        """
        from shop import Beer

        def test_rows_from_the_start(client, db_rollback):
            assert client.get("/").json == ["Alt"]
        """,
        conftest="""
@pytest.fixture(scope="session")
def db_create_tables():
    def create(db):
        from shop import Beer
        db.create_all()
        db.session.add(Beer(name="Alt"))
        db.session.commit()
    return create
""",
    )
    assert outcomes == {"passed": 3}


def test_what_the_page_shows(pytester):
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    section = page.partition("## Tests with a database")[2].partition("\n## ")[0]
    first, *others = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    def passed(tests, *options):
        pytester.makepyfile(test_page=tests)
        return pytester.runpytest_inprocess("-W", "error", *options).parseoutcomes()["passed"]

    assert passed(first) == 2
    without_first = [f"--deselect=test_page.py::{name}" for name in re.findall(r"^def (test_\w+)", first, re.MULTILINE)]
    assert [passed(first + other, *without_first) for other in others] == [1] * 4


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_processes_at_the_same_time_have_databases_of_their_own(suite, url, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw3")
    outcomes = suite(
        """
        def test_name(app, db_clean):
            with app.app_context():
                assert db_clean.engine.url.database.endswith("_gw3")
        """,
        url=url,
    )
    assert outcomes == {"passed": 1}


def test_the_plugin_loads_nothing_for_suites_of_others():
    code = "import sys, pytest, pytest_carboy; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"carboy", "sqlalchemy", "werkzeug", "flask", "jinja2"} & set(loaded)


def test_fixtures_are_listed(pytester):
    listed = pytester.runpytest_inprocess("--fixtures").stdout
    for name in "db_rollback", "db_clean", "db_session", "db_create_tables":
        listed.fnmatch_lines([f"{name}*", "    *"])
