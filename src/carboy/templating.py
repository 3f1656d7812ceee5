"""Jinja in an application: its environment, the loader over application and blueprints, rendering and streaming.

A template is rendered with the caller's values, those of the context processors, and the globals of ``app.jinja_env``.
Rendering announces itself by the signals ``before_render_template`` and ``template_rendered``.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import BaseLoader, Template, TemplateNotFound
from jinja2 import Environment as BaseEnvironment
from jinja2.runtime import Context, new_context
from jinja2.utils import missing

from .context import _cv_request, current_app_context, has_request_context, stream_with_context
from .debug import explain_template_loading_attempts
from .signals import before_render_template, template_rendered

if TYPE_CHECKING:
    from blinker import NamedSignal

    from .app import Carboy
    from .registry import Registry

# What a loader gives: the source, its file name if it has one, and a function that tells whether it is still current.
TemplateSource = tuple[str, str | None, Callable[[], bool] | None]


class _Template(Template):
    def new_context(
        self, vars: dict[str, Any] | None = None, shared: bool = False, locals: Mapping[str, Any] | None = None
    ) -> Context:
        # PERF: Jinja copies the globals, and they are a ChainMap, which Python code looks through name by name.
        names: dict[str, Any] = {}

        for mapping in reversed(self.globals.maps if isinstance(self.globals, ChainMap) else [self.globals]):
            names.update(mapping)

        return new_context(self.environment, self.name, self.blocks, vars, shared, names, locals)


_ATTRIBUTES_OF_DICT = frozenset(dir(dict))


class Environment(BaseEnvironment):
    """A Jinja environment that belongs to an application.

    Args:
        app: The application, kept as ``app``.
        options: Options of `jinja2.Environment`; the default ``loader`` is ``app.create_global_jinja_loader()``.
    """

    template_class = _Template

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        behind = cls.__mro__[cls.__mro__.index(Environment) + 1 :]

        for name in "getattr", "template_class":
            # SECURITY: one that stands behind this class (the sandbox's, the native environment's) goes before Jinja's.
            if getattr(cls, name) is getattr(Environment, name):
                theirs = next(base.__dict__[name] for base in behind if name in base.__dict__)

                if theirs is not getattr(BaseEnvironment, name):
                    setattr(cls, name, theirs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what ``obj.attribute`` is in a template: an attribute, else an item, else undefined."""
        # PERF: that a dict has no such attribute needs no exception to be made, which takes twice the time of the rest.
        if type(obj) is not dict or attribute in _ATTRIBUTES_OF_DICT:
            found = getattr(obj, attribute, missing)

            if found is not missing:
                return found

        try:
            return obj[attribute]
        except (AttributeError, LookupError, TypeError):
            return self.undefined(obj=obj, name=attribute)

    def __init__(self, app: Carboy, **options: Any) -> None:
        if "loader" not in options:
            options["loader"] = app.create_global_jinja_loader()

        super().__init__(**options)
        self.app = app


