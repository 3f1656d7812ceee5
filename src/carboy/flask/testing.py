"""``flask.testing``."""

from carboy.cli import ScriptInfo as ScriptInfo
from carboy.sessions import SessionMixin as SessionMixin
from carboy.testing import EnvironBuilder as EnvironBuilder
from carboy.testing import FlaskClient as FlaskClient
from carboy.testing import FlaskCliRunner as FlaskCliRunner
