"""Migrations: how the tables become what the models say, step by step, in every database once.

Alembic does the work. Here is what an application adds to it: where the revisions are and which database they are for,
a lock so that several processes can begin at the same time, SQLite without surprises, and errors that say what to do.
A project has nothing but its revisions; Alembic's environment is ours (the folder ``alembic``).
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import traceback
import typing as t
from argparse import Namespace
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from carboy import Carboy, current_app
from carboy.concurrency import is_on_loop
from carboy.context import innermost_context

if t.TYPE_CHECKING:
    from .database import Database

ENVIRONMENT = Path(__file__).parent / "alembic"
WAIT = 300.0
"""Seconds to wait for another process that migrates."""
OURS = "carboy_"
"""How the tables begin that batteries make and look after themselves."""

# One number for PostgreSQL's advisory locks, which have no names: the bytes of "carboy".
_LOCK = int.from_bytes(b"carboy")
_POLL = 0.2

Key = str | None


class MigrationError(RuntimeError):
    """A migration cannot be made or run. The message says why, and what to do."""


class Migrations:
    """The migrations of a `Database`, for programs and tests; on the command line ``carboy db …``.

    They block: async code calls them with ``await asyncio.to_thread(…)``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- Where ---------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The folder of the revisions: DATABASE_MIGRATIONS, relative to the application's root.

        Those of a bind are in the folder of its name inside this one.
        """
        return Path(current_app.root_path) / str(current_app.config["DATABASE_MIGRATIONS"])

    def keys(self) -> list[Key]:
        """Return the databases that have migrations: the main one (None), and the binds that models name."""
        known = self._database.engines.settings.urls
        return [key for key in self._database.metadatas if key in known]

    def _target(self, key: Key) -> _Target:
        if is_on_loop():
            raise RuntimeError(
                "Migrations block, and this is an event loop. Call them with: await asyncio.to_thread(db.migrations.…)"
            )
        if key not in self.keys():
            names = ", ".join(repr(name) for name in self.keys() if name is not None) or "none"
            raise MigrationError(f"There is no bind {key!r} with models. There are: {names}.")
        folder = self.folder if key is None else self.folder / key
        return _Target(innermost_context().app, self._database, key, folder)

    # -- Running ---------------------------------------------------------------------------

    def upgrade(self, revision: str = "heads", *, bind: Key = None, wait: float = WAIT) -> list[str]:
        """Run what has not been run yet, and return the revisions that were.

        Processes that do so at the same time take turns: each revision is run once.

        Args:
            revision: Up to which; ``+1`` for the next.
            bind: Which database; the main one by default.
            wait: Seconds to wait for another process that migrates.

        Raises:
            MigrationError: One failed, there is no such revision, or there are several that are the last.
        """
        target = self._target(bind)
        if not target.has_revisions():
            return []
        return target.run(lambda config: command.upgrade(config, revision), wait=wait)

    def downgrade(self, revision: str = "-1", *, bind: Key = None, wait: float = WAIT) -> list[str]:
        """Take revisions back, and return those.

        Args:
            revision: Down to which; ``-1`` for one, ``base`` for all.
            bind: Which database; the main one by default.
            wait: Seconds to wait for another process that migrates.

        Raises:
            MigrationError: One failed, or there is no such revision.
        """
        return self._target(bind).run(lambda config: command.downgrade(config, revision), wait=wait)

    def sql(self, revision: str = "heads", *, bind: Key = None, down: bool = False) -> str:
        """Return the SQL of an upgrade from an empty database, or with ``from:to`` of a part; nothing is run.

        Args:
            revision: Up to which, or ``from:to``.
            bind: Which database; the main one by default.
            down: For a downgrade, which needs ``from:to``.

        Raises:
            MigrationError: A revision looks at the database, which is not asked now.
        """
        target = self._target(bind)
        run = command.downgrade if down else command.upgrade
        return target.offline(lambda config: run(config, revision, sql=True))

    def stamp(self, revision: str = "heads", *, bind: Key = None) -> None:
        """Note that the database is at *revision* without running anything: for tables that were made otherwise.

        Raises:
            MigrationError: There is no such revision.
        """
        self._target(bind).run(lambda config: command.stamp(config, revision, purge=True))

    # -- Looking -----------------------------------------------------------------------------

    def current(self, *, bind: Key = None) -> list[str]:
        """Return the revisions at which the database is: one, none, or several where branches were not merged."""
        with self._target(bind).reading() as connection:
            return sorted(MigrationContext.configure(connection).get_current_heads())

    def heads(self, *, bind: Key = None) -> list[str]:
        """Return the revisions that are the last: one, or several where branches were not merged."""
        return sorted(self._target(bind).scripts().get_heads())

    def history(self, *, bind: Key = None) -> list[Script]:
        """Return the revisions, the newest first."""
        return list(self._target(bind).scripts().walk_revisions())

    def pending(self, *, bind: Key = None) -> list[str]:
        """Return the revisions that were not run yet, in their order."""
        target = self._target(bind)
        current = set(self.current(bind=bind))
        done: set[str] = set()
        scripts = target.scripts()
        for revision in current:
            with contextlib.suppress(CommandError):
                done |= {script.revision for script in scripts.iterate_revisions(revision, "base")}
        return [script.revision for script in reversed(list(scripts.walk_revisions())) if script.revision not in done]

    def differences(self, *, bind: Key = None) -> list[str]:
        """Return what the models have and the database has not, and the other way round, in Alembic's words."""
        target = self._target(bind)
        with target.reading() as connection:
            made = produce_migrations(target.context(connection), target.metadata)
        return _lines_of(made.upgrade_ops)

    # -- Writing -------------------------------------------------------------------------------

    def revision(self, message: str, *, bind: Key = None, empty: bool = False) -> tuple[Path, list[str]]:
        """Write a revision: what brings the database to the models, or one to fill in.

        Args:
            message: What it does; becomes part of the file's name.
            bind: For which database; the main one by default.
            empty: Write one without statements, for data.

        Returns:
            The file, and warnings: what in it loses data.

        Raises:
            MigrationError: There is nothing to do, the database is not at the last revision, or there are several.
        """
        target = self._target(bind)
        self._require_one_head(bind)
        if not empty:
            if pending := self.pending(bind=bind):
                raise MigrationError(
                    f"The database is not at the last revision: {', '.join(pending)} has not been run, and would be"
                    " made again. Run it first: carboy db upgrade"
                )
            if not self.differences(bind=bind):
                raise MigrationError(
                    "The models and the database agree: there is nothing to migrate. Are all modules with models"
                    " imported by the application? For a migration of data: carboy db revision --empty -m '…'"
                )
        target.folder.mkdir(parents=True, exist_ok=True)
        warnings: list[str] = []

        def look(context: t.Any, revision: t.Any, directives: list[t.Any]) -> None:
            warnings.extend(_losses(directives[0].upgrade_ops))

        made = target.call(
            lambda config: command.revision(
                config,
                message,
                autogenerate=not empty,
                version_path=str(target.folder),
                process_revision_directives=look,
            )
        )
        return Path(t.cast(Script, made).path), warnings

    def merge(self, message: str = "merge", *, bind: Key = None) -> Path:
        """Write a revision that comes after all that are the last.

        Raises:
            MigrationError: There is only one.
        """
        heads = self.heads(bind=bind)
        if len(heads) < 2:
            raise MigrationError("There is nothing to merge: one revision is the last.")
        made = self._target(bind).call(lambda config: command.merge(config, heads, message=message))
        return Path(t.cast(Script, made).path)

    def _require_one_head(self, bind: Key) -> None:
        heads = self.heads(bind=bind)
        if len(heads) > 1:
            raise MigrationError(self.explain_heads(bind=bind))

    def explain_heads(self, *, bind: Key = None) -> str:
        """Return how there came to be several last revisions, and what to do."""
        scripts = self._target(bind).scripts()
        lines = ["Several revisions are the last: they were made beside each other, mostly on different branches."]
        for head in sorted(scripts.get_heads()):
            script = scripts.get_revision(head)
            after = script.down_revision or "nothing"
            lines.append(f"  {head}  after {after}: {Path(script.path).name}")
        lines.append("If they do not touch the same things, tie them together: carboy db merge")
        lines.append("Otherwise change the 'down_revision' of the one that was not run anywhere yet to the other's id.")
        return "\n".join(lines)

    # -- Data ----------------------------------------------------------------------------------------

    def seed(self) -> list[str]:
        """Call the functions given to `Database.seed`, each in a transaction, and return their names."""
        names = []
        for func in self._database.seeds:
            current_app.ensure_sync(self._database.transaction(func))()
            names.append(func.__name__)
        return names

    def reset(self) -> None:
        """Drop everything in all databases, run all migrations, and `seed`.

        Tables that no model has go, too.
        """
        for key in self.keys():
            with self._target(key).writing() as connection:
                found = sa.MetaData()
                found.reflect(connection)
                found.drop_all(connection)
            self.upgrade(bind=key)
        self.seed()


