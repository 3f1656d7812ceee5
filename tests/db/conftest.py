"""Every test here runs on SQLite, and on PostgreSQL and MariaDB where they answer."""

import os
import socket
import uuid
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import MetaData, NullPool, create_engine, make_url, text

from carboy import Carboy
from carboy.db import Database

# Of the two servers: a URL with a database that may create others. CI has both.
SERVERS = {
    "postgresql": os.environ.get("CARBOY_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1/postgres"),
    "mariadb": os.environ.get("CARBOY_TEST_MARIADB", "mariadb://root@127.0.0.1/test"),
}
PORTS = {"postgresql": 5432, "mariadb": 3306}
DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}


def _require(kind):
    url = make_url(SERVERS[kind])
    try:
        socket.create_connection((url.host, url.port or PORTS[kind]), 2).close()
    except OSError as e:
        message = f"{kind} does not answer at {url.host}:{url.port or PORTS[kind]} ({e}): its tests are not run"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    return url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def databases():
    """Gives the URL of a database on a server, made for this run of the tests."""
    made = {}
    with ExitStack() as stack:

        def get(kind):
            if kind not in made:
                made[kind] = stack.enter_context(_database(kind))
            return made[kind]

        yield get


@contextmanager
def _database(kind):
    server = _require(kind)
    name = f"carboy_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server.set(drivername=DRIVERS[kind]), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(database=name)
    with engine.connect() as connection:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        connection.execute(text(f"DROP DATABASE {name}{force}"))


@pytest.fixture
def url(kind, tmp_path, databases):
    """The URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.sqlite'}"
        return
    database = databases(kind)
    yield database.render_as_string(hide_password=False)
    engine = create_engine(database.set(drivername=DRIVERS[kind]), poolclass=NullPool)
    metadata = MetaData()
    metadata.reflect(engine)
    metadata.drop_all(engine)


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def protocol(request):
    return request.param


@pytest.fixture
def db():
    return Database()


@pytest.fixture
def make_app(url, tmp_path, db):
    """Makes an application with the database; what it has opened is closed in the end."""
    apps = []

    def make(**config):
        app = Carboy("shop", instance_path=str(tmp_path))
        app.config.update({"TESTING": True, "DATABASE_URL": url} | config)
        db.init_app(app)
        apps.append(app)
        return app

    yield make
    for app in apps:
        # Loggers are known by name, to later tests as well.
        app.logger.disabled = False
        with app.app_context():
            app.async_to_sync(db.engines.dispose_async)()
            db.engines.dispose()
