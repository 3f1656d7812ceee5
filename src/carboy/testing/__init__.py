"""Test an application without a server.

Owns the test client and CLI runner of Flask's ``flask.testing``, the bridges that let the same client talk ASGI and
RSGI, and the lints that hold an application to the specification of each protocol.
"""

from .cli import FlaskCliRunner as FlaskCliRunner
from .client import EnvironBuilder as EnvironBuilder
from .client import FlaskClient as FlaskClient
from .lint import ConformanceError as ConformanceError
from .lint import lint_asgi as lint_asgi
from .lint import lint_rsgi as lint_rsgi
from .lint import lint_wsgi as lint_wsgi
from .protocols import asgi_as_wsgi as asgi_as_wsgi
from .protocols import rsgi_as_wsgi as rsgi_as_wsgi
