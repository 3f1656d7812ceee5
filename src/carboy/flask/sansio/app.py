"""``flask.sansio.app``."""

from werkzeug.exceptions import Aborter as Aborter
from werkzeug.exceptions import BadRequest as BadRequest
from werkzeug.exceptions import BadRequestKeyError as BadRequestKeyError
from werkzeug.routing import BuildError as BuildError
from werkzeug.routing import Map as Map
from werkzeug.routing import Rule as Rule
from werkzeug.sansio.response import Response as Response
from werkzeug.utils import cached_property as cached_property

from carboy.app import Carboy as Carboy
from carboy.app import _make_timedelta as _make_timedelta
from carboy.config import Config as Config
from carboy.config import ConfigAttribute as ConfigAttribute
from carboy.context import _AppCtxGlobals as _AppCtxGlobals
from carboy.debug import get_debug_flag as get_debug_flag
from carboy.json.provider import DefaultJSONProvider as DefaultJSONProvider
from carboy.json.provider import JSONProvider as JSONProvider
from carboy.logging import create_logger as create_logger
from carboy.paths import find_package as find_package
from carboy.registry import Registry as Registry
from carboy.registry import _endpoint_from_view_func as _endpoint_from_view_func
from carboy.registry import setupmethod as setupmethod
from carboy.templating import DispatchingJinjaLoader as DispatchingJinjaLoader
from carboy.templating import Environment as Environment

App = Carboy
Scaffold = Registry
