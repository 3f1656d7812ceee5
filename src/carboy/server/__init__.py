"""The server for development; needs the extra ``carboy[server]``."""

from .development import DevelopmentServer as DevelopmentServer
