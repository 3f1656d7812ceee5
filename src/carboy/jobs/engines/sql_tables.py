"""The tables of jobs. The engine makes them; migrations of an application leave names with ``carboy_`` alone."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

SCHEMA_VERSION = 1
"""Changes with the tables below."""

metadata = sa.MetaData()

_id = sa.String(40)
_name = sa.String(200)
_time = sa.Double
_bytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

schema = sa.Table("carboy_job_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

jobs = sa.Table(
    "carboy_jobs",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", _id, nullable=False, unique=True),
    sa.Column("name", _name, nullable=False),
    sa.Column("queue", sa.String(100), nullable=False),
    sa.Column("lane", sa.String(310), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("run_at", _time, nullable=False),
    sa.Column("queued_at", _time),
    sa.Column("lease_until", _time),
    sa.Column("worker", _id),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("lapses", sa.Integer, nullable=False, default=0),
    # The key, and the same while no other job may have it: NULLs do not collide, on any database.
    sa.Column("unique_key", _name),
    sa.Column("active_key", _name, unique=True),
    sa.Column("body", _bytes, nullable=False),
    sa.Column("progress", _bytes),
    sa.Column("result", _bytes),
    sa.Column("error", _text),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("started_at", _time),
    sa.Column("finished_at", _time),
    sa.Column("expires_at", _time),
    # Without it SQLite gives the numbers of deleted rows again, and an old worker could speak of a new job.
    sqlite_autoincrement=True,
)


def _index(name: str, *columns: sa.Column[object], state: str) -> None:
    where = jobs.c.state == state
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


_index("ix_carboy_jobs_queued", jobs.c.lane, jobs.c.state, jobs.c.priority, jobs.c.seq, state="queued")
_index("ix_carboy_jobs_scheduled", jobs.c.state, jobs.c.run_at, state="scheduled")
_index("ix_carboy_jobs_running", jobs.c.state, jobs.c.lease_until, state="running")
_index("ix_carboy_jobs_parked", jobs.c.state, jobs.c.name, state="parked")
sa.Index("ix_carboy_jobs_expires_at", jobs.c.expires_at)

limits = sa.Table(
    "carboy_job_limits",
    metadata,
    sa.Column("name", _name, primary_key=True),
    sa.Column("began_at", _time, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),
)

groups = sa.Table(
    "carboy_job_groups",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("remaining", sa.Integer, nullable=False),
    sa.Column("body", _bytes),
    sa.Column("expires_at", _time, nullable=False),
)

results = sa.Table(
    "carboy_job_group_results",
    metadata,
    sa.Column("group_id", _id, primary_key=True),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("result", _bytes, nullable=False),
)

slots = sa.Table(
    "carboy_job_slots",
    metadata,
    sa.Column("name", _name, primary_key=True),
    sa.Column("slot", _time, primary_key=True),
    sa.Column("is_last", sa.Boolean, nullable=False, default=True),
)

workers = sa.Table(
    "carboy_job_workers",
    metadata,
    sa.Column("id", _id, primary_key=True),
    sa.Column("seen_at", _time, nullable=False),
    sa.Column("body", _bytes, nullable=False),
)
