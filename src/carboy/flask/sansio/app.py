"""``flask.sansio.app``."""

from carboy.app import Carboy as App
from carboy.config import Config as Config
from carboy.config import ConfigAttribute as ConfigAttribute

from .scaffold import Scaffold as Scaffold
from .scaffold import _endpoint_from_view_func as _endpoint_from_view_func
from .scaffold import find_package as find_package
from .scaffold import setupmethod as setupmethod

__all__ = ["App"]
