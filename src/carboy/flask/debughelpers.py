"""``flask.debughelpers``."""

from jinja2 import BaseLoader as BaseLoader
from werkzeug.routing import RequestRedirect as RequestRedirect

from carboy.app import Carboy as Carboy
from carboy.blueprint import Blueprint as Blueprint
from carboy.debug import DebugFilesKeyError as DebugFilesKeyError
from carboy.debug import FormDataRoutingRedirect as FormDataRoutingRedirect
from carboy.debug import UnexpectedUnicodeError as UnexpectedUnicodeError
from carboy.debug import _dump_loader_info as _dump_loader_info
from carboy.debug import attach_enctype_error_multidict as attach_enctype_error_multidict
from carboy.debug import explain_template_loading_attempts as explain_template_loading_attempts
from carboy.proxies import request_ctx as request_ctx

from .patching import forward_patches

App = Carboy
forward_patches(__name__, "carboy.debug")
