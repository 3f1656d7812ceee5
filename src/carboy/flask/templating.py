"""``flask.templating``."""

from jinja2 import BaseLoader as BaseLoader
from jinja2 import Environment as BaseEnvironment  # noqa: F401
from jinja2 import Template as Template
from jinja2 import TemplateNotFound as TemplateNotFound

from carboy.context import _cv_app as _cv_app
from carboy.context import _cv_request as _cv_request
from carboy.context import _default_template_ctx_processor as _default_template_ctx_processor
from carboy.context import stream_with_context as stream_with_context
from carboy.proxies import current_app as current_app
from carboy.proxies import request as request
from carboy.signals import before_render_template as before_render_template
from carboy.signals import template_rendered as template_rendered
from carboy.templating import DispatchingJinjaLoader as DispatchingJinjaLoader
from carboy.templating import Environment as Environment
from carboy.templating import _render as _render
from carboy.templating import _stream as _stream
from carboy.templating import render_template as render_template
from carboy.templating import render_template_string as render_template_string
from carboy.templating import stream_template as stream_template
from carboy.templating import stream_template_string as stream_template_string

from .patching import forward_patches

forward_patches(__name__, "carboy.templating")
