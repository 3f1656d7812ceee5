"""``python -m flask`` under the alias."""

from carboy.cli import main

main()
