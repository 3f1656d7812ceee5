"""``flask.testing``."""

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
