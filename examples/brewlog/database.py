"""The first start: a secret key, tables and the demo club, whoever of several workers comes first."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from sqlalchemy import select

from carboy import Carboy, current_app

from . import demo
from .models import User, db


def init_app(app: Carboy) -> None:
    """Connect *app* to its database, and have it brought up to date before the first request."""
    db.init_app(app)
    app.before_serving(bring_up_to_date)


def bring_up_to_date() -> None:
    """Run the migrations that were not run yet; workers that start together take turns."""
    db.migrations.upgrade()
    if current_app.config["DEMO_DATA"]:
        db.migrations.seed()


@db.seed
def demo_club() -> None:
    """Add the demo club to an empty log book."""
    if db.session.scalar(select(User).limit(1)) is None:
        demo.fill(db.session, Path(current_app.config["PHOTO_FOLDER"]))


def read_or_create_key(path: Path) -> bytes:
    """Return the secret key kept in *path*, made at the first start and readable by the owner only."""
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, path.name)
            with open(os.open(made, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
            try:
                # Whole, and only if no other worker was faster.
                os.link(made, path)
            except FileExistsError:
                pass
    return path.read_bytes()
