"""``flask.json.provider``."""

from werkzeug.http import http_date as http_date

from carboy.json.provider import DefaultJSONProvider as DefaultJSONProvider
from carboy.json.provider import JSONProvider as JSONProvider
from carboy.json.provider import _default as _default

from ..patching import forward_patches

forward_patches(__name__, "carboy.json.provider")
