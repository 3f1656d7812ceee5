"""The application object for servers: ``granian --interface rsgi brewlog.main:app``."""

from . import create_app

app = create_app()
