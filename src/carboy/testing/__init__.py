"""Test an application without a server.

Owns the test client and CLI runner of Flask's ``flask.testing`` and the client's async twin, the twins of servers by
which they talk WSGI, ASGI and RSGI, and the lints that hold an application to the specification of each protocol.
"""

from .async_client import AsyncClient as AsyncClient
from .async_client import AsyncResponse as AsyncResponse
from .cli import FlaskCliRunner as FlaskCliRunner
from .client import EnvironBuilder as EnvironBuilder
from .client import FlaskClient as FlaskClient
from .connections import AsyncEventStream as AsyncEventStream
from .connections import AsyncWebSocketConnection as AsyncWebSocketConnection
from .connections import EventStream as EventStream
from .connections import EventStreamRefused as EventStreamRefused
from .connections import ReceivedEvent as ReceivedEvent
from .connections import WebSocketClosed as WebSocketClosed
from .connections import WebSocketConnection as WebSocketConnection
from .connections import WebSocketRefused as WebSocketRefused
from .lint import ConformanceError as ConformanceError
from .lint import lint_asgi as lint_asgi
from .lint import lint_rsgi as lint_rsgi
from .lint import lint_wsgi as lint_wsgi
from .protocols import asgi_as_wsgi as asgi_as_wsgi
from .protocols import rsgi_as_wsgi as rsgi_as_wsgi
