import pytest

from .app import app


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_hello(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    assert client.get("/").text == "Hello from the carboy!"
    assert client.get("/hello/ada").json == {"hello": "ada"}
