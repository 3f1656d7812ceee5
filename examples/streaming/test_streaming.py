import pytest

from .app import app


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_streams(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    assert client.get("/squares.csv?rows=3").data == b"0,0\r\n1,1\r\n2,4\r\n"
    assert client.get("/squares.jsonl?rows=1").text == '{"number": 0, "square": 0}\n'
    assert client.get("/countdown").text == "3\n2\n1\nCheers!\n"
    assert client.get("/log").text.count("<li>line ") == 1000
