"""``flask.sansio.blueprints``."""

from carboy.blueprint import Blueprint as Blueprint
from carboy.blueprint import BlueprintSetupState as BlueprintSetupState
from carboy.blueprint import DeferredSetupFunction as DeferredSetupFunction

from .scaffold import Scaffold as Scaffold
from .scaffold import _endpoint_from_view_func as _endpoint_from_view_func
from .scaffold import setupmethod as setupmethod
