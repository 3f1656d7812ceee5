"""Brewlog: the logbook of a small brewing club, built on carboy's core.

``create_app`` is the whole wiring: settings, database, blueprints, error pages, commands.
Read it first, then ``batches.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carboy import Carboy, Response, g

from . import api, auth, batches, brewing, cellar, csrf, database, pages


def create_app(settings: Mapping[str, Any] | None = None, instance_path: str | Path | None = None) -> Carboy:
    """Return a ready application; the first start makes its database and its secret key.

    Args:
        settings: Configuration that wins over defaults and environment (the tests use it).
        instance_path: Folder for everything written at run time. Default: the environment
            variable ``BREWLOG_INSTANCE``, else ``instance`` beside this file.
    """
    folder = Path(instance_path or os.environ.get("BREWLOG_INSTANCE") or Path(__file__).parent / "instance")
    folder = folder.absolute()
    app = Carboy(__name__, instance_path=str(folder), instance_relative_config=True)
    app.config.from_mapping(
        DATABASE_URL="sqlite:///logbook.sqlite",  # in the instance folder
        PHOTO_FOLDER=str(folder / "photos"),
        PAGE_SIZE=6,
        DEMO_DATA=True,
        LIVE_PAUSE=1.0,  # seconds between two rows of the cellar's live page
        MAX_CONTENT_LENGTH=4 * 1024 * 1024,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    app.config.from_pyfile("settings.py", silent=True)
    app.config.from_prefixed_env("BREWLOG")
    app.config.from_mapping(settings or {})

    Path(app.config["PHOTO_FOLDER"]).mkdir(parents=True, exist_ok=True)
    app.secret_key = app.config["SECRET_KEY"] or database.read_or_create_key(folder / "secret_key")

    database.init_app(app)
    pages.init_app(app)
    for blueprint in (auth.blueprint, batches.blueprint, cellar.blueprint, api.blueprint):
        app.register_blueprint(blueprint)
    csrf.init_app(app)  # last, so that a refused form still knows its user

    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(STYLES=brewing.STYLES, STATUSES=brewing.STATUSES)
    app.jinja_env.filters.update(gravity=brewing.format_gravity, day=brewing.format_day, moment=brewing.format_moment)
    app.context_processor(lambda: {"user": g.get("user")})
    app.after_request(secure_headers)
    return app


def secure_headers(response: Response) -> Response:
    """Allow only this site's own assets: no inline script or style is used anywhere."""
    response.headers.setdefault("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
