"""``flask.wrappers``."""

from werkzeug.exceptions import BadRequest as BadRequest
from werkzeug.exceptions import HTTPException as HTTPException
from werkzeug.wrappers import Request as RequestBase  # noqa: F401
from werkzeug.wrappers import Response as ResponseBase  # noqa: F401

from carboy.http import Request as Request
from carboy.http import Response as Response
from carboy.proxies import current_app as current_app

from . import json as json
