"""``flask.sansio.scaffold``."""

from jinja2 import BaseLoader as BaseLoader
from jinja2 import FileSystemLoader as FileSystemLoader
from werkzeug.exceptions import HTTPException as HTTPException
from werkzeug.exceptions import default_exceptions as default_exceptions
from werkzeug.utils import cached_property as cached_property

from carboy.context import _default_template_ctx_processor as _default_template_ctx_processor
from carboy.context import _sentinel as _sentinel
from carboy.paths import find_package as find_package
from carboy.paths import get_root_path as get_root_path
from carboy.registry import Registry as Registry
from carboy.registry import _endpoint_from_view_func as _endpoint_from_view_func
from carboy.registry import setupmethod as setupmethod

Scaffold = Registry
