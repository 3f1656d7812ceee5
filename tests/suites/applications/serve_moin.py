"""The wiki of the current folder."""

from moin.app import create_app

app = create_app()
