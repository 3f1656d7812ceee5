"""``flask.globals``."""

# What Flask's module happens to import: some code takes it from there.
from contextvars import ContextVar as ContextVar

from werkzeug.local import LocalProxy as LocalProxy

from carboy.context import NO_APP_MESSAGE as NO_APP_MESSAGE
from carboy.context import NO_REQUEST_MESSAGE as NO_REQUEST_MESSAGE
from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.proxies import app_ctx as app_ctx
from carboy.proxies import current_app as current_app
from carboy.proxies import g as g
from carboy.proxies import request as request
from carboy.proxies import request_ctx as request_ctx
from carboy.proxies import session as session

from .patching import forward_patches

_no_app_msg = NO_APP_MESSAGE
_no_req_msg = NO_REQUEST_MESSAGE
forward_patches(__name__, "carboy.proxies")
