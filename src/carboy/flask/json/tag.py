"""``flask.json.tag``."""

# What Flask's module happens to import: some code takes it from there.
from base64 import b64decode as b64decode
from base64 import b64encode as b64encode
from datetime import datetime as datetime
from uuid import UUID as UUID

from markupsafe import Markup as Markup
from werkzeug.http import http_date as http_date
from werkzeug.http import parse_date as parse_date

from carboy.json import dumps as dumps
from carboy.json import loads as loads
from carboy.json.tag import JSONTag as JSONTag
from carboy.json.tag import PassDict as PassDict
from carboy.json.tag import PassList as PassList
from carboy.json.tag import TagBytes as TagBytes
from carboy.json.tag import TagDateTime as TagDateTime
from carboy.json.tag import TagDict as TagDict
from carboy.json.tag import TaggedJSONSerializer as TaggedJSONSerializer
from carboy.json.tag import TagMarkup as TagMarkup
from carboy.json.tag import TagTuple as TagTuple
from carboy.json.tag import TagUUID as TagUUID

from ..patching import forward_patches

forward_patches(__name__, "carboy.json.tag")
