"""Routing: Werkzeug's rules and maps, with a faster way to a match."""

from .match import Map as Map
from .match import Router as Router
from .match import check_host as check_host
