"""The commands ``carboy db …``."""

from __future__ import annotations

import typing as t

import click

from carboy import current_app
from carboy.cli import with_appcontext
from carboy.cli.shell import interact

if t.TYPE_CHECKING:
    from .database import Database
    from .migrations import Migrations

    Key = str | None

_bind_option = click.option("--bind", "-b", metavar="NAME", help="Only this database of DATABASE_BINDS.")
_yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_sql_option = click.option("--sql", is_flag=True, help="Print the SQL instead; nothing is run.")


def _database() -> Database:
    database: Database = current_app.extensions["carboy.db"].database
    return database


class _Group(click.Group):
    """Shows a migration's error as a message."""

    # An application with this battery has its own `db`, whatever packages offer under this name.
    wins_over_packages = True

    def invoke(self, ctx: click.Context) -> t.Any:
        """Run a command."""
        from .migrations import MigrationError

        try:
            return super().invoke(ctx)
        except MigrationError as e:
            raise click.ClickException(str(e)) from e


def _each(bind: Key) -> t.Iterator[tuple[Migrations, Key, str]]:
    """Give the database of *bind*, or all that have migrations, with a heading for each if there are several."""
    migrations = _database().migrations
    keys = migrations.keys() if bind is None else [bind]
    for key in keys:
        yield migrations, key, "" if len(keys) == 1 else f"{key or 'main'}: "


@click.command("init")
@with_appcontext
def init_command() -> None:
    """Make the folder of the migrations."""
    folder = _database().migrations.folder
    for _, key, _ in _each(None):
        place = folder if key is None else folder / key
        place.mkdir(parents=True, exist_ok=True)
    note = folder / "README.md"
    if not note.exists():
        note.write_text(_NOTE, encoding="utf-8")
    click.echo(f"{folder} is ready. Keep it in version control. Next: carboy db revision -m 'first tables'")


_NOTE = """\
How the tables of this application came to be, step by step. Each file is a migration; they are part of the code.

    carboy db revision -m "add a rating"    write one from what has changed in the models; read it before you run it
    carboy db upgrade                       run what has not been run yet
    carboy db check                         do the models, the migrations and the database agree? (for CI)
"""


@click.command("revision")
@click.option("--message", "-m", required=True, help="What it does, in a few words.")
@click.option(
    "--autogenerate/--empty", default=True, help="Compare models and database (default), or write an empty one."
)
@_bind_option
@with_appcontext
def revision_command(message: str, autogenerate: bool, bind: Key) -> None:
    """Write a migration: what brings the database to the models."""
    migrations = _database().migrations
    path, losses = migrations.revision(message, bind=bind, empty=not autogenerate)
    click.echo(f"Written: {path}")
    for loss in losses:
        click.secho(f"  It {loss}: what is in it will be lost. If that was renamed, write so.", fg="yellow")
    click.echo(
        "Read it before you run it"
        + (": a new name looks like one thing gone and another come." if autogenerate else ".")
    )


@click.command("upgrade")
@click.argument("revision", default="heads")
@_bind_option
@_sql_option
@click.option("--wait", type=float, default=300, show_default=True, help="Seconds to wait for others who migrate.")
@with_appcontext
def upgrade_command(revision: str, bind: Key, sql: bool, wait: float) -> None:
    """Run the migrations that have not been run yet.

    Any number of processes may do so at the same time: each migration is run once.
    """
    for migrations, key, heading in _each(bind):
        if sql:
            click.echo(migrations.sql(revision, bind=key))
            continue
        _tell(migrations, migrations.upgrade(revision, bind=key, wait=wait), key, heading, "ran")


@click.command("downgrade")
@click.argument("revision", default="-1")
@_bind_option
@_sql_option
@_yes_option
@with_appcontext
def downgrade_command(revision: str, bind: Key, sql: bool, yes: bool) -> None:
    """Take migrations back: the last one, or down to REVISION ('base' for all)."""
    migrations = _database().migrations
    if sql:
        click.echo(migrations.sql(revision, bind=bind, down=True))
        return
    if not yes:
        what = "all migrations" if revision == "base" else f"migrations ({revision})"
        click.confirm(f"Take back {what}? What is in tables and columns that go will be lost.", abort=True)
    _tell(migrations, migrations.downgrade(revision, bind=bind), bind, "", "took back")


def _tell(migrations: Migrations, revisions: list[str], key: Key, heading: str, did: str) -> None:
    titles = {script.revision: script.doc for script in migrations.history(bind=key)}
    for revision in revisions:
        click.echo(f"{heading}{did} {revision}  {titles.get(revision, '')}")
    if not revisions:
        click.echo(f"{heading}there is nothing to do")


