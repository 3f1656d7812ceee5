"""``flask.signals``."""

from blinker import Namespace as Namespace

from carboy.signals import _signals as _signals
from carboy.signals import appcontext_popped as appcontext_popped
from carboy.signals import appcontext_pushed as appcontext_pushed
from carboy.signals import appcontext_tearing_down as appcontext_tearing_down
from carboy.signals import before_render_template as before_render_template
from carboy.signals import got_request_exception as got_request_exception
from carboy.signals import message_flashed as message_flashed
from carboy.signals import request_finished as request_finished
from carboy.signals import request_started as request_started
from carboy.signals import request_tearing_down as request_tearing_down
from carboy.signals import template_rendered as template_rendered

from .patching import forward_patches

forward_patches(__name__, "carboy.signals")
