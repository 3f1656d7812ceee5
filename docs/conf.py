"""How Sphinx builds these pages: ``make docs``."""

import importlib.metadata

project = "carboy"
author = "The carboy developers"
release = version = importlib.metadata.version("carboy")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "alabaster"
html_theme_options = {
    "description": "Flask's public contract on a new engine.",
    "fixed_sidebar": True,
    "font_family": "system-ui, sans-serif",
    "page_width": "72rem",
    "body_max_width": "56rem",
}
html_title = "carboy"
