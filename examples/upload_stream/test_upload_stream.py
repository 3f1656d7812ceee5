import hashlib

import pytest

from .app import app

BODY = b"one line of many\n" * 200_000


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_uploads(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    assert client.put("/digest", data=BODY).json == {"sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY)}
    assert client.put("/lines", data=BODY).json == {"lines": 200_000}
