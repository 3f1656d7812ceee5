"""``flask.logging``."""

# What Flask's module happens to import: some code takes it from there.
import logging as logging
import sys as sys

from werkzeug.local import LocalProxy as LocalProxy

from carboy.logging import create_logger as create_logger
from carboy.logging import default_handler as default_handler
from carboy.logging import has_level_handler as has_level_handler
from carboy.logging import wsgi_errors_stream as wsgi_errors_stream
from carboy.proxies import request as request

from .patching import forward_patches

forward_patches(__name__, "carboy.logging")
