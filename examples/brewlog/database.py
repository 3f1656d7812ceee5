"""SQLite: one connection per request, made on first use and closed at teardown.

Several server workers may start at once on an empty instance folder. Each prepares the new
file under a name of its own and publishes it with a hard link, which only the first can do.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from carboy import Carboy, current_app, g
from carboy.cli import with_appcontext

from . import demo


def init_app(app: Carboy) -> None:
    """Make the database if there is none, and add the commands and the teardown."""
    app.teardown_appcontext(close_connection)
    app.cli.add_command(init_db)
    app.cli.add_command(seed)
    if not Path(app.config["DATABASE"]).exists():
        with app.app_context():
            create_database(with_demo_data=app.config["DEMO_DATA"])


def connection() -> sqlite3.Connection:
    """Return this request's connection."""
    if "connection" not in g:
        g.connection = connect(current_app.config["DATABASE"])
    database: sqlite3.Connection = g.connection
    return database


def connect(path: str) -> sqlite3.Connection:
    """Open the database at *path* with rows that are read by column name."""
    # One request uses its connection in one thread at a time, but not always in the same
    # thread: a streamed response may be produced in another one than its view.
    database = sqlite3.connect(path, check_same_thread=False)
    database.row_factory = sqlite3.Row
    database.execute("PRAGMA foreign_keys = ON")
    return database


def close_connection(exc: BaseException | None) -> None:
    """Close the request's connection; what was not committed is rolled back."""
    database = g.pop("connection", None)
    if database is not None:
        database.close()


def create_database(with_demo_data: bool) -> None:
    """Create the tables, and the demo data if wanted, unless another worker was faster."""

    def build(path: str) -> None:
        database = connect(path)
        # Readers and the writer do not wait for each other in this mode; the file keeps it.
        database.execute("PRAGMA journal_mode = WAL")
        with current_app.open_resource("schema.sql", "r", encoding="utf-8") as schema:
            database.executescript(schema.read())
        if with_demo_data:
            demo.fill(database, Path(current_app.config["PHOTO_FOLDER"]))
        database.close()

    publish(Path(current_app.config["DATABASE"]), build)


def publish(target: Path, build: Callable[[str], None]) -> None:
    """Build a file in a temporary place and move it to *target* whole, if none is there yet."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        path = os.path.join(folder, target.name)
        build(path)
        try:
            os.link(path, target)
        except FileExistsError:
            return


def read_or_create_key(path: Path) -> bytes:
    """Return the secret key kept in *path*, made at the first start and readable by the owner only."""

    def build(name: str) -> None:
        with open(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))

    if not path.exists():
        publish(path, build)
    return path.read_bytes()


@click.command("init-db")
@click.confirmation_option(prompt="This deletes every batch. Go on?")
@with_appcontext
def init_db() -> None:
    """Delete all data and create empty tables."""
    for suffix in ("", "-wal", "-shm"):
        Path(current_app.config["DATABASE"] + suffix).unlink(missing_ok=True)
    create_database(with_demo_data=False)
    click.echo("An empty database is ready.")


@click.command("seed")
@with_appcontext
def seed() -> None:
    """Add the demo club: three brewers and their batches."""
    try:
        demo.fill(connection(), Path(current_app.config["PHOTO_FOLDER"]))
    except sqlite3.IntegrityError:
        raise click.ClickException("The demo club is already there.") from None
    click.echo(f"Log in as {demo.NAME} with the password {demo.PASSWORD}.")
