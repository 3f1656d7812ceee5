"""``flask.wrappers``."""

from carboy.http.request import Request as Request
from carboy.http.response import Response as Response
from carboy.proxies import current_app as current_app

from . import json as json
