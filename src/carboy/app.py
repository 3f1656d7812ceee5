"""The application: configuration, Flask's overridable methods, the protocol entries.

The only module that knows the protocols. Its methods are thin: what a request
does is in ``engine.py`` and ``errors.py``, what is registered in ``registry.py``.
Methods that Flask lets applications override take the context as an optional
first argument (Flask 3.2); overriding them works with and without it (3.1).
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import typing as t
import warnings
import weakref
from datetime import timedelta
from urllib.parse import quote

from werkzeug.datastructures import ImmutableDict
from werkzeug.exceptions import Aborter, BadRequest, BadRequestKeyError, HTTPException
from werkzeug.routing import BuildError, MapAdapter, RequestRedirect, Rule
from werkzeug.utils import cached_property
from werkzeug.utils import redirect as werkzeug_redirect
from werkzeug.wsgi import get_host

from . import engine, errors
from . import typing as ct
from .blueprint import Blueprint
from .concurrency import as_sync, is_async, step
from .config import Config, ConfigAttribute
from .context import (
    AppContext,
    RequestContext,
    _AppCtxGlobals,
    _cv_app,
    _cv_request,
    _default_template_ctx_processor,
    _sentinel,
    current_app_context,
    current_request_context,
)
from .debug import get_debug_flag, get_load_dotenv
from .flash import get_flashed_messages
from .http import Request, Response
from .http.form import MAX_FORM_FIELDS
from .json.provider import DefaultJSONProvider, JSONProvider
from .lazy import imported, lazy
from .lifecycle import Lifecycle
from .logging import create_logger
from .paths import find_package
from .plan import Profile
from .protocols import wsgi
from .proxies import g, request, session
from .registry import HookList, HookTable, Registry, _endpoint_from_view_func, named_decorator, setupmethod
from .results import to_response
from .routing import Map, check_host
from .sessions import SecureCookieSessionInterface, SessionInterface

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.wrappers import Response as WerkzeugResponse

    from .http.websocket import WebSocket
    from .jobs import Jobs
    from .templating import DispatchingJinjaLoader, Environment
    from .testing import AsyncClient, FlaskClient, FlaskCliRunner

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
T = t.TypeVar("T")
P = t.ParamSpec("P")


def _make_timedelta(value: t.Any) -> t.Any:
    return value if value is None or isinstance(value, timedelta) else timedelta(seconds=value)


def _context_first(method: t.Callable[..., T]) -> t.Callable[..., T]:
    """Let *method*, which takes the context, be called without it (Flask 3.1)."""
    current: t.Callable[[], t.Any] = {
        "do_teardown_appcontext": current_app_context,
        "update_template_context": lambda: _cv_request.get(None),
    }.get(method.__name__, current_request_context)

    @functools.wraps(method)
    def wrapper(self: Carboy, *args: t.Any, **kwargs: t.Any) -> T:
        if args and isinstance(args[0], AppContext):
            return method(self, *args, **kwargs)
        return method(self, current(), *args, **kwargs)

    signature = inspect.signature(method)
    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter for name, parameter in signature.parameters.items() if name != "ctx"]
    )
    return wrapper


class Carboy(Registry):
    """An application: WSGI, ASGI and RSGI at once. Also importable as ``Flask``.

    Args:
        import_name: Usually ``__name__``: finds resources, names the logger.
        static_url_path: URL prefix of static files; by default the folder's name.
        static_folder: Folder of static files; None for none.
        static_host: Host of the static route; required with *host_matching*.
        host_matching: Match routes by host.
        subdomain_matching: Match routes by subdomain of ``SERVER_NAME``.
        template_folder: Folder of templates.
        instance_path: Absolute folder for what belongs to one deployment.
        instance_relative_config: Load configuration files from there.
        root_path: Where the package lies; found from *import_name* by default.

    Example::

        app = Carboy(__name__)


        @app.get("/hello/<name>")
        async def hello(name):
            return {"hello": name}
    """

    default_config: dict[str, t.Any] = ImmutableDict(
        {
            "DEBUG": None,
            "TESTING": False,
            "PROPAGATE_EXCEPTIONS": None,
            "SECRET_KEY": None,
            "SECRET_KEY_FALLBACKS": None,
            "PERMANENT_SESSION_LIFETIME": timedelta(days=31),
            "USE_X_SENDFILE": False,
            "TRUSTED_HOSTS": None,
            "SERVER_NAME": None,
            "APPLICATION_ROOT": "/",
            "SESSION_COOKIE_NAME": "session",
            "SESSION_COOKIE_DOMAIN": None,
            "SESSION_COOKIE_PATH": None,
            "SESSION_COOKIE_HTTPONLY": True,
            "SESSION_COOKIE_SECURE": False,
            "SESSION_COOKIE_PARTITIONED": False,
            "SESSION_COOKIE_SAMESITE": None,
            "SESSION_REFRESH_EACH_REQUEST": True,
            "MAX_CONTENT_LENGTH": None,
            "MAX_FORM_MEMORY_SIZE": 500_000,
            "MAX_FORM_PARTS": 1_000,
            "MAX_FORM_FIELDS": MAX_FORM_FIELDS,
            "SEND_FILE_MAX_AGE_DEFAULT": None,
            "TRAP_BAD_REQUEST_ERRORS": None,
            "TRAP_HTTP_EXCEPTIONS": False,
            "EXPLAIN_TEMPLATE_LOADING": False,
            "PREFERRED_URL_SCHEME": "http",
            "TEMPLATES_AUTO_RELOAD": None,
            "MAX_COOKIE_SIZE": 4093,
            "WEBSOCKET_ALLOWED_ORIGINS": None,
            "WEBSOCKET_IDLE_TIMEOUT": None,
            "WEBSOCKET_MAX_MESSAGE_SIZE": 1024 * 1024,
            "PROVIDE_AUTOMATIC_OPTIONS": True,
            "REQUEST_TIMEOUT": None,
            "BACKGROUND_TASKS_LIMIT": 1_000,
            "BACKGROUND_TASK_THREADS": 8,
            "BACKGROUND_TASK_TIMEOUT": 10.0,
        }
    )

    request_class: type[Request] = Request
    response_class: type[Response] = Response
    websocket_class: type[WebSocket] | None = None
    """Class of WebSockets; None for :class:`carboy.WebSocket`."""

    session_interface: SessionInterface = SecureCookieSessionInterface()
    aborter_class = Aborter
    # Jinja is 2 MiB, and a sixth of the time to start, that an application without templates does not need.
    jinja_environment: type[Environment] = t.cast("t.Any", imported("carboy.templating", "Environment"))
    app_ctx_globals_class = _AppCtxGlobals
    config_class = Config
    json_provider_class: type[JSONProvider] = DefaultJSONProvider
    url_rule_class = Rule
    url_map_class = Map
    test_client_class: type[FlaskClient] | None = None
    test_cli_runner_class: type[FlaskCliRunner] | None = None

    jinja_options: dict[str, t.Any] = {}  # noqa: RUF012 - replaced, never changed
    """Options for the Jinja environment."""

    testing = ConfigAttribute[bool]("TESTING")
    secret_key = ConfigAttribute[t.Union[str, bytes, None]]("SECRET_KEY")  # noqa: UP007
    permanent_session_lifetime = ConfigAttribute[timedelta]("PERMANENT_SESSION_LIFETIME", get_converter=_make_timedelta)

    _profile: Profile | None = None
    _got_first_request = False

    def __init__(
        self,
        import_name: str,
        static_url_path: str | None = None,
        static_folder: str | os.PathLike[str] | None = "static",
        static_host: str | None = None,
        host_matching: bool = False,
        subdomain_matching: bool = False,
        template_folder: str | os.PathLike[str] | None = "templates",
        instance_path: str | None = None,
        instance_relative_config: bool = False,
        root_path: str | None = None,
    ) -> None:
        super().__init__(import_name, static_folder, static_url_path, template_folder, root_path)
        if instance_path is None:
            instance_path = self.auto_find_instance_path()
        elif not os.path.isabs(instance_path):
            raise ValueError("'instance_path' must be absolute; a relative path was given instead.")
        self.instance_path = instance_path
        self.config = self.make_config(instance_relative_config)
        self.aborter = self.make_aborter()
        self.json: JSONProvider = self.json_provider_class(self)
        self.url_build_error_handlers: list[t.Callable[[Exception, str, dict[str, t.Any]], str]] = []
        self.teardown_appcontext_funcs: list[ct.TeardownCallable] = HookList(self._version)
        self.shell_context_processors: list[ct.ShellContextProcessorCallable] = []
        self.blueprints: dict[str, Blueprint] = {}
        self.extensions: dict[str, t.Any] = {}
        self.url_map = self.url_map_class(host_matching=host_matching)
        self.subdomain_matching = subdomain_matching

        # For servers that look at an application to see what it is: Python itself never calls an instance's __call__.
        this = weakref.ref(self)

        async def asgi_app(scope: t.Any, receive: t.Any, send: t.Any) -> None:
            await t.cast(Carboy, this()).asgi_app(scope, receive, send)

        self.__dict__["__call__"] = asgi_app
        _accept_asgi_calls(type(self))

        if self.has_static_folder:
            if bool(static_host) != host_matching:
                # COMPAT: an AssertionError in Flask 3.1.
                raise AssertionError(
                    "Invalid static_host/host_matching combination: with 'host_matching=True' the static route needs"
                    " 'static_host', without it must not have one."
                )

            # Not a bound method: the application would hold itself.
            def static(**kwargs: t.Any) -> Response:
                return t.cast(Carboy, this()).send_static_file(**kwargs)

            # COMPAT: by this name applications exempt it from their checks, of CSRF tokens for example.
            static.__module__, static.__name__ = "flask.app", "<lambda>"
            self.add_url_rule(f"{self.static_url_path}/<path:filename>", "static", static, host=static_host)

    def __setattr__(self, name: str, value: t.Any) -> None:
        if name in _WATCHED and "_version" in self.__dict__:
            self._version.number += 1
            table = self.__dict__.get(name)
            if isinstance(table, HookTable) and not isinstance(value, HookTable):
                value, items = HookTable(self._version, table.of_lists), value
                value.update(items)
            elif isinstance(table, HookList) and not isinstance(value, HookList):
                value = HookList(self._version, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in _WATCHED:
            self._version.number += 1

    def _find_overrides(self) -> dict[str, bool]:
        """Return the overridden methods; and for each, whether it takes the context."""
        overridden = {}
        for name, original in _ORIGINALS.items():
            method = self.__dict__.get(name)
            if method is None:
                method = getattr(type(self), name)
                if method is original:
                    continue
                overridden[name] = _takes_context(method, skip=1)
            elif getattr(method, "__func__", None) is not original:
                overridden[name] = _takes_context(method, skip=0)
        if hasattr(type(self).__call__, "wsgi_only"):
            overridden["__call__"] = False
        return overridden

    def is_overridden(self, name: str) -> bool:
        """Return whether a subclass, or somebody on this object, replaced a method."""
        return name in engine.profile_of(self).overridden

    def _call_override(self, name: str, ctx: AppContext, *args: t.Any, **kwargs: t.Any) -> t.Any:
        method = getattr(self, name)
        takes_context = engine.profile_of(self).overridden.get(name)
        return method(ctx, *args, **kwargs) if takes_context else method(*args, **kwargs)

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_first_request:
            raise AssertionError(
                f"The setup method '{f_name}' can no longer be called on the application. It has already handled its"
                " first request, any changes will not be applied consistently.\nMake sure all imports, decorators,"
                " functions, etc. needed to set up the application are done before running it."
            )

    # -- Parts of the application ------------------------------------------------

    @cached_property
    def name(self) -> str:
        """The import name, or for a script the name of its file."""
        if self.import_name != "__main__":
            return self.import_name
        file = getattr(sys.modules["__main__"], "__file__", None)
        return "__main__" if file is None else os.path.splitext(os.path.basename(file))[0]

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger named like the application."""
        return create_logger(self)

    @cached_property
    def jinja_env(self) -> Environment:
        """The Jinja environment, made at first use."""
        return self.create_jinja_environment()

    @property
    def debug(self) -> bool:
        """Whether debug mode is on: the ``DEBUG`` setting."""
        debug: bool = self.config["DEBUG"]
        return debug

    @debug.setter
    def debug(self, value: bool) -> None:
        self.config["DEBUG"] = value
        if self.config["TEMPLATES_AUTO_RELOAD"] is None:
            self.jinja_env.auto_reload = value

    def make_config(self, instance_relative: bool = False) -> Config:
        """Return the configuration that the application starts with."""
        defaults = {**self.default_config, "DEBUG": get_debug_flag()}
        return self.config_class(self.instance_path if instance_relative else self.root_path, defaults)

    def make_aborter(self) -> Aborter:
        """Return what ``abort`` calls."""
        return self.aborter_class()

    def auto_find_instance_path(self) -> str:
        """Return the folder for what belongs to one deployment."""
        prefix, package_path = find_package(self.import_name)
        if prefix is None:
            return os.path.join(package_path, "instance")
        return os.path.join(prefix, "var", f"{self.name}-instance")

    def open_resource(self, resource: str, mode: str = "rb", encoding: str | None = None) -> t.IO[t.Any]:
        """Open a file beside the code; see :meth:`Registry.open_resource`."""
        return super().open_resource(resource, mode, encoding)

    def open_instance_resource(self, resource: str, mode: str = "rb", encoding: str | None = "utf-8") -> t.IO[t.Any]:
        """Open a file in the instance folder; it may be written."""
        return open(os.path.join(self.instance_path, resource), mode, encoding=None if "b" in mode else encoding)

    def create_jinja_environment(self) -> Environment:
        """Return the Jinja environment: autoescape, reload and globals set."""
        options = dict(self.jinja_options)
        options.setdefault("autoescape", self.select_jinja_autoescape)
        if "auto_reload" not in options:
            auto_reload = self.config["TEMPLATES_AUTO_RELOAD"]
            options["auto_reload"] = self.debug if auto_reload is None else auto_reload
        environment = self.jinja_environment(self, **options)
        environment.globals.update(
            url_for=self.url_for,
            get_flashed_messages=get_flashed_messages,
            config=self.config,
            request=request,
            session=session,
            g=g,
        )
        environment.policies["json.dumps_function"] = self.json.dumps
        return environment

    def create_global_jinja_loader(self) -> DispatchingJinjaLoader:
        """Return the loader that asks the application, then its blueprints."""
        from .templating import DispatchingJinjaLoader

        return DispatchingJinjaLoader(self)

    def select_jinja_autoescape(self, filename: str | None) -> bool:
        """Return whether values are escaped in the template of this name."""
        return filename is None or filename.endswith((".html", ".htm", ".xml", ".xhtml", ".svg"))

    # -- Registration ------------------------------------------------------------

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Register *blueprint*.

        Args:
            options: ``url_prefix``, ``subdomain``, ``url_defaults``, ``name``,
                ``cli_group``, which take precedence over the blueprint's own.

        Raises:
            ValueError: A blueprint of that name is registered already.
        """
        blueprint.register(self, options)

    def iter_blueprints(self) -> t.ValuesView[Blueprint]:
        """Return the blueprints in the order they were registered."""
        return self.blueprints.values()

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ct.RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a URL.

        Args:
            rule: The URL, with variables such as ``<int:id>``.
            endpoint: Name of the route; by default the view's.
            view_func: The view; may be registered apart with :meth:`endpoint`.
            provide_automatic_options: Whether to answer ``OPTIONS``.
            options: Those of :class:`werkzeug.routing.Rule`, ``methods``, and

                - ``run``: where a sync view runs under ASGI and RSGI.
                  ``"thread"`` (default), or ``"loop"`` for one that does not block.
                - ``stream_body``: give the view the body as it arrives.
                - ``timeout``: seconds that hooks and view may take before the
                  answer is 503; None for no limit. By default
                  ``REQUEST_TIMEOUT``. See docs/async.md for what can be stopped.

        Raises:
            TypeError: *methods* is a string.
            ValueError: *run* is something else, or *timeout* is not positive.
            AssertionError: The endpoint has another view already.
        """
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)
        run = options.pop("run", "thread")
        if run not in {"thread", "loop"}:
            raise ValueError(f"'run' must be 'thread' or 'loop', not {run!r} (endpoint {endpoint!r}).")
        stream_body = bool(options.pop("stream_body", False))
        timeout = options.pop("timeout", _sentinel)
        if timeout is not _sentinel and timeout is not None and timeout <= 0:
            raise ValueError(f"'timeout' is a number of seconds, or None; not {timeout!r} (endpoint {endpoint!r}).")
        methods = options.pop("methods", None)
        if methods is None:
            methods = getattr(view_func, "methods", None) or ("GET",)
        if isinstance(methods, str):
            raise TypeError('Allowed methods must be a list of strings, for example: @app.route(..., methods=["POST"])')
        allowed = {method.upper() for method in methods}
        if provide_automatic_options is None:
            provide_automatic_options = getattr(view_func, "provide_automatic_options", None)
        required = set(getattr(view_func, "required_methods", ()))
        if provide_automatic_options is None:
            provide_automatic_options = "OPTIONS" not in allowed and self.config["PROVIDE_AUTOMATIC_OPTIONS"]
            if provide_automatic_options:
                required.add("OPTIONS")
        rule_object: t.Any = self.url_rule_class(rule, methods=allowed | required, endpoint=endpoint, **options)
        rule_object.provide_automatic_options = provide_automatic_options
        rule_object.run = run
        rule_object.stream_body = stream_body
        if timeout is not _sentinel:
            rule_object.timeout = timeout
        self.url_map.add(rule_object)
        if view_func is not None:
            other = self.view_functions.get(endpoint)
            if other is not None and other != view_func:
                raise AssertionError(
                    f"View function mapping is overwriting an existing endpoint function: {endpoint}. Give one of the"
                    " two routes another name with 'endpoint='."
                )
            self.view_functions[endpoint] = view_func

    @setupmethod
    def template_filter(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template filter."""
        return named_decorator(self.add_template_filter, name)

    @setupmethod
    def add_template_filter(self, f: ct.TemplateFilterCallable, name: str | None = None) -> None:
        """Register *f* as a template filter, by default under its own name."""
        self.jinja_env.filters[name or f.__name__] = f

    @setupmethod
    def template_test(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template test."""
        return named_decorator(self.add_template_test, name)

    @setupmethod
    def add_template_test(self, f: ct.TemplateTestCallable, name: str | None = None) -> None:
        """Register *f* as a template test, by default under its own name."""
        self.jinja_env.tests[name or f.__name__] = f

    @setupmethod
    def template_global(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template global."""
        return named_decorator(self.add_template_global, name)

    @setupmethod
    def add_template_global(self, f: ct.TemplateGlobalCallable, name: str | None = None) -> None:
        """Register *f* as a template global, by default under its own name."""
        self.jinja_env.globals[name or f.__name__] = f

    @setupmethod
    def teardown_appcontext(self, f: F) -> F:
        """Call *f* with the exception or None when an application context is left."""
        self.teardown_appcontext_funcs.append(f)
        return f

    @setupmethod
    def shell_context_processor(self, f: F) -> F:
        """Give the shell the variables in the dict that *f* returns."""
        self.shell_context_processors.append(f)
        return f

    # -- Jobs ----------------------------------------------------------------------

    def job(self, func: t.Any = None, /, **options: t.Any) -> t.Any:
        """Make a background job of a function; see ``carboy.jobs``, whose `Jobs.job` this is.

        Raises:
            ModuleNotFoundError: ``carboy[jobs]`` is not installed.
        """
        return self._jobs().job(func, **options)

    def schedule(self, cron: str | None = None, **options: t.Any) -> t.Any:
        """Queue a job at certain times; see `Jobs.schedule` of ``carboy.jobs``.

        Raises:
            ModuleNotFoundError: ``carboy[jobs]`` is not installed.
        """
        return self._jobs().schedule(cron, **options)

    def _jobs(self) -> Jobs:
        from .jobs import Jobs

        state = self.extensions.get("carboy.jobs")
        return Jobs(self) if state is None else state.jobs

    # -- The process ---------------------------------------------------------------

    @lazy
    def lifecycle(self) -> Lifecycle:
        """The start and the end of the application in this process."""
        return Lifecycle(self)

    def add_background_task(self, func: t.Callable[P, t.Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call *func*, sync or async, after the response to the current request was sent.

        Without a request, or from a WebSocket, it starts at once. It runs in a
        context of its own, with ``request``, ``session`` and ``g`` as the request
        left them; then the ``teardown_appcontext`` functions run. What it raises is
        logged. At shutdown the server waits for it, ``BACKGROUND_TASK_TIMEOUT``
        seconds at most.

        Args:
            func: A sync one runs in a thread, an async one on the event loop.
            args: For *func*.
            kwargs: For *func*.

        Raises:
            TooManyBackgroundTasks: ``BACKGROUND_TASKS_LIMIT`` tasks are waiting or
                running in this process.
            RuntimeError: The application has been shut down.
            TypeError: *func* is not a function, or a generator function.
        """
        self.lifecycle.tasks.add(func, args, kwargs)

    # -- Calling user functions ----------------------------------------------------

    def ensure_sync(self, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        """Return *func*, wrapped to be called from sync code if it is async."""
        return self.async_to_sync(func) if is_async(func) else func

    def async_to_sync(self, func: t.Callable[..., t.Coroutine[t.Any, t.Any, t.Any]]) -> t.Callable[..., t.Any]:
        """Return a sync function that runs *func* on the process's loop and waits."""
        return as_sync(func)

    def make_shell_context(self) -> dict[str, t.Any]:
        """Return the variables that an interactive shell starts with."""
        context: dict[str, t.Any] = {"app": self, "g": g}
        for processor in self.shell_context_processors:
            context.update(processor())
        return context

    @_context_first
    def update_template_context(self, ctx: AppContext | None, context: dict[str, t.Any]) -> None:
        """Add to a template's variables what the context processors return.

        What the dict has already is kept.
        """
        names: tuple[str | None, ...] = (None,)
        if isinstance(ctx, RequestContext):
            names = (None, *reversed(ctx.request.blueprints))
        given = context.copy()
        for name in names:
            for processor in self.template_context_processors.get(name, ()):
                # PERF: whether the stock one is async needs no looking up.
                is_stock = processor is _default_template_ctx_processor
                call: t.Any = processor if is_stock else self.ensure_sync(processor)
                context.update(call())
        context.update(given)

    # -- URLs --------------------------------------------------------------------

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches and builds URLs, for a request or without one.

        None without a request if ``SERVER_NAME`` is not set.

        Raises:
            SecurityError: The request's host is not one of ``TRUSTED_HOSTS``.
            BadRequest: The request's ``Host`` header is not a host name.
        """
        server_name = self.config["SERVER_NAME"]
        if request is None:
            if server_name is None:
                return None
            return self.url_map.bind(
                server_name,
                script_name=self.config["APPLICATION_ROOT"],
                url_scheme=self.config["PREFERRED_URL_SCHEME"],
            )
        trusted_hosts = self.config["TRUSTED_HOSTS"]
        if trusted_hosts is not None:
            request.trusted_hosts = trusted_hosts
        environ = request.environ
        host = request.host = get_host(environ, request.trusted_hosts)
        if not host:
            check_host(environ.get("HTTP_HOST") or "", None)
        subdomain = None
        if self.url_map.host_matching:
            server_name = None
        elif not self.subdomain_matching:
            subdomain = self.url_map.default_subdomain or ""
        elif server_name is not None:
            subdomain = _subdomain(host, server_name, environ["wsgi.url_scheme"])
        return self.url_map.bind_to_environ(environ, server_name=server_name, subdomain=subdomain)

    def url_for(
        self,
        /,
        endpoint: str,
        *,
        _anchor: str | None = None,
        _method: str | None = None,
        _scheme: str | None = None,
        _external: bool | None = None,
        **values: t.Any,
    ) -> str:
        """Build the URL for an endpoint.

        Args:
            endpoint: Name of the route; ``".name"`` is relative to the request's
                blueprint.
            _anchor: The part after ``#``.
            _method: Of the rules for the endpoint, one that takes this method.
            _scheme: URL scheme; makes the URL external.
            _external: Whether to put scheme and host before the path; by default
                not in a request, and yes outside one.
            values: Variables of the rule; others go into the query string.

        Raises:
            BuildError: There is no such endpoint, a value is missing, and no
                ``url_build_error_handlers`` helped.
            RuntimeError: Outside a request, and ``SERVER_NAME`` is not set.
            ValueError: *_scheme* with ``_external=False``.
        """
        ctx = _cv_request.get(None)
        adapter: MapAdapter | None = None
        if ctx is not None:
            if endpoint[:1] == ".":
                blueprint = ctx.request.blueprint
                endpoint = endpoint[1:] if blueprint is None else f"{blueprint}{endpoint}"
            if _external is None:
                _external = _scheme is not None
        else:
            app_ctx = _cv_app.get(None)
            adapter = self.create_url_adapter(None) if app_ctx is None else app_ctx.url_adapter
            if adapter is None:
                raise RuntimeError(
                    "Unable to build URLs outside an active request without 'SERVER_NAME' configured. Also configure"
                    " 'APPLICATION_ROOT' and 'PREFERRED_URL_SCHEME' as needed."
                )
            if _external is None:
                _external = True
        if _scheme is not None and not _external:
            raise ValueError("When specifying '_scheme', '_external' must be True.")
        self.inject_url_defaults(endpoint, values)
        try:
            if adapter is not None:
                url = adapter.build(endpoint, values, method=_method, url_scheme=_scheme, force_external=_external)
            else:
                url = self._url_in_request(ctx, endpoint, values, _method, _scheme, _external)
        except BuildError as error:
            values.update(_anchor=_anchor, _method=_method, _scheme=_scheme, _external=_external)
            return self.handle_url_build_error(error, endpoint, values)
        return url if _anchor is None else f"{url}#{quote(_anchor, safe='%!#$&' + chr(39) + '()*+,/:;=?@')}"

    def _url_in_request(
        self,
        ctx: t.Any,
        endpoint: str,
        values: dict[str, t.Any],
        method: str | None,
        scheme: str | None,
        external: bool,
    ) -> str:
        request: Request = ctx.request
        profile = self._profile
        # PERF: without an adapter. A request with a rule came by a host that is one; an adapter that is there already
        # may be somebody's own.
        if (
            not external
            and request.url_rule is not None
            and profile is not None
            and profile.router is not None
            and profile.version == self._version.number
            and "url_adapter" not in ctx.__dict__
        ):
            path = self.url_map.build_path(endpoint, values, method, request.method)
            if path is not None:
                return f"{request.root_path}/{path.lstrip('/')}"
        adapter: MapAdapter | None = ctx.url_adapter
        if adapter is None:
            raise BuildError(endpoint, values, method)
        return adapter.build(endpoint, values, method=method, url_scheme=scheme, force_external=external)

    def inject_url_defaults(self, endpoint: str, values: dict[str, t.Any]) -> None:
        """Let the ``url_defaults`` functions add to *values*."""
        if not self.url_default_functions:
            return
        names: list[str | None] = [None]
        parts = endpoint.split(".")[:-1]
        names += [".".join(parts[: n + 1]) for n in range(len(parts))]
        for name in names:
            for function in self.url_default_functions.get(name, ()):
                function(endpoint, values)

    def handle_url_build_error(self, error: BuildError, endpoint: str, values: dict[str, t.Any]) -> str:
        """Return the URL that one of ``url_build_error_handlers`` has.

        Raises:
            BuildError: None of them has one.
        """
        for handler in self.url_build_error_handlers:
            try:
                url = handler(error, endpoint, values)
            except BuildError as e:
                error = e
            else:
                if url is not None:
                    return url
        if error is sys.exc_info()[1]:
            # The original error, with its own traceback.
            raise
        raise error

    def redirect(self, location: str, code: int = 302) -> WerkzeugResponse:
        """Return a redirect, of ``response_class``."""
        return werkzeug_redirect(location, code=code, Response=self.response_class)

    # -- The steps of a request: Flask's overridable methods -----------------------

    def raise_routing_exception(self, request: Request) -> t.NoReturn:
        """Raise what routing raised; in debug mode, explain a lost form.

        Raises:
            HTTPException: ``request.routing_exception``.
            FormDataRoutingRedirect: In debug mode, for a redirect that would lose
                the body.
        """
        exception = t.cast(HTTPException, request.routing_exception)
        if (
            self.debug
            and isinstance(exception, RequestRedirect)
            and exception.code not in {307, 308}
            and request.method not in {"GET", "HEAD", "OPTIONS"}
        ):
            from .debug import FormDataRoutingRedirect

            raise FormDataRoutingRedirect(request)
        raise exception

    @_context_first
    def make_default_options_response(self, ctx: RequestContext) -> Response:
        """Return the answer to ``OPTIONS``: the methods the URL allows."""
        response = self.response_class()
        adapter = ctx.url_adapter
        if adapter is not None:
            response.allow.update(adapter.allowed_methods())
        return response

    @_context_first
    def full_dispatch_request(self, ctx: RequestContext) -> Response:
        """Run hooks, view and error handlers; return the response."""
        return step(engine.dispatch(self, ctx, engine.plan_of(self, ctx.request), inline=True))

    @_context_first
    def preprocess_request(self, ctx: RequestContext) -> ct.ResponseReturnValue | None:
        """Run url processors and ``before_request`` functions until one answers."""
        result: ct.ResponseReturnValue | None
        result = step(engine.preprocess(self, ctx, engine.plan_of(self, ctx.request), inline=True))
        return result

    @_context_first
    def dispatch_request(self, ctx: RequestContext) -> ct.ResponseReturnValue:
        """Call the view for the request; return what it returned.

        Raises:
            HTTPException: Nothing matched.
        """
        result: ct.ResponseReturnValue
        result = step(engine.call_view(self, ctx, engine.plan_of(self, ctx.request), inline=True))
        return result

    @_context_first
    def finalize_request(
        self, ctx: RequestContext, rv: ct.ResponseReturnValue | HTTPException, from_error_handler: bool = False
    ) -> Response:
        """Make the response of *rv*, process it, and send ``request_finished``."""
        return step(engine.finalize(self, ctx, engine.plan_of(self, ctx.request), rv, True, from_error_handler))

    def make_response(self, rv: ct.ResponseReturnValue) -> Response:
        """Return *rv*, something that a view may return, as a response.

        Raises:
            TypeError: It is nothing that a view may return.
        """
        return to_response(self, rv)

    @_context_first
    def process_response(self, ctx: RequestContext, response: Response) -> Response:
        """Run the functions that follow the view; save the session."""
        return step(engine.process_response(self, ctx, engine.plan_of(self, ctx.request), response, inline=True))

    @_context_first
    def handle_http_exception(self, ctx: RequestContext, e: HTTPException) -> HTTPException | ct.ResponseReturnValue:
        """Return what the handler for an HTTP error returns; the error if none."""
        result: HTTPException | ct.ResponseReturnValue
        result = step(errors.respond_to_http(self, ctx, e, inline=True))
        return result

    @_context_first
    def handle_user_exception(self, ctx: RequestContext, e: Exception) -> HTTPException | ct.ResponseReturnValue:
        """Return what the handler for *e* returns.

        Raises:
            Exception: *e* itself, if there is no handler.
        """
        result: HTTPException | ct.ResponseReturnValue
        result = step(errors.respond_to(self, ctx, e, inline=True))
        return result

    @_context_first
    def handle_exception(self, ctx: RequestContext, e: Exception) -> Response:
        """Log *e*, which nothing handled, and answer 500.

        Raises:
            Exception: *e* itself, where exceptions are propagated.
        """
        return step(engine.answer_500(self, ctx, e, inline=True))

    @_context_first
    def log_exception(self, ctx: RequestContext, exc_info: t.Any) -> None:
        """Log an exception that nothing handled."""
        errors.log_exception(self, ctx, exc_info)

    def _find_error_handler(self, e: Exception, blueprints: t.Sequence[str]) -> ct.ErrorHandlerCallable | None:
        return errors.find_handler(self, e, blueprints)

    def trap_http_exception(self, e: Exception) -> bool:
        """Return whether an HTTP error is to be treated like any other exception."""
        if self.config["TRAP_HTTP_EXCEPTIONS"]:
            return True
        trap_bad_request = self.config["TRAP_BAD_REQUEST_ERRORS"]
        if trap_bad_request is None and self.debug and isinstance(e, BadRequestKeyError):
            return True
        return bool(trap_bad_request) and isinstance(e, BadRequest)

    def should_ignore_error(self, error: BaseException | None) -> bool:
        """Return whether teardown functions are not to be told of *error*."""
        return False

    @_context_first
    def do_teardown_request(self, ctx: RequestContext, exc: BaseException | None = _sentinel) -> None:
        """Run the ``teardown_request`` functions."""
        exc = sys.exc_info()[1] if exc is _sentinel else exc
        step(engine.teardown_request(self, ctx, exc, inline=True))

    @_context_first
    def do_teardown_appcontext(self, ctx: AppContext, exc: BaseException | None = _sentinel) -> None:
        """Run the ``teardown_appcontext`` functions."""
        exc = sys.exc_info()[1] if exc is _sentinel else exc
        step(engine.teardown_appcontext(self, ctx, exc, inline=True))

    async def _teardown_request(self, ctx: RequestContext, exc: BaseException | None, inline: bool) -> None:
        if self.is_overridden("do_teardown_request"):
            self._call_override("do_teardown_request", ctx, exc)
        else:
            await engine.teardown_request(self, ctx, exc, inline)

    async def _teardown_appcontext(self, ctx: AppContext, exc: BaseException | None, inline: bool) -> None:
        try:
            if self.is_overridden("do_teardown_appcontext"):
                self._call_override("do_teardown_appcontext", ctx, exc)
            else:
                await engine.teardown_appcontext(self, ctx, exc, inline)
        finally:
            await ctx.run_teardown_functions(exc, inline)

    # -- Contexts ----------------------------------------------------------------

    def app_context(self) -> AppContext:
        """Return a new application context, to be entered."""
        return AppContext(self)

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """Return a new request context for a WSGI environ, to be entered."""
        return RequestContext(self, environ)

    def test_request_context(self, *args: t.Any, **kwargs: t.Any) -> RequestContext:
        """Return a new context for a made-up request, to be entered.

        Args:
            args: As for :class:`carboy.testing.EnvironBuilder`, after the app.
        """
        from .testing import EnvironBuilder

        builder = EnvironBuilder(self, *args, **kwargs)
        try:
            return self.request_context(builder.get_environ())
        finally:
            builder.close()

    # -- Tests, command line, development server -----------------------------------

    def test_client(self, use_cookies: bool = True, **kwargs: t.Any) -> FlaskClient:
        """Return a client that calls the application without a server.

        Args:
            use_cookies: Keep cookies from answer to request.
            kwargs: For ``test_client_class``; carboy's own takes ``protocol``.
        """
        from .testing import FlaskClient

        cls = self.test_client_class or FlaskClient
        return cls(self, self.response_class, use_cookies=use_cookies, **kwargs)

    def async_test_client(self, use_cookies: bool = True, **kwargs: t.Any) -> AsyncClient:
        """Return a client with the same methods, to be awaited; the application runs on the test's own event loop.

        Args:
            use_cookies: Keep cookies from answer to request.
            kwargs: For :class:`carboy.testing.AsyncClient`, which takes ``protocol``.
        """
        from .testing import AsyncClient

        return AsyncClient(self, self.response_class, use_cookies, **kwargs)

    def test_cli_runner(self, **kwargs: t.Any) -> FlaskCliRunner:
        """Return a runner for the application's commands."""
        from .testing import FlaskCliRunner

        cls = self.test_cli_runner_class or FlaskCliRunner
        return cls(self, **kwargs)

    def run(
        self,
        host: str | None = None,
        port: int | None = None,
        debug: bool | None = None,
        load_dotenv: bool = True,
        **options: t.Any,
    ) -> None:
        """Serve with the development server; not for production.

        Args:
            host: By default that of ``SERVER_NAME``, or ``127.0.0.1``.
            port: By default that of ``SERVER_NAME``, or 5000.
            debug: Turn debug mode on or off.
            load_dotenv: Read ``.env`` and ``.flaskenv`` files.
            options: For :func:`werkzeug.serving.run_simple`.
        """
        import click
        from werkzeug.serving import is_running_from_reloader

        from . import cli

        if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
            # The module of a command's application is being imported, and ends with app.run().
            if not is_running_from_reloader():
                click.secho(
                    " * Ignoring a call to 'app.run()' that would block the current command.\n"
                    "   Only call 'app.run()' in an 'if __name__ == \"__main__\"' guard.",
                    fg="red",
                )
            return
        if get_load_dotenv(load_dotenv):
            cli.load_dotenv()
            if "FLASK_DEBUG" in os.environ:
                self.debug = get_debug_flag()
        if debug is not None:
            self.debug = bool(debug)
        name, _, name_port = (self.config.get("SERVER_NAME") or "").partition(":")
        if port is None:
            port = int(name_port or 5000)
        options.setdefault("use_reloader", self.debug)
        options.setdefault("use_debugger", self.debug)
        options.setdefault("threaded", True)
        cli.show_server_banner(self.debug, self.name)
        from werkzeug.serving import run_simple

        try:
            run_simple(host or name or "127.0.0.1", int(port), self, **options)
        finally:
            # So that an interactive session can go on to register.
            self._got_first_request = False

    # -- Protocols -----------------------------------------------------------------

    def __call__(self, first: t.Any, second: t.Any, third: t.Any = None) -> t.Any:
        """Serve one request: WSGI if called with two arguments, ASGI with three."""
        if third is None:
            return self.wsgi_app(first, second)
        return self.asgi_app(first, second, third)

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> t.Iterable[bytes]:
        """The WSGI application (PEP 3333), to be wrapped by middleware.

        With ``app.wsgi_app = Middleware(app.wsgi_app)``, requests that come over
        ASGI and RSGI go through the middleware too, in a worker thread.
        """
        return wsgi.serve(self, environ, start_response)

    def asgi_app(self, scope: t.Any, receive: t.Any, send: t.Any) -> t.Coroutine[t.Any, t.Any, None]:
        """The ASGI 3 application."""
        return _serve_asgi(self, scope, receive, send)  # type: ignore[no-any-return]

    def __rsgi__(self, scope: t.Any, protocol: t.Any) -> t.Coroutine[t.Any, t.Any, None]:
        """The RSGI application (granian's protocol)."""
        return _serve_rsgi(self, scope, protocol)  # type: ignore[no-any-return]

    def __rsgi_init__(self, loop: t.Any) -> None:
        """Start the application, before an RSGI server accepts connections.

        Raises:
            StartupError: A serving hook failed, so that the server's worker ends.
        """
        from .protocols import rsgi

        rsgi.change(loop, self.lifecycle.startup())

    def __rsgi_del__(self, loop: t.Any) -> None:
        """Shut the application down, after an RSGI server's last request.

        Raises:
            ShutdownError: Serving hooks failed; all others ran.
        """
        from .protocols import rsgi

        rsgi.change(loop, self.lifecycle.shutdown())


# Imported at the first request, since a WSGI worker never needs asyncio. PERF: they put the function that they call in
# their own place.


def _serve_asgi(*args: t.Any) -> t.Any:
    global _serve_asgi
    from .protocols.asgi import serve

    _serve_asgi = serve
    return serve(*args)


def _serve_rsgi(*args: t.Any) -> t.Any:
    global _serve_rsgi
    from .protocols.rsgi import serve

    _serve_rsgi = serve
    return serve(*args)


def _subdomain(host: str, server_name: str, scheme: str) -> str:
    """Return the subdomain of *server_name* that *host* is; ``<invalid>`` if none."""
    server_name = server_name.lower().removesuffix(":443" if scheme in {"https", "wss"} else ":80")
    host = host.lower()
    if host == server_name:
        return ""
    if host.endswith(f".{server_name}"):
        return host.removesuffix(f".{server_name}")
    # The name of the module in the warning is what applications filter it by.
    warnings.warn_explicit(
        f"Current server name {host!r} doesn't match configured server name {server_name!r}",
        UserWarning,
        __file__,
        _subdomain.__code__.co_firstlineno,
        module="flask.app",
    )
    return "<invalid>"


def _accept_asgi_calls(cls: type[Carboy]) -> None:
    """Let ASGI servers call an application whose ``__call__`` was replaced by one for WSGI.

    Subclasses do that, and tracing tools to the class itself (Sentry). The request then goes through it, as through
    a wrapped ``wsgi_app``.
    """
    call = cls.__call__
    if call is _CALL or len(inspect.signature(call).parameters) != 3:
        return

    @functools.wraps(call)
    def wsgi_or_asgi(self: Carboy, first: t.Any, second: t.Any, third: t.Any = None) -> t.Any:
        return call(self, first, second) if third is None else self.asgi_app(first, second, third)

    wsgi_or_asgi.wsgi_only = True  # type: ignore[attr-defined]
    wsgi_or_asgi.__signature__ = inspect.signature(_CALL)  # type: ignore[attr-defined]
    cls.__call__ = wsgi_or_asgi  # type: ignore[method-assign]


def _takes_context(method: t.Callable[..., t.Any], skip: int) -> bool:
    try:
        parameters = list(inspect.signature(method).parameters.values())[skip:]
    except (TypeError, ValueError):
        return False
    if not parameters:
        return False
    first = parameters[0]
    annotation = first.annotation
    if first.name == "ctx":
        return True
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2].strip("'\"") in {"AppContext", "RequestContext"}
    return isinstance(annotation, type) and issubclass(annotation, AppContext)


_CALL = Carboy.__call__
_ORIGINALS = {
    name: getattr(Carboy, name)
    for name in (
        "async_to_sync",
        "create_url_adapter",
        "dispatch_request",
        "do_teardown_appcontext",
        "do_teardown_request",
        "ensure_sync",
        "finalize_request",
        "full_dispatch_request",
        "handle_exception",
        "handle_http_exception",
        "handle_user_exception",
        "log_exception",
        "make_default_options_response",
        "make_response",
        "preprocess_request",
        "process_response",
        "request_context",
        "update_template_context",
        "wsgi_app",
    )
}
_WATCHED = frozenset(
    {
        *_ORIGINALS,
        "after_request_funcs",
        "after_serving_funcs",
        "after_websocket_funcs",
        "before_request_funcs",
        "before_serving_funcs",
        "before_websocket_funcs",
        "json",
        "response_class",
        "session_interface",
        "subdomain_matching",
        "teardown_appcontext_funcs",
        "teardown_request_funcs",
        "teardown_websocket_funcs",
        "url_map",
        "url_value_preprocessors",
        "view_functions",
        "while_serving_funcs",
    }
)
