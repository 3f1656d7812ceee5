"""What all tests share: an application, a client on each protocol, databases, the search for contexts left behind."""

import os
import socket
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import MetaData, NullPool, create_engine, make_url, text

import carboy
from carboy.context import _cv_app, _cv_request


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def protocol(request):
    """Runs a test once on each protocol."""
    return request.param


@pytest.fixture
def app():
    """A new application, in testing mode, with a secret key."""
    app = carboy.Flask("carboy_test", root_path=str(Path(__file__).parent))
    app.config.update(TESTING=True, SECRET_KEY="test key")
    return app


@pytest.fixture
def client(app, protocol):
    """A client of `app` on each protocol, which fails where the application breaks the protocol's rules."""
    return app.test_client(protocol=protocol, lint=True)


@pytest.fixture(autouse=True)
def leak_detector():
    """No test leaves a context active."""
    yield
    left = []
    for variable in (_cv_request, _cv_app):
        while (context := variable.get(None)) is not None:
            left.append(context)
            context.pop()
    assert left == []


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
