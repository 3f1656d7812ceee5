"""``flask.globals``: the proxies and the context variables behind them."""

from carboy.context import NO_APP_MESSAGE as _no_app_msg
from carboy.context import NO_REQUEST_MESSAGE as _no_req_msg
from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.proxies import app_ctx as app_ctx
from carboy.proxies import current_app as current_app
from carboy.proxies import g as g
from carboy.proxies import request as request
from carboy.proxies import request_ctx as request_ctx
from carboy.proxies import session as session

__all__ = ["_no_app_msg", "_no_req_msg", "app_ctx", "current_app", "g", "request", "request_ctx", "session"]
