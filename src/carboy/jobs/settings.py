"""The configuration of jobs."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from carboy import Carboy

DEFAULTS: dict[str, t.Any] = {
    "JOBS_URL": None,
    "JOBS_LEASE": 30.0,
    "JOBS_MAX_PAYLOAD": 256 * 1024,
    "JOBS_EAGER": False,
    "JOBS_CONCURRENCY": 20,
    "JOBS_DRAIN": 25.0,
    "JOBS_EMBEDDED": None,
}
"""Names and defaults; times are in seconds, sizes in bytes. docs/jobs.md says what they mean."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an application's configuration says of its jobs.

    Attributes:
        url: The engine; None for the application's database, or a file of SQLite if it has none.
        lease: Seconds after which a job is taken from a worker that says nothing.
        max_payload: What a job, a result or progress may be at most, as JSON.
        eager: Whether jobs run where they are queued: for tests.
        concurrency: How many jobs a worker runs at the same time.
        drain: Seconds that running jobs have to end when their worker is told to.
        embedded: Whether the processes that serve run jobs, too; None if the command that started them says so.
    """

    url: str | None
    lease: float
    max_payload: int
    eager: bool
    concurrency: int
    drain: float
    embedded: bool | None

    @classmethod
    def of(cls, app: Carboy) -> Settings:
        """Return those of *app*, whose configuration gets the defaults.

        Raises:
            ValueError: One cannot be.
        """
        for name, value in DEFAULTS.items():
            app.config.setdefault(name, value)
        config = app.config
        found = cls(
            config["JOBS_URL"],
            float(config["JOBS_LEASE"]),
            int(config["JOBS_MAX_PAYLOAD"]),
            bool(config["JOBS_EAGER"]),
            int(config["JOBS_CONCURRENCY"]),
            float(config["JOBS_DRAIN"]),
            config["JOBS_EMBEDDED"],
        )
        if found.lease < 1:
            raise ValueError(f"JOBS_LEASE is {found.lease} seconds; it is 1 or more.")
        if found.concurrency < 1:
            raise ValueError(f"JOBS_CONCURRENCY is {found.concurrency}; it is 1 or more.")
        return found
