"""Blueprints: registrations recorded, and replayed on an application.

A blueprint's routes are deferred, because their URL and endpoint depend on where
it is registered; its hooks are tables like the application's, merged into those
under the blueprint's full dotted name.
"""

from __future__ import annotations

import functools
import os
import typing as t
from collections import defaultdict

from . import typing as ct
from .registry import Registry, _endpoint_from_view_func, _sentinel, named_decorator, setupmethod

if t.TYPE_CHECKING:
    from .app import Carboy

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
DeferredSetupFunction = t.Callable[["BlueprintSetupState"], None]


def _dotted(*names: str) -> str:
    return ".".join(name for name in names if name)


def _join_prefix(outer: str | None, inner: str | None) -> str | None:
    if outer is None or inner is None:
        return inner if outer is None else outer
    return f"{outer.rstrip('/')}/{inner.lstrip('/')}"


class BlueprintSetupState:
    """One registration of a blueprint: what deferred functions are called with.

    Args:
        options: What ``register_blueprint`` was given.
        first_registration: Whether the blueprint was not yet on this application.
    """

    def __init__(self, blueprint: Blueprint, app: Carboy, options: dict[str, t.Any], first_registration: bool) -> None:
        self.app = app
        self.blueprint = blueprint
        self.options = options
        self.first_registration = first_registration
        subdomain = options.get("subdomain")
        self.subdomain: str | None = blueprint.subdomain if subdomain is None else subdomain
        url_prefix = options.get("url_prefix")
        self.url_prefix: str | None = blueprint.url_prefix if url_prefix is None else url_prefix
        self.name: str = options.get("name", blueprint.name)
        self.name_prefix: str = options.get("name_prefix", "")
        self.url_defaults = {**blueprint.url_values_defaults, **dict(options.get("url_defaults", ()))}

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: ct.RouteCallable | None = None, **options: t.Any
    ) -> None:
        """Register a URL on the application, under this registration's prefix and name."""
        if self.url_prefix is not None:
            rule = t.cast(str, _join_prefix(self.url_prefix, rule)) if rule else self.url_prefix
        options.setdefault("subdomain", self.subdomain)
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)
        defaults = {**self.url_defaults, **(options.pop("defaults", None) or {})}
        self.app.add_url_rule(
            rule, _dotted(self.name_prefix, self.name, endpoint), view_func, defaults=defaults, **options
        )


