"""What all tests share: an application, a client on each protocol, and the search for contexts left behind."""

from pathlib import Path

import pytest

import carboy
from carboy.context import _cv_app, _cv_request


@pytest.fixture(params=["wsgi", "asgi", "rsgi"])
def protocol(request):
    """Runs a test once on each protocol."""
    return request.param


@pytest.fixture
def app():
    """A new application, in testing mode, with a secret key."""
    app = carboy.Flask("carboy_test", root_path=str(Path(__file__).parent))
    app.config.update(TESTING=True, SECRET_KEY="test key")
    return app


@pytest.fixture
def client(app, protocol):
    """A client of `app` on each protocol, which fails where the application breaks the protocol's rules."""
    return app.test_client(protocol=protocol, lint=True)


@pytest.fixture(autouse=True)
def leak_detector():
    """No test leaves a context active."""
    yield
    left = []
    for variable in (_cv_request, _cv_app):
        while (context := variable.get(None)) is not None:
            left.append(context)
            context.pop()
    assert left == []
