"""What users register: routes, hooks, error handlers, url processors, as tables.

:class:`Registry` is the only base of the application and of blueprints. It holds
data and decides nothing: ``plan.py`` compiles the tables, ``engine.py`` runs the
result. The tables stay live dictionaries of lists, as extensions expect (one even
appends to them during a request): every change moves the registry's version, and
plans compiled for an older version are compiled again.
"""

from __future__ import annotations

import functools
import inspect
import os
import typing as t
from collections import defaultdict

from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.utils import cached_property

from . import typing as ct
from .context import _default_template_ctx_processor
from .files import send_from_directory
from .lazy import lazy
from .paths import get_root_path

if t.TYPE_CHECKING:
    from datetime import timedelta

    from jinja2 import BaseLoader

    from .cli import AppGroup
    from .http import Response

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
V = t.TypeVar("V")

_sentinel: t.Any = object()


class Version:
    """A number that grows with every change of a registry's tables."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0


class HookList(list[V]):
    """A list of hooks that moves its registry's version when it changes."""

    __slots__ = ("version",)

    def __init__(self, version: Version, items: t.Iterable[V] = ()) -> None:
        super().__init__(items)
        self.version = version


class HookTable(dict[t.Any, t.Any]):
    """A table that moves its registry's version when it changes.

    Args:
        of_lists: Whether a missing key gives a new :class:`HookList`, as in a
            ``defaultdict(list)``.
    """

    __slots__ = ("of_lists", "version")

    def __init__(self, version: Version, of_lists: bool = False) -> None:
        super().__init__()
        self.version = version
        self.of_lists = of_lists

    def __missing__(self, key: t.Any) -> t.Any:
        if not self.of_lists:
            raise KeyError(key)
        self[key] = ()
        return self[key]

    def __setitem__(self, key: t.Any, value: t.Any) -> None:
        if self.of_lists and not (isinstance(value, HookList) and value.version is self.version):
            value = HookList(self.version, value)
        super().__setitem__(key, value)
        self.version.number += 1

    def setdefault(self, key: t.Any, default: t.Any = None) -> t.Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: t.Any, **kwargs: t.Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: t.Any) -> t.Self:  # type: ignore[misc]
        self.update(other)
        return self


