import threading

import pytest
from sqlalchemy import text


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
