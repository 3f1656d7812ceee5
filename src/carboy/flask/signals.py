"""``flask.signals`` is :mod:`carboy.signals` itself: what is patched in one is patched in the other."""

import sys

from carboy.signals import *  # noqa: F403 - tells type checkers what the next line does

sys.modules[__name__] = sys.modules["carboy.signals"]
