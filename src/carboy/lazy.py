"""Attributes computed, or imported, when somebody asks for them."""

from __future__ import annotations

import importlib
import typing as t

T = t.TypeVar("T")


class lazy(t.Generic[T]):
    """Compute an attribute at first access and keep it in the instance.

    Unlike :class:`functools.cached_property` of Python 3.11 it takes no lock;
    unlike Werkzeug's it is a non-data descriptor, so every access after the
    first, and every assignment, is a plain dictionary operation.
    """

    def __init__(self, func: t.Callable[[t.Any], T]) -> None:
        self.func = func
        self.name = func.__name__
        self.__doc__ = func.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @t.overload
    def __get__(self, instance: None, owner: type | None = None) -> lazy[T]: ...
    @t.overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> lazy[T] | T:
        if instance is None:
            return self
        value = instance.__dict__[self.name] = self.func(instance)
        return value

    if t.TYPE_CHECKING:
        # Assignment stores in the instance; declared for the type checker only.
        def __set__(self, instance: object, value: T) -> None: ...


class imported:
    """A class attribute that is imported when it is asked for.

    Args:
        module: The module's full name.
        name: What to take from it.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: object | None, owner: type | None = None) -> t.Any:
        return getattr(importlib.import_module(self._module), self._name)
