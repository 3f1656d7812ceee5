"""The signals that the framework sends, built on blinker.

Signals only observe: a receiver cannot change what happens next, hooks can. The sender is always the application
object. Callers test ``signal.receivers`` first, so a signal that nobody listens to costs one attribute read.
"""

from __future__ import annotations

from blinker import Namespace as Namespace

# Holds the framework's own signals only; applications and extensions make a `Namespace` of their own.
_signals = Namespace()

# While rendering: `template` and `context`.
before_render_template = _signals.signal("before-render-template")
template_rendered = _signals.signal("template-rendered")

# During a request: `request_finished` carries `response`, `got_request_exception` `exception`, and
# `request_tearing_down` `exc`.
request_started = _signals.signal("request-started")
request_finished = _signals.signal("request-finished")
got_request_exception = _signals.signal("got-request-exception")
request_tearing_down = _signals.signal("request-tearing-down")

# The same for a WebSocket. The `response` is the one that refused it, or None.
websocket_started = _signals.signal("websocket-started")
websocket_finished = _signals.signal("websocket-finished")
got_websocket_exception = _signals.signal("got-websocket-exception")
websocket_tearing_down = _signals.signal("websocket-tearing-down")

# Around an application context: `appcontext_tearing_down` carries `exc`.
appcontext_pushed = _signals.signal("appcontext-pushed")
appcontext_tearing_down = _signals.signal("appcontext-tearing-down")
appcontext_popped = _signals.signal("appcontext-popped")

# `message` and `category`.
message_flashed = _signals.signal("message-flashed")
