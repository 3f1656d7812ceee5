"""Every test here runs on SQLite, and on PostgreSQL and MariaDB where they answer."""

import time

# The drivers are imported here since a test run inside a test forgets what it has imported: there would be two of each,
# with exceptions that are not each other's.
import aiomysql  # noqa: F401
import aiosqlite  # noqa: F401
import psycopg  # noqa: F401
import pymysql  # noqa: F401
import pytest

from carboy import Carboy
from carboy.db import Database


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def kind(request):
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
        checked_out(app, db)
        with app.app_context():
            app.async_to_sync(db.engines.dispose_async)()
            db.engines.dispose()


def checked_out(app, db):
    """Return how many connections stay in use: what a view has started may end a moment after its answer."""
    deadline = time.monotonic() + 2
    while (count := in_use(app, db)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return count


def in_use(app, db):
    """Return how many connections are in use, of all pools."""
    with app.app_context():
        engines = db.engines
        pools = [engine.pool for engine in list(engines._sync.values())]
        pools += [engine.pool for of_loop in list(engines._async.values()) for engine in list(of_loop.values())]
        return sum(pool.checkedout() for pool in pools if hasattr(pool, "checkedout"))


@pytest.fixture(name="checked_out")
def checked_out_fixture():
    """Tells how many connections of an application stay in use."""
    return checked_out


@pytest.fixture(name="in_use")
def in_use_fixture():
    """Tells how many connections of an application are in use just now."""
    return in_use
