"""``flask.app``."""

from carboy import cli as cli
from carboy.app import Carboy as Flask
from carboy.context import AppContext as AppContext
from carboy.context import RequestContext as RequestContext
from carboy.debug import get_debug_flag as get_debug_flag
from carboy.debug import get_load_dotenv as get_load_dotenv
from carboy.files import send_from_directory as send_from_directory
from carboy.flash import get_flashed_messages as get_flashed_messages
from carboy.http.request import Request as Request
from carboy.http.response import Response as Response
from carboy.sessions import SecureCookieSessionInterface as SecureCookieSessionInterface
from carboy.sessions import SessionInterface as SessionInterface
from carboy.templating import Environment as Environment

from .globals import _cv_app as _cv_app
from .globals import _cv_request as _cv_request
from .globals import current_app as current_app
from .globals import g as g
from .globals import request as request
from .globals import request_ctx as request_ctx
from .globals import session as session
from .sansio.app import App as App
from .signals import appcontext_tearing_down as appcontext_tearing_down
from .signals import got_request_exception as got_request_exception
from .signals import request_finished as request_finished
from .signals import request_started as request_started
from .signals import request_tearing_down as request_tearing_down

__all__ = ["Flask"]
