"""Every test here runs on SQLite, and on PostgreSQL and MariaDB where they answer."""

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
        with app.app_context():
            app.async_to_sync(db.engines.dispose_async)()
            db.engines.dispose()
