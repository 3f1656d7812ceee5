"""Every test here runs on each engine: those that need a server where it answers."""

import asyncio
import os
import socket
import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from carboy import Carboy
from carboy.jobs import Jobs, Worker

# Of each server: a URL at which the tests may do what they like. CI has all of them.
SERVERS = {
    "postgresql": os.environ.get("CARBOY_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("CARBOY_TEST_MARIADB", "mariadb://root@127.0.0.1:3306/test"),
}
DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}
ENGINES = ["memory", "sqlite", *SERVERS]


def require(kind):
    url = SERVERS[kind]
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port), 2).close()
    except OSError as e:
        message = f"{kind} does not answer at {address.hostname}:{address.port} ({e}): its tests are not run"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    return url


@pytest.fixture(params=ENGINES)
def kind(request):
    """Which engine."""
    return request.param


@pytest.fixture
def jobs_url(kind, tmp_path):
    """Where an engine without jobs is."""
    if kind in ("memory", "sqlite"):
        yield "memory://" if kind == "memory" else f"sqlite:///{tmp_path / 'jobs.sqlite'}"
        return
    url = make_url(require(kind))
    name = f"carboy_{uuid.uuid4().hex[:12]}"
    engine = create_engine(url.set(drivername=DRIVERS[kind]), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}{' WITH (FORCE)' if kind == 'postgresql' else ''}"))


@pytest.fixture
def jobs():
    return Jobs()


@pytest.fixture
def app(jobs, jobs_url, tmp_path):
    app = Carboy("brewery", instance_path=str(tmp_path))
    app.config.update(TESTING=True, JOBS_URL=jobs_url, JOBS_LEASE=1)
    jobs.init_app(app)
    yield app
    with app.app_context():
        app.async_to_sync(app.extensions["carboy.jobs"].close)()


@pytest.fixture
def run(app, jobs):
    """Runs a coroutine function inside the application, on a loop of its own."""

    def run(func, *args):
        async def work():
            async with app.app_context():
                try:
                    return await asyncio.wait_for(func(*args), 30)
                finally:
                    await jobs.of_app.close()

        return asyncio.run(work())

    return run


@pytest.fixture
def working(jobs):
    """A worker that works while the block runs."""

    @asynccontextmanager
    async def working(**options):
        worker = Worker(jobs.of_app, **options)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    return working
