"""``flask.helpers``."""

# What Flask's module happens to import: some code takes it from there.
import importlib as importlib
import os as os
import sys as sys
from datetime import datetime as datetime
from functools import cache as cache
from functools import update_wrapper as update_wrapper

import werkzeug as werkzeug
from werkzeug.wrappers import Response as BaseResponse  # noqa: F401

from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.context import stream_with_context as stream_with_context
from carboy.debug import get_debug_flag as get_debug_flag
from carboy.debug import get_load_dotenv as get_load_dotenv
from carboy.files import _prepare_send_file_kwargs as _prepare_send_file_kwargs
from carboy.files import send_file as send_file
from carboy.files import send_from_directory as send_from_directory
from carboy.flash import flash as flash
from carboy.flash import get_flashed_messages as get_flashed_messages
from carboy.paths import get_root_path as get_root_path
from carboy.proxies import current_app as current_app
from carboy.proxies import request as request
from carboy.proxies import request_ctx as request_ctx
from carboy.proxies import session as session
from carboy.shortcuts import abort as abort
from carboy.shortcuts import get_template_attribute as get_template_attribute
from carboy.shortcuts import make_response as make_response
from carboy.shortcuts import redirect as redirect
from carboy.shortcuts import url_for as url_for
from carboy.signals import message_flashed as message_flashed

from .patching import forward_patches

forward_patches(
    __name__, "carboy.context", "carboy.debug", "carboy.files", "carboy.flash", "carboy.paths", "carboy.shortcuts"
)