@click.command("current")
@_bind_option
@with_appcontext
def current_command(bind: Key) -> None:
    """Show at which migration the database is."""
    for migrations, key, heading in _each(bind):
        heads = migrations.heads(bind=key)
        for revision in migrations.current(bind=key) or ["none"]:
            click.echo(f"{heading}{revision}{' (the last)' if revision in heads else ''}")


@click.command("history")
@_bind_option
@with_appcontext
def history_command(bind: Key) -> None:
    """List the migrations, the newest first; '*' marks those that were run."""
    for migrations, key, heading in _each(bind):
        pending = set(migrations.pending(bind=key))
        for script in migrations.history(bind=key):
            mark = " " if script.revision in pending else "*"
            click.echo(f"{heading}{mark} {script.revision}  {script.doc}")


@click.command("heads")
@_bind_option
@with_appcontext
def heads_command(bind: Key) -> None:
    """Show the last migration; or, where there are several, how that came about."""
    for migrations, key, heading in _each(bind):
        heads = migrations.heads(bind=key)
        if len(heads) > 1:
            click.echo(f"{heading}{migrations.explain_heads(bind=key)}")
        else:
            click.echo(f"{heading}{heads[0] if heads else 'there are no migrations'}")


@click.command("merge")
@click.option("--message", "-m", default="merge", help="What is merged.")
@_bind_option
@with_appcontext
def merge_command(message: str, bind: Key) -> None:
    """Write a migration that ties several last ones together."""
    click.echo(f"Written: {_database().migrations.merge(message, bind=bind)}")


@click.command("check")
@_bind_option
@with_appcontext
def check_command(bind: Key) -> None:
    """Check that models, migrations and database agree: for CI.

    The exit code is 1 if they do not.
    """
    wrong = False
    for migrations, key, heading in _each(bind):
        if len(migrations.heads(bind=key)) > 1:
            click.echo(f"{heading}{migrations.explain_heads(bind=key)}", err=True)
            wrong = True
        elif pending := migrations.pending(bind=key):
            click.echo(f"{heading}not run yet: {', '.join(pending)}. Run: carboy db upgrade", err=True)
            wrong = True
        elif differences := migrations.differences(bind=key):
            listed = "".join(f"\n  {line}" for line in differences)
            click.echo(f"{heading}the models ask for what no migration does:{listed}", err=True)
            click.echo("Write it: carboy db revision -m '…'", err=True)
            wrong = True
        else:
            click.echo(f"{heading}models, migrations and database agree")
    if wrong:
        raise SystemExit(1)


@click.command("stamp")
@click.argument("revision", default="heads")
@_bind_option
@with_appcontext
def stamp_command(revision: str, bind: Key) -> None:
    """Note that the database is at REVISION, without running anything."""
    for migrations, key, heading in _each(bind):
        migrations.stamp(revision, bind=key)
        click.echo(f"{heading}the database is taken to be at {', '.join(migrations.current(bind=key)) or 'none'}")


@click.command("seed")
@with_appcontext
def seed_command() -> None:
    """Call the application's functions that add data (@db.seed)."""
    for migrations, key, heading in _each(None):
        if pending := migrations.pending(bind=key):
            raise click.ClickException(f"{heading}not run yet: {', '.join(pending)}. Run first: carboy db upgrade")
    names = _database().migrations.seed()
    click.echo(f"Called: {', '.join(names)}" if names else "There are none. Write one: @db.seed")


@click.command("reset")
@_yes_option
@click.option("--force", is_flag=True, help="Also outside of debug mode.")
@with_appcontext
def reset_command(yes: bool, force: bool) -> None:
    """Drop all tables, run all migrations, and seed: for development."""
    if not (force or current_app.debug or current_app.testing):
        raise click.ClickException(
            "This deletes all data, and the application is not in debug mode. Say 'carboy --debug db reset' or --force."
        )
    database = _database()
    if not yes:
        urls = [str(database.engines.urls(key).sync) for key in database.migrations.keys()]
        click.confirm(f"Drop all tables of {', '.join(urls)}?", abort=True)
    database.migrations.reset()
    click.echo("The database is as new.")


@click.command("shell")
@with_appcontext
def shell_command() -> None:
    """Run a Python shell that knows the models, db, session, select and func."""
    import sqlalchemy

    database = _database()
    models = {mapper.class_.__name__: mapper.class_ for mapper in database.Model.registry.mappers}
    interact(
        models | {"db": database, "session": database.session, "select": sqlalchemy.select, "func": sqlalchemy.func},
        f"Models: {', '.join(sorted(models)) or 'none'}",
    )


db_command = _Group(
    "db",
    commands=[
        init_command,
        revision_command,
        upgrade_command,
        downgrade_command,
        current_command,
        history_command,
        heads_command,
        merge_command,
        check_command,
        stamp_command,
        seed_command,
        reset_command,
        shell_command,
    ],
    help="Migrate and look after the application's database.",
)
