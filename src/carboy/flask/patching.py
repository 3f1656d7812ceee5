"""Lets a patch of ``flask.x.name`` reach carboy's module that defines the name and looks it up."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class PatchableModule(ModuleType):
    """A module that passes on what is assigned to its names to the modules that it took them from."""

    def __setattr__(self, name: str, value: Any) -> None:
        current = vars(self).get(name)
        for source in vars(self)["_sources"]:
            if current is not None and vars(source).get(name) is current:
                setattr(source, name, value)
        super().__setattr__(name, value)


def forward_patches(module_name: str, *sources: str) -> None:
    """Pass on assignments in the module *module_name* to the modules *sources*, for names that both have."""
    module = sys.modules[module_name]
    vars(module)["_sources"] = [sys.modules[source] for source in sources]
    module.__class__ = PatchableModule
