"""Configuration: a dictionary that loads itself from where settings are kept.

Owns :class:`Config`, and the attributes of an application that are views of
config keys. Knows nothing of applications but their ``config`` attribute.
"""

from __future__ import annotations

import errno
import json
import os
import types
import typing as t

from werkzeug.utils import import_string

T = t.TypeVar("T")

files: set[str] = set()
"""Every file that this process has loaded settings from, or has tried to: what a reloader watches."""


def _is_missing(error: OSError) -> bool:
    return error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)


def _load_failure(error: OSError) -> str:
    return f"Unable to load configuration file ({error.strerror})"


class HasConfig(t.Protocol):
    """What a :class:`ConfigAttribute` can sit on: an object with ``config``."""

    @property
    def config(self) -> Config: ...


class ConfigAttribute(t.Generic[T]):
    """An attribute that reads and writes one key of the object's config.

    Example::

        class Shop(Carboy):
            currency = ConfigAttribute[str]("CURRENCY")

    Args:
        name: The config key.
        get_converter: Makes the attribute's value from the stored one, at each
            reading; the stored value is left as it is.
    """

    def __init__(self, name: str, get_converter: t.Callable[[t.Any], T] | None = None) -> None:
        self.__name__ = name
        self.get_converter = get_converter

    @t.overload
    def __get__(self, obj: None, owner: type[t.Any] | None) -> ConfigAttribute[T]: ...

    @t.overload
    def __get__(self, obj: HasConfig, owner: type[t.Any] | None) -> T: ...

    def __get__(self, obj: HasConfig | None, owner: type[t.Any] | None = None) -> T | ConfigAttribute[T]:
        if obj is None:
            return self
        value = obj.config[self.__name__]
        return value if self.get_converter is None else self.get_converter(value)

    def __set__(self, obj: HasConfig, value: t.Any) -> None:
        obj.config[self.__name__] = value


class Config(dict[str, t.Any]):
    """A dictionary of settings, with loaders for the places they come from.

    Only upper-case names are settings: whatever else a file or an object holds
    is passed over, so it may compute and keep what it likes in lower case.

    Example::

        app.config.from_object("shop.defaults")
        app.config.from_file("settings.toml", load=tomllib.load, text=False)
        app.config.from_prefixed_env("SHOP")

    Args:
        root_path: Relative file names are looked up in this folder.
        defaults: The first content.
    """

    def __init__(self, root_path: str | os.PathLike[str], defaults: dict[str, t.Any] | None = None) -> None:
        super().__init__(defaults or {})
        self.root_path = root_path

    def from_envvar(self, variable_name: str, silent: bool = False) -> bool:
        """Load the Python file whose name an environment variable holds.

        Args:
            variable_name: Name of the environment variable.
            silent: Return False where the variable or the file is missing.

        Returns:
            Whether the file was loaded.

        Raises:
            RuntimeError: The variable is unset or empty, and not *silent*.
            OSError: As for :meth:`from_pyfile`.
        """
        filename = os.environ.get(variable_name)
        if filename:
            return self.from_pyfile(filename, silent=silent)
        if silent:
            return False
        raise RuntimeError(
            f"The environment variable {variable_name!r} is not set, so there is no configuration file to load."
            " Set it to the name of the file."
        )

    def from_prefixed_env(self, prefix: str = "FLASK", *, loads: t.Callable[[str], t.Any] = json.loads) -> bool:
        """Load the environment variables that begin with ``<prefix>_``.

        The rest of the variable's name is the key. ``__`` in it goes one level
        deeper: ``FLASK_DB__PORT`` sets ``config["DB"]["PORT"]``; dictionaries on
        the way are made. Variables are taken in sorted order.

        Args:
            prefix: Beginning of the names, without the underscore.
            loads: Reads a value from its text, JSON by default; where it raises,
                the value stays a text.

        Returns:
            True.
        """
        start = f"{prefix}_"
        for variable in sorted(os.environ):
            if not variable.startswith(start):
                continue
            text = os.environ[variable]
            try:
                value = loads(text)
            except Exception:
                value = text  # It was not written for `loads`: plain text is the usual case.

            *parents, key = variable.removeprefix(start).split("__")
            target: dict[str, t.Any] = self
            for parent in parents:
                if parent not in target:
                    target[parent] = {}
                target = target[parent]
            target[key] = value
        return True

    def from_pyfile(self, filename: str | os.PathLike[str], silent: bool = False) -> bool:
        """Run a Python file and load its upper-case names.

        Args:
            filename: Absolute, or relative to ``root_path``. Its ending is free.
            silent: Return False where there is no such file.

        Returns:
            Whether the file was loaded.

        Raises:
            OSError: The file cannot be read.
        """
        filename = os.path.join(self.root_path, filename)
        files.add(filename)
        try:
            with open(filename, "rb") as file:
                source = file.read()
        except OSError as error:
            if silent and _is_missing(error):
                return False
            error.strerror = _load_failure(error)
            raise
        module = types.ModuleType("config")
        module.__file__ = filename
        exec(compile(source, filename, "exec"), module.__dict__)
        self.from_object(module)
        return True

    def from_object(self, obj: object | str) -> None:
        """Load the upper-case attributes of an object, mostly a module or class.

        A class's properties are loaded as properties; pass an instance of it to
        load what they return.

        Args:
            obj: The object, or its import name.

        Raises:
            ImportError: There is nothing to import by that name.
        """
        source = import_string(obj) if isinstance(obj, str) else obj
        for name in dir(source):
            if name.isupper():
                self[name] = getattr(source, name)

    def from_file(
        self,
        filename: str | os.PathLike[str],
        load: t.Callable[[t.IO[t.Any]], t.Mapping[str, t.Any]],
        silent: bool = False,
        text: bool = True,
    ) -> bool:
        """Load a data file: JSON, TOML, or whatever *load* reads.

        Args:
            filename: Absolute, or relative to ``root_path``.
            load: Reads the opened file into a mapping, as ``json.load`` does.
            silent: Return False where there is no such file.
            text: Open the file as text; ``tomllib.load`` wants False.

        Returns:
            Whether the file was loaded.

        Raises:
            OSError: The file cannot be read.
        """
        filename = os.path.join(self.root_path, filename)
        files.add(filename)
        try:
            with open(filename, "r" if text else "rb") as file:
                data = load(file)
        except OSError as error:
            if silent and _is_missing(error):
                return False
            error.strerror = _load_failure(error)
            raise
        return self.from_mapping(data)

    def from_mapping(self, mapping: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> bool:
        """Update like :meth:`dict.update`, passing over keys not in upper case.

        Args:
            mapping: A mapping, or an iterable of pairs.

        Returns:
            True.
        """
        for key, value in dict(mapping or {}, **kwargs).items():
            if key.isupper():
                self[key] = value
        return True

    def get_namespace(self, namespace: str, lowercase: bool = True, trim_namespace: bool = True) -> dict[str, t.Any]:
        """Return the settings whose names begin with *namespace*.

        Made for passing settings on as keyword arguments: with ``MAIL_HOST`` and
        ``MAIL_PORT`` set, ``get_namespace("MAIL_")`` has keys ``host``, ``port``.

        Args:
            namespace: Beginning of the names, with the underscore.
            lowercase: Return the keys in lower case.
            trim_namespace: Return the keys without *namespace*.
        """
        start = len(namespace) if trim_namespace else 0
        return {
            key[start:].lower() if lowercase else key[start:]: value
            for key, value in self.items()
            if key.startswith(namespace)
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict.__repr__(self)}>"
