import asyncio
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


def test_who_finds_no_connection_is_told_to_come_again(make_app, db, protocol):
    app = make_app(DATABASE_POOL_SIZE=1, DATABASE_MAX_OVERFLOW=0, DATABASE_POOL_TIMEOUT=0.1)
    app.logger.disabled = True

    @app.get("/sync")
    def sync():
        with db.engine.connect():
            db.session.execute(text("SELECT 1"))

    @app.get("/async")
    async def asynchronous():
        async with db.aio.engine.connect():
            await db.session.execute(text("SELECT 1"))

    client = app.test_client(protocol=protocol)
    for path in ("/sync", "/async"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
def test_a_server_that_is_not_there_is_503(make_app, db, url, protocol):
    app = make_app(DATABASE_BINDS={"gone": url.partition("://")[0] + "://127.0.0.1:9/none"})
    app.logger.disabled = True

    @app.get("/")
    def view():
        db.engines.sync("gone").connect()

    assert app.test_client(protocol=protocol).get("/").status_code == 503


def test_a_wrong_statement_is_not_503(make_app, db, protocol):
    app = make_app()
    app.logger.disabled = True
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/")
    async def view():
        await db.session.execute(text("SELECT nothing FROM nowhere"))

    assert app.test_client(protocol=protocol).get("/").status_code == 500


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_statement_that_takes_too_long_is_given_up(make_app, db, kind, protocol, asynchronous):
    app = make_app(DATABASE_STATEMENT_TIMEOUT=0.2)
    app.logger.disabled = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    long = {
        "postgresql": "SELECT pg_sleep(20)",
        "mariadb": "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b",
        "sqlite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c",
    }[kind]

    def view():
        db.session.execute(text(long))

    async def view_async():
        await db.session.execute(text(long))

    app.add_url_rule("/", view_func=view_async if asynchronous else view, endpoint="view")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(app.test_client(protocol=protocol).get("/").status_code))
    thread.start()
    thread.join(10)
    assert answers == [500]
    with app.app_context():
        assert db.session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_session_goes_on_with_another_connection_after_its_own_was_lost(make_app, db, kind, protocol, asynchronous):
    app = make_app()
    app.logger.disabled = True
    end = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mariadb": "KILL CONNECTION_ID()"}[kind]

    @app.get("/sync/lost")
    def lost():
        db.session.execute(text(end))

    @app.get("/async/lost")
    async def async_lost():
        await db.session.execute(text(end))

    @app.get("/sync/again")
    def again():
        with pytest.raises(DBAPIError):
            db.session.execute(text(end))
        db.session.rollback()
        return str(db.session.scalar(text("SELECT 1")))

    @app.get("/async/again")
    async def async_again():
        with pytest.raises(DBAPIError):
            await db.session.execute(text(end))
        await db.session.rollback()
        return str(await db.session.scalar(text("SELECT 1")))

    client = app.test_client(protocol=protocol)
    side = "async" if asynchronous else "sync"
    assert client.get(f"/{side}/lost").status_code == 503
    assert client.get(f"/{side}/again").text == "1"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_an_answer_is_sent_though_the_connection_was_lost_after_it_was_made(make_app, db, url, kind, protocol, path):
    app = make_app(DATABASE_BINDS={"other": url})
    number, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({}, 5000)"),
        "mariadb": ("SELECT CONNECTION_ID()", "KILL {}"),
    }[kind]

    def kill(connection):
        with db.engines.sync("other").connect() as other:
            other.execute(text(end.format(connection)))

    @app.get("/sync")
    def sync():
        kill(db.session.scalar(text(number)))
        return "answer"

    @app.get("/async")
    async def async_():
        connection = await db.session.scalar(text(number))
        await asyncio.to_thread(kill, connection)
        return "answer"

    for _ in range(2):
        answer = app.test_client(protocol=protocol).get(path)
        assert (answer.status_code, answer.text) == (200, "answer")
    with app.app_context():
        assert db.engine.pool.checkedout() == 0


@pytest.mark.parametrize("kind", ["mariadb"], indirect=True)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_rows_of_a_stream_that_was_left_are_not_read_to_the_end(make_app, db, protocol, asynchronous):
    app = make_app(DATABASE_POOL_SIZE=1, DATABASE_MAX_OVERFLOW=0)
    rows = text("SELECT CONNECTION_ID() FROM seq_1_to_1000000").execution_options(yield_per=10)

    @app.get("/sync")
    def sync():
        return str(next(iter(db.session.scalars(rows))))

    @app.get("/async")
    async def async_():
        return str(await anext(aiter(await db.session.stream_scalars(rows))))

    client = app.test_client(protocol=protocol)
    path = "/async" if asynchronous else "/sync"
    assert client.get(path).text != client.get(path).text


@pytest.mark.parametrize("kind", ["mariadb"], indirect=True)
def test_a_stream_that_was_read_to_its_end_leaves_the_connection(make_app, db):
    app = make_app(DATABASE_POOL_SIZE=1, DATABASE_MAX_OVERFLOW=0)
    rows = text("SELECT CONNECTION_ID() FROM seq_1_to_100").execution_options(yield_per=10)
    connections = set()
    for _ in range(2):
        with app.app_context():
            connections.update(db.session.scalars(rows))
    assert len(connections) == 1
