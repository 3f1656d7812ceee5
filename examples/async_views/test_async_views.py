import time

import pytest

from .app import app


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_views(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    started = time.perf_counter()
    answer = client.get("/prices?shop=a&shop=bb&shop=ccc&shop=dddd&shop=eeeee")
    assert answer.json == {"a": 100, "bb": 200, "ccc": 300, "dddd": 400, "eeeee": 500}
    assert time.perf_counter() - started < 0.45, "five waits of 0.1 s were not concurrent"
    assert client.get("/report").json == {"lines": 3}
    assert client.get("/ping").text == "pong"
    assert answer.headers["Server-Timing"].startswith("app;dur=")