class Blueprint(Registry):
    """A part of an application: routes, hooks, templates, static files, commands.

    Args:
        name: Prefix of its endpoints; without dots.
        import_name: Usually ``__name__``.
        url_prefix: Put before the URLs of its routes.
        subdomain: Of its routes, with ``subdomain_matching``.
        url_defaults: Values for all its routes.
        cli_group: Name of the group of its commands; None to add them to the
            application's own; by default the blueprint's name.

    Raises:
        ValueError: The name is empty or has a dot.
    """

    _got_registered_once = False

    def __init__(
        self,
        name: str,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        url_prefix: str | None = None,
        subdomain: str | None = None,
        url_defaults: dict[str, t.Any] | None = None,
        root_path: str | None = None,
        cli_group: str | None = _sentinel,
    ) -> None:
        super().__init__(import_name, static_folder, static_url_path, template_folder, root_path)
        if not name:
            raise ValueError("'name' may not be empty.")
        if "." in name:
            raise ValueError("'name' may not contain a dot '.' character.")
        self.name = name
        self.url_prefix = url_prefix
        self.subdomain = subdomain
        self.deferred_functions: list[DeferredSetupFunction] = []
        self.url_values_defaults = {} if url_defaults is None else url_defaults
        self.cli_group = cli_group
        self._blueprints: list[tuple[Blueprint, dict[str, t.Any]]] = []

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_registered_once:
            raise AssertionError(
                f"The setup method '{f_name}' can no longer be called on the blueprint '{self.name}'. It has already"
                " been registered at least once, any changes will not be applied consistently.\nMake sure that the"
                " modules with its routes and hooks are imported before it is registered."
            )

    @setupmethod
    def record(self, func: DeferredSetupFunction) -> None:
        """Call *func* with the state of each registration."""
        self.deferred_functions.append(func)

    @setupmethod
    def record_once(self, func: DeferredSetupFunction) -> None:
        """Call *func* with the state of the first registration on an application."""

        def wrapper(state: BlueprintSetupState) -> None:
            if state.first_registration:
                func(state)

        self.record(functools.update_wrapper(wrapper, func))

    def make_setup_state(
        self, app: Carboy, options: dict[str, t.Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        """Return the state for a registration; subclasses may use their own class."""
        return BlueprintSetupState(self, app, options, first_registration)

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Nest *blueprint* in this one, to be registered with it.

        Raises:
            ValueError: It is this blueprint itself.
        """
        if blueprint is self:
            raise ValueError("Cannot register a blueprint on itself")
        self._blueprints.append((blueprint, options))

    def register(self, app: Carboy, options: dict[str, t.Any]) -> None:
        """Replay on *app* what was recorded; called by ``app.register_blueprint``.

        Raises:
            ValueError: The name is taken by a blueprint of the application.
        """
        own_name = options.get("name", self.name)
        name = _dotted(options.get("name_prefix", ""), own_name)
        if name in app.blueprints:
            which = "this" if app.blueprints[name] is self else "a different"
            existing = f" '{name}'" if own_name != name else ""
            raise ValueError(
                f"The name '{own_name}' is already registered for {which} blueprint{existing}. Use 'name=' to provide a"
                " unique name."
            )
        first = not any(blueprint is self for blueprint in app.blueprints.values())
        app.blueprints[name] = self
        self._got_registered_once = True
        state = self.make_setup_state(app, options, first)
        if self.has_static_folder:
            state.add_url_rule(
                f"{self.static_url_path}/<path:filename>", view_func=self.send_static_file, endpoint="static"
            )
        self._merge_blueprint_funcs(app, name)
        if first:
            app.before_serving_funcs.extend(self.before_serving_funcs)
            app.after_serving_funcs.extend(self.after_serving_funcs)
            app.while_serving_funcs.extend(self.while_serving_funcs)
        for deferred in self.deferred_functions:
            deferred(state)
        # Only where commands were ever asked for, which imports the command line.
        if "cli" in self.__dict__ and self.cli.commands:
            self._add_commands(app, name, options.get("cli_group", self.cli_group))
        for blueprint, nested_options in self._blueprints:
            blueprint.register(app, _nest(state, name, blueprint, nested_options))

    def _add_commands(self, app: Carboy, name: str, group: str | None) -> None:
        if group is None:
            app.cli.commands.update(self.cli.commands)
        else:
            self.cli.name = name if group is _sentinel else group
            app.cli.add_command(self.cli)

    def _merge_blueprint_funcs(self, app: Carboy, name: str) -> None:
        def full(key: str | None) -> str:
            return name if key is None else f"{name}.{key}"

        for key, handlers in self.error_handler_spec.items():
            copies = {code: dict(by_class) for code, by_class in handlers.items()}
            app.error_handler_spec[full(key)] = defaultdict(dict, copies)
        for endpoint, view in self.view_functions.items():
            app.view_functions[endpoint] = view
        tables: list[tuple[dict[t.Any, list[t.Any]], dict[t.Any, list[t.Any]]]] = [
            (self.before_request_funcs, app.before_request_funcs),
            (self.after_request_funcs, app.after_request_funcs),
            (self.teardown_request_funcs, app.teardown_request_funcs),
            (self.before_websocket_funcs, app.before_websocket_funcs),
            (self.after_websocket_funcs, app.after_websocket_funcs),
            (self.teardown_websocket_funcs, app.teardown_websocket_funcs),
            (self.url_default_functions, app.url_default_functions),
            (self.url_value_preprocessors, app.url_value_preprocessors),
            (self.template_context_processors, app.template_context_processors),
        ]
        for own, apps in tables:
            for key, functions in own.items():
                apps[full(key)].extend(functions)

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ct.RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a URL, relative to where the blueprint will be registered.

        Raises:
            ValueError: The endpoint, or the view's name in its place, has a dot.
        """
        if endpoint and "." in endpoint:
            raise ValueError("'endpoint' may not contain a dot '.' character.")
        if view_func and "." in getattr(view_func, "__name__", ""):
            raise ValueError("'view_func' name may not contain a dot '.' character.")
        self.record(
            lambda state: state.add_url_rule(
                rule, endpoint, view_func, provide_automatic_options=provide_automatic_options, **options
            )
        )

    # -- Registrations for the whole application ---------------------------------
    # "once": however often the blueprint is registered, its application gets them once.

    def _once(self, register: t.Callable[[Carboy], t.Any]) -> None:
        self.record_once(lambda state: register(state.app))

    @setupmethod
    def app_template_filter(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template filter."""
        return named_decorator(self.add_app_template_filter, name)

    @setupmethod
    def add_app_template_filter(self, f: ct.TemplateFilterCallable, name: str | None = None) -> None:
        """Register *f* as a template filter, by default under its own name."""
        self._once(lambda app: app.jinja_env.filters.__setitem__(name or f.__name__, f))

    @setupmethod
    def app_template_test(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template test."""
        return named_decorator(self.add_app_template_test, name)

    @setupmethod
    def add_app_template_test(self, f: ct.TemplateTestCallable, name: str | None = None) -> None:
        """Register *f* as a template test, by default under its own name."""
        self._once(lambda app: app.jinja_env.tests.__setitem__(name or f.__name__, f))

    @setupmethod
    def app_template_global(self, name: t.Any = None) -> t.Any:
        """Register the decorated function as a template global."""
        return named_decorator(self.add_app_template_global, name)

    @setupmethod
    def add_app_template_global(self, f: ct.TemplateGlobalCallable, name: str | None = None) -> None:
        """Register *f* as a template global, by default under its own name."""
        self._once(lambda app: app.jinja_env.globals.__setitem__(name or f.__name__, f))

    @setupmethod
    def before_app_request(self, f: F) -> F:
        """Like :meth:`before_request`, for every request of the application."""
        self._once(lambda app: app.before_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def after_app_request(self, f: F) -> F:
        """Like :meth:`after_request`, for every request of the application."""
        self._once(lambda app: app.after_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def teardown_app_request(self, f: F) -> F:
        """Like :meth:`teardown_request`, for every request of the application."""
        self._once(lambda app: app.teardown_request_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def before_app_websocket(self, f: F) -> F:
        """Like :meth:`before_websocket`, for every WebSocket of the application."""
        self._once(lambda app: app.before_websocket_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def after_app_websocket(self, f: F) -> F:
        """Like :meth:`after_websocket`, for every WebSocket of the application."""
        self._once(lambda app: app.after_websocket_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def teardown_app_websocket(self, f: F) -> F:
        """Like :meth:`teardown_websocket`, for every WebSocket of the application."""
        self._once(lambda app: app.teardown_websocket_funcs.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_context_processor(self, f: F) -> F:
        """Like :meth:`context_processor`, for every template of the application."""
        self._once(lambda app: app.template_context_processors.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_errorhandler(self, code: type[Exception] | int) -> t.Callable[[F], F]:
        """Like :meth:`errorhandler`, for every request of the application."""

        def decorator(f: F) -> F:
            self._once(lambda app: app.errorhandler(code)(f))
            return f

        return decorator

    @setupmethod
    def app_url_value_preprocessor(self, f: F) -> F:
        """Like :meth:`url_value_preprocessor`, for every request of the application."""
        self._once(lambda app: app.url_value_preprocessors.setdefault(None, []).append(f))
        return f

    @setupmethod
    def app_url_defaults(self, f: F) -> F:
        """Like :meth:`url_defaults`, for every URL of the application."""
        self._once(lambda app: app.url_default_functions.setdefault(None, []).append(f))
        return f


def _nest(outer: BlueprintSetupState, name: str, blueprint: Blueprint, options: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the options to register a nested blueprint with."""
    options = dict(options)
    url_prefix = options.get("url_prefix")
    url_prefix = _join_prefix(outer.url_prefix, blueprint.url_prefix if url_prefix is None else url_prefix)
    if url_prefix is not None:
        options["url_prefix"] = url_prefix
    subdomain = options.get("subdomain")
    inner = blueprint.subdomain if subdomain is None else subdomain
    if inner is not None or outer.subdomain is not None:
        options["subdomain"] = ".".join(part for part in (inner, outer.subdomain) if part is not None)
    options["name_prefix"] = name
    return options
