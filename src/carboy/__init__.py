"""carboy: Flask's public contract on a new engine."""

import typing as _t

from . import json as json
from . import signals as signals
from .app import Carboy as Carboy
from .background import TooManyBackgroundTasks as TooManyBackgroundTasks
from .blueprint import Blueprint as Blueprint
from .config import Config as Config
from .context import after_this_request as after_this_request
from .context import copy_current_request_context as copy_current_request_context
from .context import has_app_context as has_app_context
from .context import has_request_context as has_request_context
from .context import has_websocket_context as has_websocket_context
from .context import stream_with_context as stream_with_context
from .files import send_file as send_file
from .files import send_from_directory as send_from_directory
from .flash import flash as flash
from .flash import get_flashed_messages as get_flashed_messages
from .http import Request as Request
from .http import Response as Response
from .json import jsonify as jsonify
from .proxies import current_app as current_app
from .proxies import g as g
from .proxies import request as request
from .proxies import session as session
from .proxies import websocket as websocket
from .shortcuts import abort as abort
from .shortcuts import get_template_attribute as get_template_attribute
from .shortcuts import make_response as make_response
from .shortcuts import redirect as redirect
from .shortcuts import url_for as url_for
from .signals import appcontext_popped as appcontext_popped
from .signals import appcontext_pushed as appcontext_pushed
from .signals import appcontext_tearing_down as appcontext_tearing_down
from .signals import before_render_template as before_render_template
from .signals import got_request_exception as got_request_exception
from .signals import got_websocket_exception as got_websocket_exception
from .signals import message_flashed as message_flashed
from .signals import request_finished as request_finished
from .signals import request_started as request_started
from .signals import request_tearing_down as request_tearing_down
from .signals import template_rendered as template_rendered
from .signals import websocket_finished as websocket_finished
from .signals import websocket_started as websocket_started
from .signals import websocket_tearing_down as websocket_tearing_down
from .sse import ServerSentEvent as ServerSentEvent
from .sse import sse as sse
from .streaming import jsonl as jsonl

if _t.TYPE_CHECKING:
    from .http.websocket import WebSocket as WebSocket
    from .http.websocket import WebSocketDisconnect as WebSocketDisconnect
    from .templating import render_template as render_template
    from .templating import render_template_string as render_template_string
    from .templating import stream_template as stream_template
    from .templating import stream_template_string as stream_template_string

# Every name that can be imported from ``flask`` can be imported from here.
Flask = Carboy

__version__ = "0.1.0"


_LAZY = {
    "WebSocket": "http.websocket",
    "WebSocketDisconnect": "http.websocket",
    "render_template": "templating",
    "render_template_string": "templating",
    "stream_template": "templating",
    "stream_template_string": "templating",
}
"""Names whose modules import asyncio or Jinja, which an application without async code or templates does not need."""


def __getattr__(name: str) -> _t.Any:
    import importlib

    if name == "templating":
        return importlib.import_module(f"{__name__}.{name}")
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return value


def install_as_flask() -> None:
    """Let ``flask`` and its submodules be carboy, in this process and its children.

    Raises:
        RuntimeError: The real Flask was imported already.
    """
    from .flask.alias import install

    install()


# With the names that are imported when they are asked for.
__all__ = [name for name in (*globals(), *_LAZY) if not name.startswith("_")]