class _Target:
    """One database, with its revisions."""

    def __init__(self, app: Carboy, database: Database, key: Key, folder: Path) -> None:
        self.key = key
        self.folder = folder
        self.metadata = database.metadatas[key]
        self.url = database.engines.urls(key).sync
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._app = app
        self._connection: Connection | None = None
        self._ran: list[str] = []

    # -- Alembic's objects ---------------------------------------------------------------

    def config(self, output: io.StringIO | None = None) -> Config:
        config = Config(
            output_buffer=output,
            stdout=io.StringIO(),
            cmd_opts=Namespace(quiet=True),
            attributes={"carboy.target": self},
        )
        for name, value in {
            "script_location": str(ENVIRONMENT),
            "version_locations": str(self.folder),
            "path_separator": "newline",
            "file_template": "%(year)d_%(month).2d_%(day).2d_%(hour).2d%(minute).2d_%(slug)s_%(rev)s",
            "timezone": "UTC",
        }.items():
            config.set_main_option(name, value.replace("%", "%%"))
        return config

    def scripts(self) -> ScriptDirectory:
        with _explained(self):
            return ScriptDirectory.from_config(self.config())

    def has_revisions(self) -> bool:
        return any(self.scripts().get_heads())

    def options(self) -> dict[str, t.Any]:
        """Return what both an environment and a comparison are told."""
        return {
            "target_metadata": self.metadata,
            "render_as_batch": self.is_sqlite,
            "compare_type": True,
            "include_name": self._is_included,
            "user_module_prefix": None,
        }

    def context(self, connection: Connection) -> MigrationContext:
        return MigrationContext.configure(connection, opts=self.options())

    def _is_included(self, name: str | None, kind: str, parents: t.Any) -> bool:
        return not (kind == "table" and name is not None and name.startswith(OURS) and name not in self.metadata.tables)

    # -- Connections -----------------------------------------------------------------------

    def _engine(self) -> sa.Engine:
        # Of its own: without the application's limits for statements, and closed when this is over.
        return sa.create_engine(self.url, poolclass=sa.NullPool, hide_parameters=True)

    @contextlib.contextmanager
    def reading(self) -> t.Iterator[Connection]:
        with self._engine().connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self, wait: float = WAIT) -> t.Iterator[Connection]:
        """Give a connection in a transaction, while no other process migrates this database."""
        engine = self._engine()
        if self.is_sqlite:
            _prepare_sqlite(engine, wait)
        with engine.connect() as connection, _locked(connection, wait):
            with connection.begin():
                yield connection
                if self.is_sqlite:
                    _check_foreign_keys(connection)

    # -- Commands -----------------------------------------------------------------------------

    def run(self, work: t.Callable[[Config], t.Any], *, wait: float = WAIT) -> list[str]:
        """Run a command of Alembic that changes the database; return the revisions that it went through."""
        self._ran = []
        with _explained(self), self.writing(wait) as self._connection:
            try:
                work(self.config())
            finally:
                self._connection = None
        return self._ran

    def call(self, work: t.Callable[[Config], t.Any]) -> t.Any:
        """Run a command of Alembic that only reads the database."""
        with _explained(self), self.reading() as self._connection:
            try:
                return work(self.config())
            finally:
                self._connection = None

    def offline(self, work: t.Callable[[Config], t.Any]) -> str:
        """Run a command of Alembic that prints what it would do."""
        output = io.StringIO()
        with _explained(self):
            work(self.config(output))
        return output.getvalue()

    def note(self, *, step: t.Any, **rest: t.Any) -> None:
        """Note a revision that was run."""
        self._ran.append(step.up_revision_id)

    def run_environment(self) -> None:
        options: dict[str, t.Any] = self.options() | {"on_version_apply": self.note}
        if context.is_offline_mode():
            context.configure(
                dialect_name=self.url.get_dialect().name,
                literal_binds=True,
                dialect_opts={"paramstyle": "named"},
                **options,
            )
            with context.begin_transaction():
                context.run_migrations()
            return
        # SQLite can undo changes of tables, other than Alembic thinks: its driver only hides the transaction.
        if self.is_sqlite:
            options["transactional_ddl"] = True
        context.configure(connection=self._connection, **options)
        with context.begin_transaction():
            context.run_migrations()


