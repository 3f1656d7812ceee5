import asyncio
import threading

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, Session, mapped_column

from carboy import stream_with_context


@pytest.fixture
def Beer(db):
    class Beer(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    return Beer


@pytest.fixture
def app(make_app, db, Beer):
    app = make_app()
    with app.app_context():
        db.create_all()
        db.session.add_all([Beer(name="Stout"), Beer(name="Porter")])
        db.session.commit()
    return app


def test_rows_are_read_and_written_from_sync_and_async_views(app, db, Beer, protocol, checked_out):
    @app.get("/sync/<int:id>")
    def sync_get(id):
        return [type(db.session) is not AsyncSession, db.get_or_404(Beer, id).name]

    @app.get("/async/<int:id>")
    async def async_get(id):
        return [type(db.session) is AsyncSession, (await db.get_or_404(Beer, id)).name]

    @app.post("/sync/<name>")
    def sync_post(name):
        db.session.add(Beer(name=name))
        db.session.commit()
        return [db.session.scalar(select(func.count()).select_from(Beer))]

    @app.post("/async/<name>")
    async def async_post(name):
        db.session.add(Beer(name=name))
        await db.session.commit()
        return [await db.session.scalar(select(func.count()).select_from(Beer))]

    client = app.test_client(protocol=protocol)
    for count, kind in enumerate(("sync", "async"), 3):
        assert client.get(f"/{kind}/2").json == [True, "Porter"]
        assert client.get(f"/{kind}/99").status_code == 404
        assert client.post(f"/{kind}/Pils").json == [count]
    assert checked_out(app, db) == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_was_not_committed_is_rolled_back(app, db, Beer, protocol, asynchronous, checked_out):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True

    def add():
        db.session.add(Beer(name="never"))
        db.session.flush()
        raise LookupError

    async def add_async():
        db.session.add(Beer(name="never"))
        await db.session.flush()
        raise LookupError

    app.add_url_rule("/", view_func=add_async if asynchronous else add, endpoint="add")
    assert app.test_client(protocol=protocol).get("/").status_code == 500
    assert checked_out(app, db) == 0
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Beer)) == 2


def test_hooks_and_view_of_a_request_have_the_same_session(app, db, Beer, protocol):
    seen = []

    @app.before_request
    def sync_hook():
        seen.append(db.session)

    @app.before_request
    async def async_hook():
        seen.append(db.session)

    @app.get("/sync")
    def sync_view():
        seen.append(db.session)
        return "ok"

    @app.get("/async")
    async def async_view():
        seen.append(db.session)
        return "ok"

    client = app.test_client(protocol=protocol)
    client.get("/sync")
    client.get("/async")
    sync, _, view, _, asynchronous_2, view_2 = seen
    assert sync is view and asynchronous_2 is view_2
    assert len({id(session) for session in seen}) == 4


