"""``flask.views``."""

from carboy.proxies import current_app as current_app
from carboy.proxies import request as request
from carboy.views import MethodView as MethodView
from carboy.views import View as View
from carboy.views import http_method_funcs as http_method_funcs

from .patching import forward_patches

forward_patches(__name__, "carboy.views")