class DispatchingJinjaLoader(BaseLoader):
    """Find templates with the application's loader first, then with those of its blueprints, in order of registration.

    Args:
        app: The application; blueprints registered later are seen too.
    """

    def __init__(self, app: Carboy) -> None:
        self.app = app

    def get_source(self, environment: BaseEnvironment, template: str) -> TemplateSource:
        """Return the first source found for the name *template*.

        With ``EXPLAIN_TEMPLATE_LOADING`` every loader is asked, and what each said is logged.

        Raises:
            TemplateNotFound: no loader knows the name.
        """
        if self.app.config["EXPLAIN_TEMPLATE_LOADING"]:
            return self._get_source_explained(environment, template)

        return self._get_source_fast(environment, template)

    def _get_source_fast(self, environment: BaseEnvironment, template: str) -> TemplateSource:
        for _owner, loader in self._iter_loaders(template):
            try:
                return loader.get_source(environment, template)
            except TemplateNotFound:
                continue

        raise TemplateNotFound(template)

    def _get_source_explained(self, environment: BaseEnvironment, template: str) -> TemplateSource:
        attempts: list[tuple[BaseLoader, Registry, TemplateSource | None]] = []

        for owner, loader in self._iter_loaders(template):
            try:
                source = loader.get_source(environment, template)
            except TemplateNotFound:
                attempts.append((loader, owner, None))
            else:
                attempts.append((loader, owner, source))

        explain_template_loading_attempts(self.app, template, attempts)

        for _loader, _owner, found in attempts:
            if found is not None:
                return found

        raise TemplateNotFound(template)

    def _iter_loaders(self, template: str) -> Iterator[tuple[Registry, BaseLoader]]:
        owners: list[Registry] = [self.app, *self.app.iter_blueprints()]

        for owner in owners:
            if (loader := owner.jinja_loader) is not None:
                yield owner, loader

    def list_templates(self) -> list[str]:
        """Return the names of all templates, of application and blueprints, in no order and each once."""
        return list({name for _owner, loader in self._iter_loaders("") for name in loader.list_templates()})


def _complete(app: Carboy, context: dict[str, Any]) -> None:
    # COMPAT: an overridden update_template_context takes the context too if it is written for Flask 3.2.
    ctx = _cv_request.get(None) or current_app_context()
    app._call_override("update_template_context", ctx, context)


def _send(signal: NamedSignal, app: Carboy, template: Template, context: dict[str, Any]) -> None:
    if signal.receivers:
        signal.send(app, _async_wrapper=app.ensure_sync, template=template, context=context)


def _render(app: Carboy, template: Template, context: dict[str, Any]) -> str:
    _complete(app, context)
    _send(before_render_template, app, template, context)
    text = template.render(context)
    _send(template_rendered, app, template, context)
    return text


def _stream(app: Carboy, template: Template, context: dict[str, Any]) -> Any:
    _complete(app, context)
    _send(before_render_template, app, template, context)

    def generate() -> Iterator[str]:
        yield from template.generate(context)
        _send(template_rendered, app, template, context)

    async def generate_async() -> AsyncIterator[str]:
        async for piece in template.generate_async(context):
            yield piece
        _send(template_rendered, app, template, context)

    stream = generate_async() if template.environment.is_async else generate()
    # The server asks for the text when the view has returned, and the template may still use the request then.
    return stream_with_context(stream) if has_request_context() else stream


def render_template(template_name_or_list: str | Template | list[str | Template], **context: Any) -> str:
    """Render a template of the current application.

    Args:
        template_name_or_list: The template's name; of a list, the first that exists is taken.
        context: The values that the template may use.

    Raises:
        TemplateNotFound: there is no such template.
        RuntimeError: no application context is active.
    """
    app = current_app_context().app
    return _render(app, app.jinja_env.get_or_select_template(template_name_or_list), context)


def render_template_string(source: str, **context: Any) -> str:
    """Render the template text *source* with the values in *context*; autoescaping is on.

    Raises:
        RuntimeError: no application context is active.
    """
    app = current_app_context().app
    return _render(app, app.jinja_env.from_string(source), context)


def stream_template(template_name_or_list: str | Template | list[str | Template], **context: Any) -> Iterator[str]:
    """Render a template piece by piece, as an iterator that a view may return.

    Takes and raises what `render_template` does. A request that is active stays so while the template is rendered.
    With `enable_async` among the options of the Jinja environment it is an async iterator.
    """
    app = current_app_context().app
    stream: Iterator[str] = _stream(app, app.jinja_env.get_or_select_template(template_name_or_list), context)
    return stream


def stream_template_string(source: str, **context: Any) -> Iterator[str]:
    """Render the template text *source* piece by piece, as an iterator that a view may return.

    Raises:
        RuntimeError: no application context is active.
    """
    app = current_app_context().app
    stream: Iterator[str] = _stream(app, app.jinja_env.from_string(source), context)
    return stream
