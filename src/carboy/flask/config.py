"""``flask.config``."""

# What Flask's module happens to import: some code takes it from there.
import errno as errno
import json as json
import os as os
import types as types

from werkzeug.utils import import_string as import_string

from carboy.config import Config as Config
from carboy.config import ConfigAttribute as ConfigAttribute

from .patching import forward_patches

forward_patches(__name__, "carboy.config")
