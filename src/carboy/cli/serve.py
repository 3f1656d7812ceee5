"""The command ``serve``: serve the application in production."""

from __future__ import annotations

import logging
import os
import sys
import typing as t

import click

from .discovery import ScriptInfo, pass_script_info

_LEVELS = ("critical", "error", "warning", "info", "debug")


class _Workers(click.ParamType):  # type: ignore[type-arg]  # Not generic in click 8.1.
    """A number of processes, or ``auto``."""

    name = "number|auto"

    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that *value* stands for."""
        if value == "auto":
            from ..server.resources import usable_cpus

            return usable_cpus()
        number: int = click.IntRange(min=1).convert(value, param, ctx)
        return number


class _Path(click.ParamType):  # type: ignore[type-arg]
    """The path of a URL."""

    name = "/path"

    def convert(self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return *value*, which begins with a slash."""
        text = str(value)
        if not text.startswith("/"):
            self.fail(f"{text!r} does not begin with a slash.", param, ctx)
        return text


def _option(*names: str, variables: t.Sequence[str] = (), **settings: t.Any) -> t.Callable[[t.Any], t.Any]:
    """Return a click option that ``CARBOY_<NAME>`` sets too, and other *variables* after it."""
    own = "CARBOY_" + names[0].removeprefix("--").partition("/")[0].replace("-", "_").upper()
    return click.option(*names, envvar=[own, *variables], show_envvar=True, **settings)


@click.command("serve", short_help="Run a production server.")
@_option("--host", "-h", default="127.0.0.1", show_default=True, help="The address to listen on.")
@_option(
    "--port",
    "-p",
    variables=["PORT"],
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="The port to listen on.",
)
@_option("--uds", type=click.Path(), help="Listen on this Unix socket instead.")
@_option(
    "--workers",
    "-w",
    variables=["WEB_CONCURRENCY"],
    type=_Workers(),
    default=1,
    show_default=True,
    help="How many processes; 'auto' takes one for each processor that this one may use, the limit of a container"
    " included.",
)
@_option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    help="How many threads of each worker run sync code. [default: 40; under WSGI 8]",
)
@_option(
    "--interface",
    type=click.Choice(("auto", "rsgi", "asgi", "wsgi")),
    default="auto",
    show_default=True,
    help="The protocol between server and application. 'auto' takes WSGI if all code is sync, ASGI if there are"
    " WebSockets, else RSGI.",
)
@_option(
    "--http",
    type=click.Choice(("auto", "1", "2")),
    default="auto",
    show_default=True,
    help="The versions of HTTP; 'auto' speaks both.",
)
@_option("--cert", type=click.Path(exists=True, dir_okay=False), help="Serve HTTPS with this certificate (PEM).")
@_option("--key", type=click.Path(exists=True, dir_okay=False), help="The file with the certificate's key (PEM).")
@_option("--access-log/--no-access-log", default=False, help="Log requests to the standard output.  [default: no]")
@_option(
    "--access-log-format",
    help="What a line of the access log says: a text with fields such as '%(method)s', or 'json'.",
)
@_option(
    "--log-level",
    type=click.Choice(_LEVELS),
    default="info",
    show_default=True,
    help="What the server itself logs, to the standard error.",
)
@_option(
    "--graceful-timeout",
    type=click.FloatRange(min=0.5),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a worker may take to stop. A fifth of it is kept for shutting the application down.",
)
@_option(
    "--drain-delay",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a stopping server still accepts, with its readiness at 503, so that a load balancer can notice.",
)
@_option(
    "--backlog",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    help="How many connections may wait to be accepted, for each worker.",
)
@_option(
    "--max-connections",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="How many connections each worker has open at once; more have to wait.",
)
@_option("--respawn/--no-respawn", default=True, help="Start a worker that ended anew, or end.  [default: respawn]")
@_option(
    "--max-memory",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Replace a worker that holds more memory, without a break.",
)
@_option(
    "--worker-lifetime",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Replace a worker that is older, without a break.",
)
@_option("--jobs/--no-jobs", default=False, help="Run background jobs in each worker, too.  [default: no]")
@_option("--liveness", type=_Path(), help="Answer this path with 200 while the process answers.")
@_option("--readiness", type=_Path(), help="Answer this path with 200, and with 503 once the server is stopping.")
@pass_script_info
def serve_command(
    info: ScriptInfo,
    /,
    host: str,
    port: int,
    uds: str | None,
    workers: int,
    respawn: bool,
    max_memory: int | None,
    worker_lifetime: float | None,
    log_level: str,
    cert: str | None,
    key: str | None,
    threads: int | None,
    jobs: bool,
    **options: t.Any,
) -> None:
    """Run a production server.

    Each worker process loads the application. SIGTERM and SIGINT stop the
    server: requests in flight finish, WebSockets and event streams are ended,
    'after_serving' functions run. A second one ends it at once. SIGHUP replaces
    all workers, and so loads changed code, without a break.

    Every option can be set in the environment.
    """
    if not hasattr(os, "fork"):
        raise click.ClickException("'carboy serve' needs a POSIX system. On Windows use granian itself.")
    if (cert is None) is not (key is None):
        raise click.UsageError("'--cert' and '--key' belong together: one of them is missing.")
    try:
        from ..server.production import ListenError, ProductionServer
        from ..server.worker import WorkerOptions
    except ModuleNotFoundError as error:
        raise click.ClickException(error.msg) from None
    _log_to_standard_error(log_level)
    if jobs:
        os.environ["CARBOY_EMBED_JOBS"] = "1"
    server = ProductionServer(
        worker=WorkerOptions(
            load=info.load_app,
            tls=None if cert is None or key is None else (os.path.abspath(cert), os.path.abspath(key)),
            threads=threads,
            **options,
        ),
        host=host,
        port=port,
        uds=uds,
        workers=workers,
        respawn=respawn,
        max_memory=max_memory,
        worker_lifetime=worker_lifetime,
        name=info.app_import_path or "the application",
    )
    try:
        exit_code = server.run()
    except ListenError as error:
        raise click.ClickException(str(error)) from None
    click.get_current_context().exit(exit_code)


def _log_to_standard_error(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S %z"))
    for name, lowest in (("carboy.server", level), ("_granian", level if level == "debug" else "warning")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(lowest.upper())
