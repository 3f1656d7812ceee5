"""Functions for views that act on the current application."""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import abort as _werkzeug_abort
from werkzeug.utils import redirect as _werkzeug_redirect

from .context import _cv_app, current_app_context

if t.TYPE_CHECKING:
    from werkzeug.wrappers import Response as WerkzeugResponse

    from .http import Response


def make_response(*args: t.Any) -> Response:
    """Return a response made of what a view might return, to add headers to.

    Several arguments are taken as a tuple (body, status, headers); none gives an
    empty response.
    """
    app = current_app_context().app
    if not args:
        return app.response_class()
    return app.make_response(args[0] if len(args) == 1 else args)


def url_for(
    endpoint: str,
    *,
    _anchor: str | None = None,
    _method: str | None = None,
    _scheme: str | None = None,
    _external: bool | None = None,
    **values: t.Any,
) -> str:
    """Build a URL for an endpoint; see :meth:`carboy.Carboy.url_for`."""
    return current_app_context().app.url_for(
        endpoint, _anchor=_anchor, _method=_method, _scheme=_scheme, _external=_external, **values
    )


def redirect(location: str, code: int = 302, Response: type[WerkzeugResponse] | None = None) -> WerkzeugResponse:
    """Return a redirect; see :meth:`carboy.Carboy.redirect`.

    Args:
        Response: The class to use where no application is active.
    """
    ctx = _cv_app.get(None)
    return _werkzeug_redirect(location, code, Response) if ctx is None else ctx.app.redirect(location, code=code)


def abort(code: int | WerkzeugResponse, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
    """End the request with an HTTP error, or with a response.

    Raises:
        HTTPException: Always; which one, the application's ``aborter`` knows.
    """
    ctx = _cv_app.get(None)
    if ctx is not None:
        ctx.app.aborter(code, *args, **kwargs)
    _werkzeug_abort(code, *args, **kwargs)


def get_template_attribute(template_name: str, attribute: str) -> t.Any:
    """Return a macro or variable that a template exports."""
    return getattr(current_app_context().app.jinja_env.get_template(template_name).module, attribute)
