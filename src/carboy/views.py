"""Views written as classes.

`View` makes a view function of a class; `MethodView` also dispatches on the HTTP method. Whether that function is sync
or async is decided once, in `View.as_view`: it is ``async def`` when the class answers with coroutine functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any, ClassVar, cast

from .concurrency import is_async, run_blocking, run_in_thread
from .context import current_app_context, current_request_context
from .typing import ResponseReturnValue, RouteCallable

http_method_funcs = frozenset(["get", "post", "head", "options", "delete", "put", "trace", "patch"])


def _on_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


class View:
    """A view as a class: override `dispatch_request`, register what `as_view` returns.

    ::

        class Hello(View):
            def dispatch_request(self, name):
                return f"Hello, {name}!"

        app.add_url_rule("/hello/<name>", view_func=Hello.as_view("hello"))
    """

    #: The HTTP methods that the view takes. None: what ``add_url_rule`` takes by default.
    methods: ClassVar[Collection[str] | None] = None

    #: Whether the framework answers OPTIONS. None: what ``add_url_rule`` does by default.
    provide_automatic_options: ClassVar[bool | None] = None

    #: Decorators for the view function, applied in this order: the last one is the outermost. See `as_view` for async.
    decorators: ClassVar[list[Callable[..., Any]]] = []

    #: Whether each request gets an instance of its own. With False all requests share one, which then must not keep
    #: anything of a request on ``self``; ``g`` is the place for that.
    init_every_request: ClassVar[bool] = True

    def dispatch_request(self) -> ResponseReturnValue:
        """Answer the request; called with the URL's variables as keyword arguments. May be ``async def``."""
        raise NotImplementedError

    @classmethod
    def _is_async(cls) -> bool:
        return is_async(cls.dispatch_request)

    async def _dispatch_async(self, **kwargs: Any) -> Any:
        response: Any = self.dispatch_request(**kwargs)
        return await response if hasattr(response, "__await__") else response

    @classmethod
    def as_view(cls, name: str, *class_args: Any, **class_kwargs: Any) -> RouteCallable:
        """Return a view function that answers with this class, to register for a route.

        The function is ``async def`` if the class is async and has no `decorators`. Decorators as written for Flask
        call the function and go on with the response, so they get a plain function: called in a thread it waits for
        the response; called on an event loop, by an async decorator, it returns something to await.

        Args:
            name: The function's name, and so the endpoint, unless ``add_url_rule`` is given another.
            class_args: Arguments for the class, as are *class_kwargs*.
        """
        shared = None if cls.init_every_request else cls(*class_args, **class_kwargs)
        view: Any

        # Each takes the class from the function's attribute: a test may put another there, even of the other kind.
        if not cls._is_async():

            def view(**kwargs: Any) -> Any:
                instance = view.view_class(*class_args, **class_kwargs) if shared is None else shared
                response: Any = instance.dispatch_request(**kwargs)
                return run_blocking(response) if hasattr(response, "__await__") else response

        elif not cls.decorators:

            async def view(**kwargs: Any) -> Any:
                instance = view.view_class(*class_args, **class_kwargs) if shared is None else shared
                return await instance._dispatch_async(**kwargs)

        else:

            def view(**kwargs: Any) -> Any:
                instance = view.view_class(*class_args, **class_kwargs) if shared is None else shared
                response = instance._dispatch_async(**kwargs)
                return response if _on_event_loop() else run_blocking(response)

        # Decorators may look at the function's name and module, and what they return gets them too.
        view.__name__ = name
        view.__module__ = cls.__module__

        for decorator in cls.decorators:
            view = decorator(view)

        view.view_class = cls
        view.methods = cls.methods
        view.provide_automatic_options = cls.provide_automatic_options
        view.__name__ = name
        view.__module__ = cls.__module__
        view.__doc__ = cls.__doc__
        return cast(RouteCallable, view)


class MethodView(View):
    """A view class with one method for each HTTP method: ``get`` answers GET, ``post`` POST, and so on.

    ::

        class Counter(MethodView):
            def get(self):
                return str(session.get("counter", 0))

            async def post(self):
                session["counter"] = session.get("counter", 0) + 1
                return redirect(url_for("counter"))

        app.add_url_rule("/counter", view_func=Counter.as_view("counter"))

    `View.methods` follows from the methods that the class and its bases define, unless the class sets it. HEAD is
    answered by ``get`` where there is no ``head``. Sync and async methods may be mixed; on an event loop the sync ones
    run in a thread.
    """

    # Which of the methods that answer requests are coroutine functions; `as_view` finds out.
    _async_handlers: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        if "methods" in cls.__dict__:
            return

        methods = {name.upper() for name in http_method_funcs if hasattr(cls, name)}

        for base in cls.__bases__:
            methods.update(getattr(base, "methods", None) or ())

        if methods:
            cls.methods = methods

    def _handler(self) -> tuple[Callable[..., Any], bool]:
        method = current_request_context().request.method
        name = method.lower()

        if name == "head" and not hasattr(self, "head"):
            name = "get"

        handler = getattr(self, name, None)
        assert handler is not None, f"Unimplemented method {method!r}"
        return handler, name in self._async_handlers

    def dispatch_request(self, **kwargs: Any) -> ResponseReturnValue:
        """Answer with the method that the HTTP method names.

        An ``async def`` override gets something to await from this, if that method is async.
        """
        handler, handler_is_async = self._handler()

        if handler_is_async and not _on_event_loop():
            handler = current_app_context().app.ensure_sync(handler)

        response: ResponseReturnValue = handler(**kwargs)
        return response

    @classmethod
    def _is_async(cls) -> bool:
        names = {*http_method_funcs, *(method.lower() for method in cls.methods or ())}
        cls._async_handlers = frozenset(name for name in names if is_async(getattr(cls, name, object)))

        if cls.dispatch_request is MethodView.dispatch_request:
            return bool(cls._async_handlers)

        return super()._is_async()

    async def _dispatch_async(self, **kwargs: Any) -> Any:
        if type(self).dispatch_request is not MethodView.dispatch_request:
            return await super()._dispatch_async(**kwargs)

        handler, handler_is_async = self._handler()
        response = handler(**kwargs) if handler_is_async else await run_in_thread(handler, **kwargs)
        return await response if hasattr(response, "__await__") else response
