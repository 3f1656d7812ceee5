"""``flask.sansio.blueprints``."""

from carboy.blueprint import Blueprint as Blueprint
from carboy.blueprint import BlueprintSetupState as BlueprintSetupState
from carboy.blueprint import DeferredSetupFunction as DeferredSetupFunction
from carboy.context import _sentinel as _sentinel
from carboy.registry import Registry as Registry
from carboy.registry import _endpoint_from_view_func as _endpoint_from_view_func
from carboy.registry import setupmethod as setupmethod

Scaffold = Registry
