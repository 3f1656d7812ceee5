"""``flask.json.provider`` is :mod:`carboy.json.provider` itself: what is patched in one is patched in the other."""

import sys

from carboy.json.provider import *  # noqa: F403 - tells type checkers what the next line does

sys.modules[__name__] = sys.modules["carboy.json.provider"]
