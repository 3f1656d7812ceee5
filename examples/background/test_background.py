import pytest

from .app import app


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_orders(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    for number in (1, 2):
        response = client.post(f"/orders/{number}", headers={"X-Customer": "ada"})
        assert (response.status_code, response.json) == (202, {"accepted": number})
    store = app.extensions["store"]
    assert store.is_open
    app.lifecycle.shutdown_blocking()
    assert not store.is_open
    assert sorted(store.lines) == ["brewery knows of 1", "brewery knows of 2", "label 1 for ada", "label 2 for ada"]
