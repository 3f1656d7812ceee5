import json

import pytest

from carboy.testing import WebSocketClosed

from .app import app, room


@pytest.fixture(params=["asgi", "rsgi"])
def client(request):
    room.__init__()
    return app.test_client(protocol=request.param, lint=True)


def test_page(client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert '/bar"' in page.text and 'data-events="/events"' in page.text


def test_what_goes_up_comes_down(client) -> None:
    with client.events("/events") as events, client.websocket("/bar") as bar:
        assert next(events).event == "board"
        bar.send_json({"order": 1, "say": " Good evening! ", "name": ""})
        assert bar.receive_json() == {"done": 1, "line": 1}
        line = next(events)
        assert (line.event, json.loads(line.data)) == (
            "line",
            {"number": 1, "name": "a guest", "text": "Good evening!"},
        )
        bar.send_json({"order": 2, "cheers": True})
        assert bar.receive_json() == {"done": 2, "cheers": 1}
        assert json.loads(next(events).data)["cheers"] == 1


def test_who_comes_back_gets_what_was_missed(client) -> None:
    for text in ("one", "two", "three"):
        room.say("Ada", text)
    with client.events("/events", last_event_id=f"{room.opening}-1") as events:
        assert [json.loads(next(events).data)["text"] for _ in range(2)] == ["two", "three"]
    # The server was started anew meanwhile: nothing is known of what was seen.
    with client.events("/events", last_event_id="another-2") as events:
        assert json.loads(next(events).data)["text"] == "one"


def test_an_order_that_is_none(client) -> None:
    with client.websocket("/bar") as bar:
        bar.send_json({"order": 1})
        with pytest.raises(WebSocketClosed):
            bar.receive()
