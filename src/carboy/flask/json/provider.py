"""``flask.json.provider``."""

# What Flask's module happens to import: some code takes it from there.
import dataclasses as dataclasses
import decimal as decimal
import json as json
import uuid as uuid
import weakref as weakref
from datetime import date as date

from werkzeug.http import http_date as http_date

from carboy.json.provider import DefaultJSONProvider as DefaultJSONProvider
from carboy.json.provider import JSONProvider as JSONProvider
from carboy.json.provider import _default as _default

from ..patching import forward_patches

forward_patches(__name__, "carboy.json.provider")
