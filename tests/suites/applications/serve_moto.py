"""moto's server mode for servers of any protocol.

Its own dispatcher, which takes each request to the Flask application of an AWS service, is WSGI only. Here it is asked
for the application, and the request is handed on in the protocol in which it came.
"""

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

wsgi = DomainDispatcherApplication(create_backend_app)


def _application(path, headers):
    names = {"host": "HTTP_HOST", "authorization": "HTTP_AUTHORIZATION", "x-amz-target": "HTTP_X_AMZ_TARGET"}
    return wsgi.get_application({"PATH_INFO": path} | {names[name]: value for name, value in headers if name in names})


async def asgi(scope, receive, send):
    """Hand on an ASGI request."""
    headers = [(name.decode(), value.decode("latin1")) for name, value in scope["headers"]]
    await _application(scope["path"], headers)(scope, receive, send)


class _RSGI:
    async def __rsgi__(self, scope, protocol):
        await _application(scope.path, scope.headers.items()).__rsgi__(scope, protocol)


rsgi = _RSGI()
