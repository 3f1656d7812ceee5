"""``python -m carboy``: the ``carboy`` command."""

from .cli import main

main()