def _moving_version(base: type, name: str) -> t.Callable[..., t.Any]:
    original = getattr(base, name)

    @functools.wraps(original)
    def wrapper(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        result = original(self, *args, **kwargs)
        self.version.number += 1
        return result

    return wrapper


for _cls, _base, _names in (
    (HookList, list, "append extend insert remove pop clear sort reverse __setitem__ __delitem__ __iadd__"),
    (HookTable, dict, "__delitem__ pop popitem clear"),
):
    for _name in _names.split():
        setattr(_cls, _name, _moving_version(_base, _name))


def setupmethod(f: F) -> F:
    """Refuse *f*, a method that registers, once requests are being handled."""
    name = f.__name__

    def wrapper(self: Registry, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self._check_setup_finished(name)
        return f(self, *args, **kwargs)

    return t.cast(F, functools.update_wrapper(wrapper, f))


def named_decorator(add: t.Callable[..., None], name: t.Any) -> t.Any:
    """Return a decorator that adds a function under *name*.

    Args:
        name: None for the function's own. The function itself, where the
            decorator was used without parentheses (Flask 3.2).
    """
    if callable(name):
        add(name)
        return name

    def decorator(f: F) -> F:
        add(f, name=name)
        return f

    return decorator


def _endpoint_from_view_func(view_func: ct.RouteCallable | None) -> str:
    if view_func is None:
        # COMPAT: an AssertionError in Flask 3.1.
        raise AssertionError("A route needs an 'endpoint' or a 'view_func' to take the endpoint's name from.")
    return view_func.__name__


class Registry:
    """Tables of what users register, and the methods and decorators that fill them.

    Args:
        import_name: Usually ``__name__``: finds the package on disk.
        static_folder: Folder of static files, relative to ``root_path``.
        static_url_path: URL prefix of the static files.
        template_folder: Folder of templates, relative to ``root_path``.
        root_path: Where the package lies; found from ``import_name`` by default.
    """

    name: str
    _static_folder: str | None = None
    _static_url_path: str | None = None

    def __init__(
        self,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        root_path: str | None = None,
    ) -> None:
        self.import_name = import_name
        self.static_folder = static_folder
        self.static_url_path = static_url_path
        self.template_folder = template_folder
        self.root_path = get_root_path(import_name) if root_path is None else root_path
        version = self._version = Version()
        self.view_functions: dict[str, ct.RouteCallable] = HookTable(version)
        self.error_handler_spec: dict[
            ct.AppOrBlueprintKey, dict[int | None, dict[type[Exception], ct.ErrorHandlerCallable]]
        ] = defaultdict(lambda: defaultdict(dict))
        self.before_request_funcs: dict[ct.AppOrBlueprintKey, list[ct.BeforeRequestCallable]]
        self.before_request_funcs = HookTable(version, of_lists=True)
        self.after_request_funcs: dict[ct.AppOrBlueprintKey, list[ct.AfterRequestCallable[t.Any]]]
        self.after_request_funcs = HookTable(version, of_lists=True)
        self.teardown_request_funcs: dict[ct.AppOrBlueprintKey, list[ct.TeardownCallable]]
        self.teardown_request_funcs = HookTable(version, of_lists=True)
        self.before_websocket_funcs: dict[ct.AppOrBlueprintKey, list[ct.BeforeRequestCallable]]
        self.before_websocket_funcs = HookTable(version, of_lists=True)
        self.after_websocket_funcs: dict[ct.AppOrBlueprintKey, list[ct.AfterWebsocketCallable]]
        self.after_websocket_funcs = HookTable(version, of_lists=True)
        self.teardown_websocket_funcs: dict[ct.AppOrBlueprintKey, list[ct.TeardownCallable]]
        self.teardown_websocket_funcs = HookTable(version, of_lists=True)
        self.url_value_preprocessors: dict[ct.AppOrBlueprintKey, list[ct.URLValuePreprocessorCallable]]
        self.url_value_preprocessors = HookTable(version, of_lists=True)
        self.before_serving_funcs: list[ct.ServingCallable] = HookList(version)
        self.after_serving_funcs: list[ct.ServingCallable] = HookList(version)
        self.while_serving_funcs: list[ct.WhileServingCallable] = HookList(version)
        # Not part of a request's plan: read where templates are rendered and URLs built.
        self.template_context_processors: dict[ct.AppOrBlueprintKey, list[ct.TemplateContextProcessorCallable]]
        self.template_context_processors = defaultdict(list, {None: [_default_template_ctx_processor]})
        self.url_default_functions: dict[ct.AppOrBlueprintKey, list[ct.URLDefaultCallable]] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _check_setup_finished(self, f_name: str) -> None:
        raise NotImplementedError

    # -- Files -----------------------------------------------------------------

    @lazy
    def cli(self) -> AppGroup:
        """The click group for commands of this application or blueprint."""
        # Upward import, at first use: most processes never look at their commands.
        from .cli import AppGroup

        group = AppGroup()
        group.name = self.name
        return group

    @property
    def static_folder(self) -> str | None:
        """The absolute path of the static folder, or None."""
        return None if self._static_folder is None else os.path.join(self.root_path, self._static_folder)

    @static_folder.setter
    def static_folder(self, value: str | os.PathLike[str] | None) -> None:
        self._static_folder = None if value is None else os.fspath(value).rstrip(r"\/")

    @property
    def has_static_folder(self) -> bool:
        """Whether a static folder is set; it need not exist."""
        return self._static_folder is not None

    @property
    def static_url_path(self) -> str | None:
        """The URL prefix of static files; by default named like their folder."""
        if self._static_url_path is not None:
            return self._static_url_path
        folder = self.static_folder
        return None if folder is None else f"/{os.path.basename(folder)}".rstrip("/")

    @static_url_path.setter
    def static_url_path(self, value: str | None) -> None:
        self._static_url_path = None if value is None else value.rstrip("/")

    def get_send_file_max_age(self, filename: str | None) -> int | None:
        """Return how long clients may cache *filename*, in seconds.

        By default the ``SEND_FILE_MAX_AGE_DEFAULT`` setting of the current
        application; None means that they ask each time.
        """
        from .context import current_app_context

        value: int | timedelta | None = current_app_context().app.config["SEND_FILE_MAX_AGE_DEFAULT"]
        return value if value is None or isinstance(value, int) else int(value.total_seconds())

    def send_static_file(self, filename: str) -> Response:
        """The view of the static route: answer with a file of the static folder.

        Raises:
            RuntimeError: There is no static folder.
        """
        folder = self.static_folder
        if folder is None:
            raise RuntimeError("'static_folder' must be set to serve static_files.")
        return send_from_directory(folder, filename, max_age=self.get_send_file_max_age(filename))

    # COMPAT: by this name applications exempt the static routes of blueprints from their checks.
    send_static_file.__module__ = "flask.blueprints"

    def open_resource(self, resource: str, mode: str = "rb", encoding: str | None = "utf-8") -> t.IO[t.Any]:
        """Open a file that lies beside the code, relative to ``root_path``.

        Args:
            mode: ``"rb"``, ``"r"`` or ``"rt"``.
            encoding: Of text files.

        Raises:
            ValueError: *mode* would write.
        """
        if mode not in {"r", "rt", "rb"}:
            raise ValueError("Resources can only be opened for reading.")
        return open(os.path.join(self.root_path, resource), mode, encoding=None if "b" in mode else encoding)

    @cached_property
    def jinja_loader(self) -> BaseLoader | None:
        """The loader for ``template_folder``; None without one."""
        if self.template_folder is None:
            return None
        from jinja2 import FileSystemLoader

        return FileSystemLoader(os.path.join(self.root_path, self.template_folder))

    # -- Routes ----------------------------------------------------------------

    def _method_route(self, method: str, rule: str, options: dict[str, t.Any]) -> t.Callable[[F], F]:
        if "methods" in options:
            raise TypeError("Use the 'route' decorator to use the 'methods' argument.")
        return self.route(rule, methods=[method], **options)

    @setupmethod
    def get(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["GET"]``."""
        return self._method_route("GET", rule, options)

    @setupmethod
    def post(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["POST"]``."""
        return self._method_route("POST", rule, options)

    @setupmethod
    def put(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["PUT"]``."""
        return self._method_route("PUT", rule, options)

    @setupmethod
    def delete(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["DELETE"]``."""
        return self._method_route("DELETE", rule, options)

    @setupmethod
    def patch(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["PATCH"]``."""
        return self._method_route("PATCH", rule, options)

    @setupmethod
    def query(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Shorthand for :meth:`route` with ``methods=["QUERY"]`` (Flask 3.2)."""
        return self._method_route("QUERY", rule, options)

    @setupmethod
    def route(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Register the decorated view for a URL; see :meth:`add_url_rule`."""

        def decorator(view: F) -> F:
            self.add_url_rule(rule, options.pop("endpoint", None), view, **options)
            return view

        return decorator

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ct.RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a URL; the application and blueprints do it each in their way."""
        raise NotImplementedError

    @setupmethod
    def endpoint(self, endpoint: str) -> t.Callable[[F], F]:
        """Register the decorated view for an endpoint whose rule is added apart."""

        def decorator(view: F) -> F:
            self.view_functions[endpoint] = view
            return view

        return decorator

    @setupmethod
    def websocket(self, rule: str, **options: t.Any) -> t.Callable[[F], F]:
        """Register the decorated handler for WebSockets that open at a URL.

        An async handler runs on the server's loop, a sync one in a thread of its
        own. Served over ASGI and RSGI.

        Args:
            options: Those of :meth:`add_url_rule`, except ``methods``.

        Example::

            @app.websocket("/rooms/<int:room>")
            async def talk(room):
                async for message in websocket:
                    await websocket.send(message)
        """

        def decorator(view: F) -> F:
            self.add_websocket(rule, options.pop("endpoint", None), view, **options)
            return view

        return decorator

    @setupmethod
    def add_websocket(
        self, rule: str, endpoint: str | None = None, view_func: ct.RouteCallable | None = None, **options: t.Any
    ) -> None:
        """Register a URL for WebSockets; see :meth:`websocket`."""
        if "methods" in options:
            raise TypeError("A WebSocket is opened by GET: leave out 'methods'.")
        self.add_url_rule(
            rule, endpoint, view_func, provide_automatic_options=False, websocket=True, methods=["GET"], **options
        )

    # -- Hooks -----------------------------------------------------------------

    @setupmethod
    def before_request(self, f: F) -> F:
        """Call *f* before each request; what it returns, unless None, is the answer."""
        self.before_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def after_request(self, f: F) -> F:
        """Call *f* with each response; it returns that response or another."""
        self.after_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def teardown_request(self, f: F) -> F:
        """Call *f* with the exception or None when a request's context is left."""
        self.teardown_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def before_websocket(self, f: F) -> F:
        """Call *f* before each WebSocket's handler; what it returns, unless None, refuses the WebSocket."""
        self.before_websocket_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def after_websocket(self, f: F) -> F:
        """Call *f* when a WebSocket's handler has ended, with the response that refuses it or None; it returns one."""
        self.after_websocket_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def teardown_websocket(self, f: F) -> F:
        """Call *f* with the exception or None when a WebSocket's context is left."""
        self.teardown_websocket_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def context_processor(self, f: F) -> F:
        """Give templates the variables in the dict that *f* returns."""
        self.template_context_processors[None].append(f)
        return f

    @setupmethod
    def url_value_preprocessor(self, f: F) -> F:
        """Call *f* with each request's endpoint and view arguments, to change them."""
        self.url_value_preprocessors[None].append(f)
        return f

    @setupmethod
    def url_defaults(self, f: F) -> F:
        """Call *f* with an endpoint and the values for it when a URL is built."""
        self.url_default_functions[None].append(f)
        return f

    # -- Serving hooks -----------------------------------------------------------
    # COMPAT: Quart's names. Of the whole process, so those of a blueprint become the application's.

    @setupmethod
    def before_serving(self, f: F) -> F:
        """Call *f*, sync or async, in each process before its first request.

        It runs in an application context, in the order of registration. If it
        raises, the server stops with the reason.
        """
        self.before_serving_funcs.append(f)
        return f

    @setupmethod
    def after_serving(self, f: F) -> F:
        """Call *f*, sync or async, in each process after its last request.

        It runs in an application context; the last one registered runs first.
        """
        self.after_serving_funcs.append(f)
        return f

    @setupmethod
    def while_serving(self, f: F) -> F:
        """Run *f*, a generator function, around all requests of each process.

        What stands before its ``yield`` runs after the ``before_serving``
        functions, what stands after it before the ``after_serving`` functions.

        Raises:
            TypeError: *f* is not a generator function, sync or async.
        """
        if not (inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f)):
            raise TypeError(
                f"'while_serving' takes a function with one 'yield', sync or async, not {f!r}. What is only done at the"
                " start is for 'before_serving'."
            )
        self.while_serving_funcs.append(f)
        return f

    # -- Error handlers ----------------------------------------------------------

    @setupmethod
    def errorhandler(self, code_or_exception: type[Exception] | int) -> t.Callable[[F], F]:
        """Register the decorated handler; see :meth:`register_error_handler`."""

        def decorator(f: F) -> F:
            self.register_error_handler(code_or_exception, f)
            return f

        return decorator

    @setupmethod
    def register_error_handler(self, code_or_exception: type[Exception] | int, f: ct.ErrorHandlerCallable) -> None:
        """Let *f* answer for an exception class or an HTTP status code.

        Raises:
            ValueError: The code is not one of HTTP's errors, or the class is not
                an exception.
            TypeError: An exception was given instead of its class.
        """
        exc_class, code = self._get_exc_class_and_code(code_or_exception)
        self.error_handler_spec[None][code][exc_class] = f

    @staticmethod
    def _get_exc_class_and_code(exc_class_or_code: type[Exception] | int) -> tuple[type[Exception], int | None]:
        exc_class: type[Exception]
        if isinstance(exc_class_or_code, int):
            if exc_class_or_code not in default_exceptions:
                raise ValueError(
                    f"'{exc_class_or_code}' is not a recognized HTTP error code. Use a subclass of HTTPException with"
                    " that code instead."
                )
            exc_class = default_exceptions[exc_class_or_code]
        else:
            exc_class = exc_class_or_code
        if isinstance(exc_class, Exception):
            raise TypeError(
                f"{exc_class!r} is an instance, not a class. Handlers can only be registered for Exception classes or"
                " HTTP error codes."
            )
        if not issubclass(exc_class, Exception):
            raise ValueError(
                f"'{exc_class.__name__}' is not a subclass of Exception. Handlers can only be registered for Exception"
                " classes or HTTP error codes."
            )
        return exc_class, exc_class.code if issubclass(exc_class, HTTPException) else None
