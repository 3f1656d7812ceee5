"""``flask.json.tag`` is :mod:`carboy.json.tag` itself: what is patched in one is patched in the other."""

import sys

from carboy.json.tag import *  # noqa: F403 - tells type checkers what the next line does

sys.modules[__name__] = sys.modules["carboy.json.tag"]
