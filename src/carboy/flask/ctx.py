"""``flask.ctx``."""

# What Flask's module happens to import: some code takes it from there.
import contextvars as contextvars
import sys as sys
from functools import update_wrapper as update_wrapper

from werkzeug.exceptions import HTTPException as HTTPException

from carboy.context import AppContext as AppContext
from carboy.context import RequestContext as RequestContext
from carboy.context import _AppCtxGlobals as _AppCtxGlobals
from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.context import _sentinel as _sentinel
from carboy.context import after_this_request as after_this_request
from carboy.context import copy_current_request_context as copy_current_request_context
from carboy.context import has_app_context as has_app_context
from carboy.context import has_request_context as has_request_context
from carboy.signals import appcontext_popped as appcontext_popped
from carboy.signals import appcontext_pushed as appcontext_pushed

from .patching import forward_patches

forward_patches(__name__, "carboy.context")