def run_environment() -> None:
    """Do what an ``env.py`` does, for the database that the command is about."""
    target: _Target = context.config.attributes["carboy.target"]
    target.run_environment()


# -- Databases -----------------------------------------------------------------------------------------


def _prepare_sqlite(engine: sa.Engine, wait: float) -> None:
    @sa.event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: t.Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {round(wait * 1000)}")
        # A table that is made anew under its old name would otherwise take with it, by ON DELETE CASCADE, the rows that
        # refer to it. Only outside of a transaction; what is wrong in the end is found by _check_foreign_keys.
        connection.execute("PRAGMA foreign_keys = OFF")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The lock, too: nobody else can write until this is over.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(5)
    if broken:
        rows = ", ".join(f"row {row[1]} of {row[0]} (to {row[2]})" for row in broken)
        raise MigrationError(
            f"After the migration rows would refer to rows that are not there: {rows}. Nothing was changed."
        )


@contextlib.contextmanager
def _locked(connection: Connection, wait: float) -> t.Iterator[None]:
    """Hold the lock of migrations; SQLite's transaction is one."""
    kind = connection.dialect.name
    if kind == "sqlite":
        yield
        return
    name = f"carboy_migrations_{connection.engine.url.database}"[:64]
    deadline = time.monotonic() + wait
    while True:
        if kind == "postgresql":
            is_ours = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK)))
        else:
            is_ours = connection.scalar(sa.select(sa.func.get_lock(name, 0)))
        # Not waited for inside a statement: CREATE INDEX CONCURRENTLY of who has the lock would wait for that.
        connection.rollback()
        if is_ours:
            break
        if time.monotonic() > deadline:
            raise MigrationError(
                f"Another process has been migrating {connection.engine.url.database!r} for more than {wait:g} seconds."
                " Look what it does; the lock goes with its connection."
            )
        time.sleep(_POLL)
    try:
        yield
    finally:
        with contextlib.suppress(sa.exc.DBAPIError):  # With the connection went the lock.
            if kind == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_unlock(_LOCK)))
            else:
                connection.execute(sa.select(sa.func.release_lock(name)))
            connection.rollback()


