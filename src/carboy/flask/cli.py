"""``flask.cli``."""

# What Flask's module happens to import: some code takes it from there.
import ast as ast
import importlib as importlib
import inspect as inspect
import os as os
import platform as platform
import re as re
import sys as sys
import traceback as traceback
from functools import update_wrapper as update_wrapper

import click as click
from click.core import ParameterSource as ParameterSource
from werkzeug.serving import is_running_from_reloader as is_running_from_reloader
from werkzeug.serving import run_simple as run_simple
from werkzeug.utils import import_string as import_string

from carboy.cli import AppGroup as AppGroup
from carboy.cli import CertParamType as CertParamType
from carboy.cli import FlaskGroup as FlaskGroup
from carboy.cli import NoAppException as NoAppException
from carboy.cli import ScriptInfo as ScriptInfo
from carboy.cli import SeparatedPathType as SeparatedPathType
from carboy.cli import cli as cli
from carboy.cli import find_app_by_string as find_app_by_string
from carboy.cli import find_best_app as find_best_app
from carboy.cli import get_version as get_version
from carboy.cli import load_dotenv as load_dotenv
from carboy.cli import locate_app as locate_app
from carboy.cli import main as main
from carboy.cli import pass_script_info as pass_script_info
from carboy.cli import prepare_import as prepare_import
from carboy.cli import routes_command as routes_command
from carboy.cli import run_command as run_command
from carboy.cli import shell_command as shell_command
from carboy.cli import show_server_banner as show_server_banner
from carboy.cli import version_option as version_option
from carboy.cli import with_appcontext as with_appcontext
from carboy.debug import get_debug_flag as get_debug_flag
from carboy.debug import get_load_dotenv as get_load_dotenv
from carboy.proxies import current_app as current_app

from .patching import forward_patches

forward_patches(__name__, "carboy.cli")
