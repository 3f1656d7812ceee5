import hashlib
import io
from pathlib import Path

import pytest

from .app import app

BODY = b"one line of many\n" * 200_000


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_uploads(protocol: str) -> None:
    client = app.test_client(protocol=protocol)
    assert client.put("/digest", data=BODY).json == {"sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY)}
    assert client.put("/lines", data=BODY).json == {"lines": 200_000}


@pytest.mark.parametrize("protocol", ["wsgi", "asgi", "rsgi"])
def test_form_with_files(protocol: str, tmp_path: Path) -> None:
    app.config["FOLDER"] = tmp_path
    form = {"title": "Mash", "photo": (io.BytesIO(BODY), "../mash.jpg")}
    with app.test_client(protocol=protocol).post("/photos", data=form) as answer:
        assert answer.json == {"title": "Mash", "mash.jpg": len(BODY)}
    assert (tmp_path / "mash.jpg").read_bytes() == BODY
