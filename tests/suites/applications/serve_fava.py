"""fava's application for the ledger in the current folder, as its own command makes it."""

from pathlib import Path

from fava.application import create_app

app = create_app([Path("ledger.beancount").absolute()])