def test_tasks_and_threads_of_a_view_have_sessions_of_their_own(app, db, Beer, protocol, checked_out):
    @app.get("/tasks")
    async def tasks():
        async def name(id):
            await asyncio.sleep(0)
            return id, (await db.session.get(Beer, id)).name, db.session

        mine = db.session
        await mine.get(Beer, 1)
        found = await asyncio.gather(name(1), name(2))
        threads = await asyncio.gather(
            *(asyncio.to_thread(lambda: (db.session, threading.get_ident())) for _ in range(2))
        )
        sessions = {id(session) for *_, session in found} | {id(mine)}
        by_thread = {thread: id(session) for session, thread in threads}
        return [len(sessions), len(set(by_thread.values())) == len(by_thread), [name for _, name, _ in found]]

    assert app.test_client(protocol=protocol).get("/tasks").json == [3, True, ["Stout", "Porter"]]
    assert checked_out(app, db) == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_session_of_a_streamed_response_lasts_as_long_as_the_stream(
    app, db, Beer, protocol, asynchronous, checked_out, in_use
):
    seen = []

    def rows():
        for beer in db.session.scalars(select(Beer).order_by(Beer.id)):
            seen.append(in_use(app, db))
            yield beer.name

    async def rows_async():
        async for beer in await db.session.stream_scalars(select(Beer).order_by(Beer.id)):
            seen.append(in_use(app, db))
            yield beer.name

    def view():
        return stream_with_context(rows())

    async def view_async():
        return stream_with_context(rows_async())

    app.add_url_rule("/", view_func=view_async if asynchronous else view, endpoint="rows")
    assert app.test_client(protocol=protocol).get("/").text == "StoutPorter"
    assert seen == [1, 1]
    assert checked_out(app, db) == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_background_task_has_a_session_of_its_own(app, db, Beer, protocol, asynchronous, checked_out):
    done = threading.Event()

    def work():
        db.session.get(Beer, 1).name = "from a task"
        db.session.commit()
        done.set()

    async def work_async():
        (await db.session.get(Beer, 1)).name = "from a task"
        await db.session.commit()
        done.set()

    @app.post("/")
    def view():
        app.add_background_task(work_async if asynchronous else work)
        return "ok"

    client = app.test_client(protocol=protocol)
    with client.lifespan():
        client.post("/")
        assert done.wait(10)
    with app.app_context():
        assert db.session.get(Beer, 1).name == "from a task"
    assert checked_out(app, db) == 0


@pytest.mark.parametrize("outer", [False, True])
def test_a_request_inside_a_context_has_a_session_of_its_own(app, db, protocol, outer):
    ended = []

    @app.get("/")
    async def view():
        await db.session.execute(text("SELECT 1"))
        db.session.sync_session.close = lambda close=db.session.sync_session.close: (ended.append(1), close())
        return "ok"

    client = app.test_client(protocol=protocol)
    if outer:
        with app.app_context():
            client.get("/")
            assert ended == [1]
    else:
        client.get("/")
    assert ended == [1]


def test_sync_code_can_be_shared_with_async_views(app, db, Beer, protocol):
    def rename(id, name):
        db.session.get(Beer, id).name = name
        db.session.commit()
        return isinstance(db.session, Session)

    @app.post("/sync")
    def sync_view():
        return [rename(1, "a")]

    @app.post("/async")
    async def async_view():
        return [await db.aio.run_sync(rename, 2, "b")]

    client = app.test_client(protocol=protocol)
    assert client.post("/sync").json == client.post("/async").json == [True]
    with app.app_context():
        assert set(db.session.scalars(select(Beer.name))) == {"a", "b"}


def test_a_session_is_for_its_own_context(app, db):
    with app.app_context():
        outer = db.session
        with app.app_context():
            assert db.session is not outer
        assert db.session is outer
    with pytest.raises(Exception, match="closed"):
        outer.execute(text("SELECT 1"))
    with pytest.raises(RuntimeError, match="app_context"):
        db.session  # noqa: B018


def test_an_app_without_the_database_is_told(app, db):
    from carboy import Carboy
    from carboy.db import Database

    other = Database()
    with app.app_context(), pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        other.session  # noqa: B018
    with pytest.raises(RuntimeError, match="already"):
        other.init_app(app)
    with Carboy("none").app_context(), pytest.raises(RuntimeError, match="'none'"):
        db.session  # noqa: B018


def test_bytes_come_back_as_they_were(make_app, db):
    class Label(db.Model):
        id: Mapped[int] = mapped_column(primary_key=True)
        picture: Mapped[bytes]

    app = make_app()
    pictures = [b"\x89PNG\r\n\x1a\n\x00'\"%\\", bytes(range(256))]

    @app.post("/")
    async def post():
        async with db.transaction() as session:
            session.add_all([Label(picture=picture) for picture in pictures])
        return ""

    with app.app_context():
        db.create_all()
    assert app.test_client().post("/").status_code == 200
    with app.app_context():
        assert list(db.session.scalars(select(Label.picture).order_by(Label.id))) == pictures
