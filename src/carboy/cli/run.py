"""The command ``run``: serve the application while it is being written."""

from __future__ import annotations

import os
import traceback
import typing as t

import click
import werkzeug.serving

from .. import concurrency, config
from ..debug import get_debug_flag
from . import dotenv
from .discovery import NoAppException, ScriptInfo, pass_script_info
from .groups import debug_option
from .params import CertParamType, SeparatedPathType, validate_key

if t.TYPE_CHECKING:
    import ssl

    from ..app import Carboy


def show_server_banner(debug: bool | None, app_import_path: str | None) -> None:
    """Print what is served; not again at each reload."""
    if werkzeug.serving.is_running_from_reloader():
        return
    if app_import_path is not None:
        click.echo(f" * Serving Carboy app '{app_import_path}'")
    if debug is not None:
        click.echo(f" * Debug mode: {'on' if debug else 'off'}")


def _load_app(info: ScriptInfo, reload: bool) -> Carboy:
    try:
        return info.load_app()
    except Exception as error:
        if not (reload or werkzeug.serving.is_running_from_reloader()):
            raise
        # A mistake in a file, probably just saved: show it, and go on watching for its correction.
        if werkzeug.serving.is_running_from_reloader():
            traceback.print_exc()
        elif isinstance(error, NoAppException) and not isinstance(error.__context__, ImportError):
            # A mistake in the command, which no reload corrects.
            raise
        return _failing_app(error)


def _failing_app(error: Exception) -> Carboy:
    from ..app import Carboy

    app = Carboy("carboy", static_folder=None)
    origin = error.__traceback__

    def raise_error(environ: t.Any, start_response: t.Any) -> t.Any:
        raise error.with_traceback(origin) from None

    app.wsgi_app = raise_error  # type: ignore[method-assign]
    return app


@click.command("run", short_help="Run a development server.")
@click.option("--host", "-h", default="127.0.0.1", help="The address to listen on.")
@click.option("--port", "-p", default=5000, help="The port to listen on.")
@click.option(
    "--interface",
    type=click.Choice(("auto", "wsgi", "asgi", "rsgi")),
    default="auto",
    show_default=True,
    help="The protocol between server and application. 'asgi' and 'rsgi' are served by granian, as in production, with"
    " WebSockets and HTTP/2; 'wsgi' by Werkzeug. 'auto' takes ASGI if there are WebSockets, else RSGI; and WSGI where"
    ' granian is not installed (pip install "carboy[server]").',
)
@click.option(
    "--cert",
    type=CertParamType(),
    help="Serve HTTPS with this certificate: a file, 'adhoc', or the import name of an SSLContext.",
    is_eager=True,
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    callback=validate_key,
    expose_value=False,
    help="The file with the certificate's key.",
)
@click.option(
    "--reload/--no-reload", default=None, help="Restart when a file changes. By default, if debug mode is on."
)
@click.option(
    "--debugger/--no-debugger",
    default=None,
    help="Show errors in the interactive debugger. By default, if debug mode is on.",
)
@click.option(
    "--with-threads/--without-threads",
    default=True,
    help="Serve each request in a thread of its own; only with '--interface wsgi'.",
)
@click.option(
    "--extra-files",
    default=None,
    type=SeparatedPathType(),
    help=f"More files whose change restarts the server, separated by {os.path.pathsep!r}.",
)
@click.option(
    "--exclude-patterns",
    default=None,
    type=SeparatedPathType(),
    help=f"Patterns (as of fnmatch) of files whose change is ignored, separated by {os.path.pathsep!r}.",
)
@pass_script_info
def run_command(
    info: ScriptInfo,
    host: str,
    port: int,
    interface: t.Literal["auto", "wsgi", "asgi", "rsgi"],
    reload: bool | None,
    debugger: bool | None,
    with_threads: bool,
    cert: ssl.SSLContext | tuple[str, str] | t.Literal["adhoc"] | None,
    extra_files: list[str] | None,
    exclude_patterns: list[str] | None,
) -> None:
    """Run a local development server.

    It is made for development only: it is neither as safe nor as fast nor as
    stable as a server for production. With '--debug' it restarts when a file
    changes, and shows errors in an interactive debugger.
    """
    # A worker of its own would be one more thing to start, and to forget.
    os.environ.setdefault("CARBOY_EMBED_JOBS", "1")
    debug = get_debug_flag()
    reload = debug if reload is None else reload
    debugger = debug if debugger is None else debugger
    app = _load_app(info, reload)
    show_server_banner(debug, info.app_import_path)
    if interface == "auto":
        interface = _choose(app, with_threads, cert)
    elif interface != "wsgi" and not with_threads:
        raise click.UsageError(f"'--without-threads' cannot be used with '--interface {interface}'.")
    elif interface != "wsgi" and not isinstance(cert, tuple | str | None):
        raise click.UsageError(f"An SSLContext as '--cert' cannot be used with '--interface {interface}'.")

    watched = [*(extra_files or ()), *config.files, *dotenv.files]
    if reload:
        if app.config["TEMPLATES_AUTO_RELOAD"] is None:
            app.jinja_env.auto_reload = True
        if not werkzeug.serving.is_running_from_reloader():
            # The process that serves is started from this one, and loads them itself.
            dotenv.forget()
    if interface == "wsgi":
        _run_werkzeug(
            app,
            host,
            port,
            use_reloader=reload,
            use_debugger=debugger,
            threaded=with_threads,
            ssl_context=cert,
            extra_files=watched,
            exclude_patterns=exclude_patterns,
        )
        return
    try:
        from ..server.development import DevelopmentServer
    except ModuleNotFoundError as error:
        raise click.ClickException(error.msg) from None
    DevelopmentServer(
        app=app,
        interface=interface,
        host=host,
        port=port,
        reload=reload,
        debugger=debugger,
        cert=t.cast(t.Any, cert),
        extra_files=watched,
        exclude_patterns=exclude_patterns or (),
    ).run()


def _choose(app: Carboy, with_threads: bool, cert: t.Any) -> t.Literal["wsgi", "asgi", "rsgi"]:
    """Return the protocol to serve with where none was asked for."""
    if not with_threads or not isinstance(cert, tuple | str | None):
        return "wsgi"
    try:
        import granian  # noqa: F401
    except ModuleNotFoundError:
        if not werkzeug.serving.is_running_from_reloader():
            click.secho(
                " * granian is not installed: WebSockets and HTTP/2 are not served. To have them:"
                ' pip install "carboy[server]"',
                fg="yellow",
                err=True,
            )
        return "wsgi"
    from ..server.interface import choose_interface

    return "asgi" if choose_interface(app)[0] == "asgi" else "rsgi"


def _run_werkzeug(app: Carboy, host: str, port: int, **options: t.Any) -> None:
    from ..server.accesslog import DevelopmentRequestHandler
    from ..server.blocking import BlockingWatch
    from ..server.debugger import CONSOLE_IS_OFF, is_loopback

    console = not options["use_debugger"] or is_loopback(host)
    if not console and not werkzeug.serving.is_running_from_reloader():
        click.secho(CONSOLE_IS_OFF.format(host), fg="yellow", err=True)
    watch = BlockingWatch(lambda: concurrency._background_loop, app.logger)
    if app.debug:
        watch.start()
    try:
        # Looked up when called, so that it can be replaced.
        werkzeug.serving.run_simple(
            host, port, app, use_evalex=console, request_handler=DevelopmentRequestHandler, **options
        )
    finally:
        watch.stop()


run_command.params.insert(0, debug_option)
