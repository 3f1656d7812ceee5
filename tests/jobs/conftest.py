"""Every test here runs on each engine: those that need a server where it answers."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from carboy import Carboy
from carboy.jobs import Jobs, Worker

# `make test` tries the engines that need no server; `make test-jobs` all of them.
ENGINES = ["memory", "sqlite", *os.environ.get("CARBOY_JOBS_SERVERS", "").split()]


@pytest.fixture(params=ENGINES)
def kind(request):
    """Which engine."""
    return request.param


@pytest.fixture
def jobs_url(request, kind):
    """Where an engine without jobs is."""
    return "memory://" if kind == "memory" else request.getfixturevalue("url")


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
