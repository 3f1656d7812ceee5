"""Request and response: the only place that subclasses Werkzeug's wrappers."""

from .request import Request as Request
from .response import Response as Response
