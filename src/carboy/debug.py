"""Help while developing: the switches in the environment, and the long explanations of common mistakes.

An explanation is built only when it is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.routing import RequestRedirect

from .context import _cv_request

if TYPE_CHECKING:
    from jinja2 import BaseLoader

    from .app import Carboy
    from .http.request import Request
    from .registry import Registry


def get_debug_flag() -> bool:
    """Return whether ``FLASK_DEBUG``, or ``CARBOY_DEBUG`` if that is unset, asks for debug mode.

    It does if it is set to anything but ``0``, ``false`` or ``no``.
    """
    value = os.environ.get("FLASK_DEBUG") or os.environ.get("CARBOY_DEBUG") or "no"
    return value.lower() not in {"0", "false", "no"}


def get_load_dotenv(default: bool = True) -> bool:
    """Return whether dotenv files are loaded: unless ``FLASK_SKIP_DOTENV`` in the environment says to skip them.

    Args:
        default: What to return if the variable is unset or empty.
    """
    skip = os.environ.get("FLASK_SKIP_DOTENV")
    return skip.lower() in {"0", "false", "no"} if skip else default


class UnexpectedUnicodeError(AssertionError, UnicodeError):
    """Text was found where bytes belong, or the reverse."""


class DebugFilesKeyError(KeyError, AssertionError):
    """A file was looked up in ``request.files``, but the form did not send any.

    Raised in debug mode, in place of the usual 400.

    Args:
        request: The request.
        key: The name that was looked up.
    """

    def __init__(self, request: Request, key: str) -> None:
        self.msg = (
            f"request.files has no file {key!r}: the request was sent as {request.mimetype!r} instead of"
            " 'multipart/form-data', so no file contents were transmitted."
            ' Put enctype="multipart/form-data" on the form.'
        )

        if names := request.form.getlist(key):
            self.msg += f"\n\nThe browser sent names only. This was submitted: {', '.join(map(repr, names))}"

        super().__init__(self.msg)

    def __str__(self) -> str:
        # KeyError would show the message's repr.
        return self.msg


class FormDataRoutingRedirect(AssertionError):
    """Routing wants to redirect a request that has a body, and browsers would drop the body.

    Raised in debug mode, for methods other than GET, HEAD and OPTIONS and redirects other than 307 and 308.

    Args:
        request: The request, with the redirect as its ``routing_exception``.
    """

    def __init__(self, request: Request) -> None:
        redirect = request.routing_exception
        assert isinstance(redirect, RequestRedirect)
        message = (
            f"A {request.method} request was sent to '{request.url}', but routing issued a redirect to the canonical"
            f" URL '{redirect.new_url}', where the browser would arrive without the form data."
        )

        if redirect.new_url.partition("?")[0] == f"{request.base_url}/":
            message += " The route ends with a slash; the request's URL does not."

        super().__init__(
            f"{message} Send the request to the canonical URL, or redirect with 307 or 308.\n\n"
            "This exception is only raised in debug mode."
        )


def attach_enctype_error_multidict(request: Request) -> None:
    """Make a failing lookup in ``request.files`` raise `DebugFilesKeyError` where the form has a field of that name."""
    files_class = type(request.files)

    class ExplainingFiles(files_class):  # type: ignore[misc,valid-type]
        def __getitem__(self, key: str) -> Any:
            try:
                return super().__getitem__(key)
            except KeyError as exc:
                if key not in request.form:
                    raise

                raise DebugFilesKeyError(request, key).with_traceback(exc.__traceback__) from None

    ExplainingFiles.__name__ = files_class.__name__
    ExplainingFiles.__module__ = files_class.__module__
    request.files.__class__ = ExplainingFiles


def _dump_loader_info(loader: BaseLoader) -> Iterator[str]:
    """Yield, line by line, the class of a template loader and those of its settings that are plain values."""
    yield f"class: {type(loader).__module__}.{type(loader).__name__}"

    for name, value in sorted(vars(loader).items()):
        if name.startswith("_"):
            continue

        if isinstance(value, str | int | float):
            yield f"{name}: {value!r}"
        elif isinstance(value, tuple | list) and all(isinstance(item, str) for item in value):
            yield f"{name}:"
            yield from (f"  - {item}" for item in value)


def explain_template_loading_attempts(
    app: Carboy,
    template: str,
    attempts: Sequence[tuple[BaseLoader, Registry, tuple[str, str | None, Callable[[], bool] | None] | None]],
) -> None:
    """Log, at level INFO, where a template was looked for and what was found.

    Args:
        app: The application, to whose logger the explanation goes.
        template: The template's name.
        attempts: For each loader asked: the loader, the application or blueprint it belongs to, and what it gave.
    """
    lines = [f"Locating template {template!r}:"]

    for number, (loader, owner, source) in enumerate(attempts, 1):
        if owner is app:
            described = f"application {app.import_name!r}"
        else:
            described = f"blueprint {owner.name!r} ({owner.import_name})"

        lines.append(f"{number:5}: trying loader of {described}")
        lines.extend(f"       {line}" for line in _dump_loader_info(loader))
        lines.append("       -> no match" if source is None else f"       -> found ({source[1] or '<string>'!r})")

    found = sum(source is not None for _loader, _owner, source in attempts)

    if found == 0:
        lines.append("Error: the template could not be found.")
    elif found > 1:
        lines.append("Warning: multiple loaders returned a match for the template.")

    ctx = _cv_request.get(None)

    if found != 1 and ctx is not None and ctx.request.blueprint is not None:
        lines.append(
            f"  The template was looked up from an endpoint that belongs to the blueprint {ctx.request.blueprint!r}."
        )
        lines.append("  Is it in that blueprint's template folder?")
        lines.append("  See https://flask.palletsprojects.com/blueprints/#templates")

    app.logger.info("\n".join(lines))
