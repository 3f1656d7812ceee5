"""Fixtures for tests of an application with a database.

pytest loads this module wherever carboy is installed, for whatever it tests. So it stands beside the package, imports
nothing of it before a fixture is used, and its fixtures have names that neither conftest files nor other plugins use
for something else.
"""

from __future__ import annotations

import os
import typing as t

import pytest

if t.TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from carboy import Carboy
    from carboy.db import Database
    from carboy.db.testing import TestRun


@pytest.fixture(scope="session")
def db_create_tables() -> t.Callable[[Database], t.Any]:
    """What makes the tables of an empty test database, given the Database: `create_all`, unless you override it."""
    return lambda database: database.create_all()


@pytest.fixture(scope="session")
def _db_run(
    tmp_path_factory: pytest.TempPathFactory, db_create_tables: t.Callable[[Database], t.Any]
) -> t.Iterator[TestRun]:
    from carboy.db.testing import TestRun

    # Processes of pytest-xdist have databases of their own.
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    run = TestRun(tmp_path_factory.mktemp("db"), suffix=f"_{worker}" if worker else "", create_tables=db_create_tables)
    yield run
    run.close()


@pytest.fixture
def db_rollback(request: pytest.FixtureRequest, app: Carboy, _db_run: TestRun) -> t.Iterator[Database]:
    """The Database of `app`; what the test and its requests do there is rolled back, commits included.

    In a test that uses `db_clean`, too, it is that.
    """
    if "db_clean" in request.fixturenames:
        yield request.getfixturevalue("db_clean")
        return
    with _db_run.rolled_back(app) as database:
        yield database


@pytest.fixture
def db_clean(app: Carboy, _db_run: TestRun) -> t.Iterator[Database]:
    """The Database of `app`, with real commits and several connections; all rows are deleted after the test."""
    with _db_run.emptied(app) as database:
        yield database


@pytest.fixture
def db_session(app: Carboy, db_rollback: Database) -> t.Iterator[Session]:
    """A session in the test database, apart from those of requests: to prepare rows, and to look at them."""
    with app.app_context():
        session = db_rollback.new_session()
    with session:
        yield session
