"""``flask.config`` is :mod:`carboy.config` itself: what is patched in one is patched in the other."""

import sys

from carboy.config import *  # noqa: F403 - tells type checkers what the next line does

sys.modules[__name__] = sys.modules["carboy.config"]
