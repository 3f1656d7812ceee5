"""fava's application for the ledger in the current folder, as its own command makes it."""

from fava.application import create_app

app = create_app(["ledger.beancount"])
