"""``flask.app``."""

# What Flask's module happens to import: some code takes it from there.
import os as os
import sys as sys
import weakref as weakref
from datetime import timedelta as timedelta

import click as click
from werkzeug.datastructures import Headers as Headers
from werkzeug.datastructures import ImmutableDict as ImmutableDict
from werkzeug.exceptions import BadRequestKeyError as BadRequestKeyError
from werkzeug.exceptions import HTTPException as HTTPException
from werkzeug.exceptions import InternalServerError as InternalServerError
from werkzeug.routing import BuildError as BuildError
from werkzeug.routing import MapAdapter as MapAdapter
from werkzeug.routing import RequestRedirect as RequestRedirect
from werkzeug.routing import RoutingException as RoutingException
from werkzeug.routing import Rule as Rule
from werkzeug.serving import is_running_from_reloader as is_running_from_reloader
from werkzeug.wrappers import Response as BaseResponse  # noqa: F401
from werkzeug.wsgi import get_host as get_host

from carboy.app import Carboy as Carboy
from carboy.app import _make_timedelta as _make_timedelta
from carboy.context import AppContext as AppContext
from carboy.context import RequestContext as RequestContext
from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.debug import get_debug_flag as get_debug_flag
from carboy.debug import get_load_dotenv as get_load_dotenv
from carboy.files import send_from_directory as send_from_directory
from carboy.flash import get_flashed_messages as get_flashed_messages
from carboy.http import Request as Request
from carboy.http import Response as Response
from carboy.proxies import current_app as current_app
from carboy.proxies import g as g
from carboy.proxies import request as request
from carboy.proxies import request_ctx as request_ctx
from carboy.proxies import session as session
from carboy.sessions import SecureCookieSessionInterface as SecureCookieSessionInterface
from carboy.sessions import SessionInterface as SessionInterface
from carboy.signals import appcontext_tearing_down as appcontext_tearing_down
from carboy.signals import got_request_exception as got_request_exception
from carboy.signals import request_finished as request_finished
from carboy.signals import request_started as request_started
from carboy.signals import request_tearing_down as request_tearing_down
from carboy.templating import Environment as Environment

from . import cli as cli

Flask = App = Carboy