# -- Words -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explained(target: _Target) -> t.Iterator[None]:
    """Raise what Alembic and the database say as an error that says what to do."""
    try:
        yield
    except MigrationError:
        raise
    except CommandError as e:
        raise MigrationError(_advice(str(e), target)) from e
    except Exception as e:
        place = _place(e, target.folder)
        if place is None:
            raise
        original = getattr(e, "orig", None) or e
        raise MigrationError(
            f"{place} failed: {type(original).__name__}: {str(original).strip()}\n{_what_is_left(target)}"
        ) from e


def _place(error: BaseException, folder: Path) -> str | None:
    """Return the revision's file and line in which *error* was raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(folder):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _what_is_left(target: _Target) -> str:
    if target.url.get_backend_name() in ("mysql", "mariadb"):
        done = ", ".join(target._ran) or "none"
        return (
            f"{target.url.get_backend_name()} keeps changes of tables at once, so this revision may be done in part."
            f" Complete before it: {done}. Undo by hand what it did, mend it, and run: carboy db upgrade"
        )
    return "Nothing was changed. Mend it, and run it again."


def _advice(text: str, target: _Target) -> str:
    if "Multiple head revisions" in text or "multiple heads" in text.lower():
        database = target._app.extensions["carboy.db"].database
        explained: str = database.migrations.explain_heads(bind=target.key)
        return explained
    if "Can't locate revision" in text:
        found = re.search(r"by '([^']*)'", text)
        name = found[1] if found else "?"
        return (
            f"There is no revision {name!r} in {target.folder}. If the database is at it, its file is missing: it was"
            " made on another branch, perhaps. 'carboy db history' lists the revisions; 'carboy db stamp REVISION' says"
            " to the database at which it is."
        )
    if "Not a valid downgrade" in text or "Relative revision" in text:
        return f"{text} 'carboy db history' lists the revisions."
    if "batch mode" in text or "as_sql" in text or "--sql" in text:
        return f"{text} SQLite makes a table anew to change it, and for that must look at it: run 'carboy db upgrade'."
    return text


def _lines_of(upgrade: ops.UpgradeOps | None) -> list[str]:
    if upgrade is None or upgrade.is_empty():
        return []
    code = render_python_code(upgrade, render_as_batch=False)
    return [line.strip() for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]


def _losses(upgrade: t.Any) -> list[str]:
    """Return what in an upgrade loses data."""
    found = []
    for op in getattr(upgrade, "ops", ()):
        if isinstance(op, ops.DropTableOp):
            found.append(f"drops the table {op.table_name}")
        elif isinstance(op, ops.DropColumnOp):
            found.append(f"drops the column {op.table_name}.{op.column_name}")
        else:
            found += _losses(op)
    return found
