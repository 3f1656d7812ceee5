"""The benchmark's page on Sanic, with Sanic Extensions."""

from __future__ import annotations

from cellar import CASKS, TEMPLATES, TITLE
from sanic import HTTPResponse, Request, Sanic
from sanic_ext import render

app = Sanic("benchmark")
app.config.TEMPLATING_PATH_TO_TEMPLATES = TEMPLATES


@app.get("/page")
async def page(request: Request) -> HTTPResponse:
    """Render a template."""
    return await render("casks.html", context={"title": TITLE, "casks": CASKS})
