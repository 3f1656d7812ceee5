"""``flask.blueprints``."""

# What Flask's module happens to import: some code takes it from there.
import os as os
from datetime import timedelta as timedelta

from carboy.blueprint import Blueprint as Blueprint
from carboy.blueprint import BlueprintSetupState as BlueprintSetupState
from carboy.cli import AppGroup as AppGroup
from carboy.files import send_from_directory as send_from_directory
from carboy.proxies import current_app as current_app

SansioBlueprint = Blueprint
