"""Flask's names at Flask's module paths: what ``flask`` is once :func:`carboy.install_as_flask` was called.

These modules only name what lives elsewhere, and nothing in carboy imports them. They name also what Flask's modules
import for themselves, because programs import it from there. What is patched in one of them is patched where carboy
looks it up; see ``patching.py``.
"""

from __future__ import annotations

from . import json as json
from .app import Carboy as Carboy
from .blueprints import Blueprint as Blueprint
from .config import Config as Config
from .ctx import after_this_request as after_this_request
from .ctx import copy_current_request_context as copy_current_request_context
from .ctx import has_app_context as has_app_context
from .ctx import has_request_context as has_request_context
from .globals import current_app as current_app
from .globals import g as g
from .globals import request as request
from .globals import session as session
from .helpers import abort as abort
from .helpers import flash as flash
from .helpers import get_flashed_messages as get_flashed_messages
from .helpers import get_template_attribute as get_template_attribute
from .helpers import make_response as make_response
from .helpers import redirect as redirect
from .helpers import send_file as send_file
from .helpers import send_from_directory as send_from_directory
from .helpers import stream_with_context as stream_with_context
from .helpers import url_for as url_for
from .json import jsonify as jsonify
from .signals import appcontext_popped as appcontext_popped
from .signals import appcontext_pushed as appcontext_pushed
from .signals import appcontext_tearing_down as appcontext_tearing_down
from .signals import before_render_template as before_render_template
from .signals import got_request_exception as got_request_exception
from .signals import message_flashed as message_flashed
from .signals import request_finished as request_finished
from .signals import request_started as request_started
from .signals import request_tearing_down as request_tearing_down
from .signals import template_rendered as template_rendered
from .templating import render_template as render_template
from .templating import render_template_string as render_template_string
from .templating import stream_template as stream_template
from .templating import stream_template_string as stream_template_string
from .wrappers import Request as Request
from .wrappers import Response as Response

Flask = Carboy


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module 'flask' has no attribute {name!r}")
    import importlib.metadata
    import warnings

    # COMPAT: Flask 3.1 warns; Flask 3.2 has no such attribute.
    warnings.warn(
        "'flask.__version__' is deprecated: ask importlib.metadata.version('flask'), or test for the feature.",
        DeprecationWarning,
        stacklevel=2,
    )
    try:
        return importlib.metadata.version("flask")
    except importlib.metadata.PackageNotFoundError:
        return "3.1.3"
