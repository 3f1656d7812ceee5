"""Routing: Werkzeug's rules and maps, with matching and building of our own."""

from .host import check_host as check_host
from .map import Map as Map
from .match import Matcher as Matcher
