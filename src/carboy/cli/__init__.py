"""The command line: the ``carboy`` command, and what commands of your own need.

Its names are those of ``flask.cli`` (Flask 3.1).
"""

from .discovery import NoAppException as NoAppException
from .discovery import ScriptInfo as ScriptInfo
from .discovery import find_app_by_string as find_app_by_string
from .discovery import find_best_app as find_best_app
from .discovery import locate_app as locate_app
from .discovery import pass_script_info as pass_script_info
from .discovery import prepare_import as prepare_import
from .dotenv import load_dotenv as load_dotenv
from .groups import AppGroup as AppGroup
from .groups import FlaskGroup as FlaskGroup
from .groups import get_version as get_version
from .groups import version_option as version_option
from .groups import with_appcontext as with_appcontext
from .params import CertParamType as CertParamType
from .params import SeparatedPathType as SeparatedPathType
from .program import cli as cli
from .program import main as main
from .routes import routes_command as routes_command
from .run import run_command as run_command
from .run import show_server_banner as show_server_banner
from .serve import serve_command as serve_command
from .shell import shell_command as shell_command
