import pytest

from .app import app

app.config["INTERVAL"] = 0.01


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_readings_go_on_after_the_last_one_seen(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    with client.get("/temperature", headers={"Last-Event-ID": "7"}) as response:
        stream = response.iter_encoded()
        assert next(stream) == b"retry: 2000\n\n"
        assert b"event: reading\nid: 8\ndata: {" in next(stream)
        assert b"id: 9\n" in next(stream)


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_progress(protocol: str) -> None:
    text = app.test_client(protocol=protocol).post("/mash").text
    assert [text.index(f"data: {percent}\n") for percent in (0, 25, 50, 75, 100)]
    assert text.endswith("event: done\ndata: The mash is done.\n\n")
