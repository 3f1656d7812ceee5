"""The databases among the health checks."""

import socket

import pytest

from carboy.health import Health


@pytest.fixture
def silent_port():
    """A port where somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def in_both_ways(app, db, timeout=2.0):
    async def check():
        async with app.app_context():
            return await db.check(timeout)

    with app.app_context():
        failing = db.check(timeout)
    assert app.async_to_sync(check)().keys() == failing.keys()
    return failing


def test_a_database_that_answers(make_app, db, url, protocol):
    app = make_app(DATABASE_REPLICAS=[url])
    Health(app)
    assert in_both_ways(app, db) == {}
    assert app.test_client(protocol=protocol).get("/readyz").status_code == 200


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
def test_one_that_is_not_there_is_told_without_its_password(make_app, db, url, kind, protocol):
    app = make_app(
        DATABASE_BINDS={"gone": f"{kind}://user:s3cret@127.0.0.1:9/none"}, DATABASE_REPLICAS=[f"{url}_missing"]
    )
    app.logger.disabled = True
    Health(app)
    failing = in_both_ways(app, db)
    assert failing.keys() == {"database 'gone'", "database replica 0"}
    assert "s3cret" not in str(failing)
    answer = app.test_client(protocol=protocol).get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"status": "unavailable"})


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
def test_one_that_says_nothing_is_not_waited_for(make_app, db, kind, silent_port):
    app = make_app(DATABASE_BINDS={"silent": f"{kind}://user@127.0.0.1:{silent_port}/x"}, DATABASE_CONNECT_TIMEOUT=2)
    app.logger.disabled = True
    assert in_both_ways(app, db, 0.2) == {"database 'silent'": "no answer within 0.2 seconds"}


def test_no_connection_is_kept(make_app, db):
    app = make_app(DATABASE_POOL_SIZE=1, DATABASE_MAX_OVERFLOW=0, DATABASE_POOL_TIMEOUT=0.1)
    for _ in range(3):
        assert in_both_ways(app, db) == {}
    with app.app_context(), db.engine.connect():
        app.logger.disabled = True
        assert db.check()["database"].startswith("TimeoutError: QueuePool limit")
