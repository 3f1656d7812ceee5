"""Types of option values that click does not have."""

from __future__ import annotations

import typing as t

import click
from werkzeug.utils import import_string


class CertParamType(click.ParamType):  # type: ignore[type-arg]  # Not generic in click 8.1.
    """A certificate: a file, ``adhoc``, or the import name of an SSL context.

    The value is the file's full path, the text ``adhoc``, or the
    :class:`ssl.SSLContext`.
    """

    name = "path"

    def __init__(self) -> None:
        self.path_type = click.Path(exists=True, dir_okay=False, resolve_path=True)

    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> t.Any:
        """Return the certificate that the text *value* stands for."""
        try:
            import ssl
        except ImportError:
            raise click.BadParameter("This Python was built without SSL, which '--cert' needs.", ctx, param) from None

        try:
            return self.path_type(value, param, ctx)
        except click.BadParameter:
            name = click.STRING(value, param, ctx)
            if name.lower() == "adhoc":
                return self._adhoc(param, ctx)
            context = import_string(name, silent=True)
            if isinstance(context, ssl.SSLContext):
                return context
            raise

    def _adhoc(self, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            import cryptography  # noqa: F401
        except ImportError:
            raise click.BadParameter(
                "An 'adhoc' certificate is made with the package cryptography: pip install cryptography", ctx, param
            ) from None
        return "adhoc"


def validate_key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check ``--key`` against ``--cert``, which becomes a pair of files."""
    cert = ctx.params.get("cert")
    is_file = isinstance(cert, str) and cert != "adhoc"
    if value is None:
        if is_file:
            raise click.BadParameter("Needed with '--cert' and a certificate's file.", ctx, param)
    elif is_file:
        ctx.params["cert"] = cert, value
    elif cert is None:
        raise click.BadParameter("'--cert' is missing.", ctx, param)
    else:
        raise click.BadParameter("Only used if '--cert' is a certificate's file.", ctx, param)
    return value


class SeparatedPathType(click.Path):
    """Several paths in one value, separated as in ``PATH``; gives a list."""

    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> t.Any:
        """Return each path, checked."""
        convert = super().convert
        return [convert(item, param, ctx) for item in self.split_envvar_value(value)]
