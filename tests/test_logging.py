"""`carboy.logging`: the application's logger, where nobody configured logging and where somebody did."""

import io
import logging
import sys

import pytest

from carboy.logging import default_handler, has_level_handler, wsgi_errors_stream


@pytest.fixture(autouse=True)
def root(monkeypatch):
    """Logging as in a fresh process; returns a root without the handlers of pytest."""
    root = logging.RootLogger(logging.WARNING)
    logger = logging.getLogger("carboy_test")
    state = {"handlers": [], "level": logging.NOTSET, "propagate": True, "parent": root, "_cache": {}}
    for name, value in state.items():
        monkeypatch.setattr(logger, name, value)
    return root


def test_logger_of_an_application(app):
    assert app.logger.name == app.name
    assert (app.logger.level, app.logger.handlers) == (logging.NOTSET, [default_handler])
    assert app.logger is app.logger


def test_debug_mode_logs_everything(app):
    app.debug = True
    assert app.logger.level == logging.DEBUG


def test_configured_logging_is_left_alone(app, root):
    root.addHandler(logging.NullHandler())
    logging.getLogger(app.name).setLevel(logging.ERROR)
    app.debug = True
    assert (app.logger.level, app.logger.handlers) == (logging.ERROR, [])


def test_stream_is_that_of_the_request(app):
    stream = io.StringIO()
    assert wsgi_errors_stream._get_current_object() is sys.stderr
    with app.test_request_context(errors_stream=stream):
        app.logger.warning("the shelf is empty")
    assert "WARNING in test_logging: the shelf is empty" in stream.getvalue()


def test_an_unhandled_exception_is_logged_once(app, client, capsys):
    @app.get("/")
    def index():
        raise ZeroDivisionError("crash")

    app.testing = False
    assert client.get("/").status_code == 500
    log = capsys.readouterr().err
    assert "Exception on / [GET]" in log
    assert log.count("ZeroDivisionError: crash") == 1


def test_has_level_handler(root):
    logger = logging.getLogger("carboy_test")
    assert not has_level_handler(logger)
    handler = logging.NullHandler()
    root.addHandler(handler)
    assert has_level_handler(logger)
    handler.setLevel(logging.ERROR)
    assert not has_level_handler(logger)
    logger.addHandler(logging.NullHandler())
    assert has_level_handler(logger)
    logger.handlers.clear()
    handler.setLevel(logging.NOTSET)
    logger.propagate = False
    assert not has_level_handler(logger)
