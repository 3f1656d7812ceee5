"""What Alembic runs for each of its commands."""

from carboy.db.migrations import run_environment

run_environment()
