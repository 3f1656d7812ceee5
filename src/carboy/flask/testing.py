"""``flask.testing``."""

# What Flask's module happens to import: some code takes it from there.
import importlib as importlib
from contextlib import ExitStack as ExitStack
from contextlib import contextmanager as contextmanager
from copy import copy as copy
from urllib.parse import urlsplit as urlsplit

import werkzeug as werkzeug
from click.testing import CliRunner as CliRunner
from click.testing import Result as Result
from werkzeug.test import Client as Client
from werkzeug.wrappers import Request as BaseRequest  # noqa: F401

from carboy.cli import ScriptInfo as ScriptInfo
from carboy.sessions import SessionMixin as SessionMixin
from carboy.testing import EnvironBuilder as EnvironBuilder
from carboy.testing import FlaskClient as FlaskClient
from carboy.testing import FlaskCliRunner as FlaskCliRunner

from .patching import forward_patches

forward_patches(__name__, "carboy.testing")
