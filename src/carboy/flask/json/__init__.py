"""``flask.json``."""

from carboy.json import dump as dump
from carboy.json import dumps as dumps
from carboy.json import jsonify as jsonify
from carboy.json import load as load
from carboy.json import loads as loads
from carboy.json.provider import _default as _default
from carboy.proxies import current_app as current_app

from ..patching import forward_patches

forward_patches(__name__, "carboy.json")
