"""What tests of an application have in hand."""

import asyncio

import pytest

from carboy import current_app
from carboy.jobs import JobFailed, frozen


@pytest.fixture
def send(jobs):
    @jobs.job(retries=1, backoff=lambda attempt: 60)
    def send(to):
        current_app.extensions.setdefault("sent", []).append(to)
        if to == "nobody":
            raise LookupError(to)

    return send


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
@pytest.mark.parametrize("is_async", [True, False])
def test_what_was_queued_is_seen_and_run(app, jobs, send, protocol, is_async):
    if is_async:

        @app.post("/<to>")
        async def view(to):
            await send.enqueue(to)
            return ""
    else:

        @app.post("/<to>")
        def view(to):
            send.enqueue(to)
            return ""

    client = app.test_client(protocol=protocol)
    client.post("/ada")
    client.post("/grace")
    with app.app_context():
        assert [record.message.args for record in jobs.queued(send)] == [["ada"], ["grace"]]
        assert "sent" not in app.extensions
        assert [record.state for record in jobs.drain()] == ["done", "done"]
        assert app.extensions["sent"] == ["ada", "grace"]
        assert jobs.queued() == []


def test_time_stands_still_until_it_is_moved(app, jobs, send):
    with app.app_context(), frozen() as clock:
        send.enqueue_in(3600, "ada")
        send.enqueue("nobody")
        assert [record.state for record in jobs.drain()] == ["scheduled"]
        clock.advance(61)
        assert [record.state for record in jobs.drain()] == ["dead"]
        clock.advance(3600)
        assert [record.message.args for record in jobs.drain()] == [["ada"]]


@pytest.mark.parametrize("kind", ["memory"], indirect=True)
def test_eager_jobs_run_where_they_are_queued(app, jobs, send):
    app.config["JOBS_EAGER"] = True

    @jobs.job
    async def twice(number):
        return number * 2

    with app.app_context():
        assert twice.enqueue(2).result() == 4
        with pytest.raises(JobFailed, match="LookupError"):
            send.enqueue("nobody")

        async def body():
            async with app.app_context():
                return await (await twice.enqueue(3)).result()

        assert asyncio.run(body()) == 6
