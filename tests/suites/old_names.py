"""A pytest plugin that gives ``flask`` a name back that Flask 2.3 removed and Flask-RESTful's tests import.

Flask-RESTful itself does without; both runs of its tests have the plugin.
"""

import flask.signals

flask.signals.signals_available = True  # type: ignore[attr-defined]
