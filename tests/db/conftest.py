"""Every test here runs on SQLite, and on PostgreSQL and MariaDB where they answer."""

import os
import socket
import uuid

import pytest
from sqlalchemy import create_engine, make_url, text

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


@pytest.fixture
def url(kind, tmp_path):
    """The URL of a new, empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.sqlite'}"
        return
    server = _require(kind)
    name = f"carboy_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server.set(drivername=DRIVERS[kind]), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE {name}{force}"))
    engine.dispose()


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
