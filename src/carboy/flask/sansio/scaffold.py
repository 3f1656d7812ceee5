"""``flask.sansio.scaffold``."""

from carboy.paths import find_package as find_package
from carboy.paths import get_root_path as get_root_path
from carboy.registry import Registry as Scaffold
from carboy.registry import _endpoint_from_view_func as _endpoint_from_view_func
from carboy.registry import setupmethod as setupmethod

__all__ = ["Scaffold", "find_package", "get_root_path", "setupmethod"]
