"""Background jobs: durable in SQLite by default, on a real engine at scale, in the same transaction as your data.

Install it with ``pip install "carboy[jobs]"``.
"""

try:
    import cronsim as _cronsim  # noqa: F401
    import msgspec as _msgspec  # noqa: F401
except ModuleNotFoundError as e:
    if e.name not in ("cronsim", "msgspec"):
        raise
    raise ModuleNotFoundError(
        f'carboy.jobs needs {e.name}, which is not installed. Install it with: pip install "carboy[jobs]"', name=e.name
    ) from e

from .clock import FrozenClock as FrozenClock
from .clock import frozen as frozen
from .engines import JobsURLError as JobsURLError
from .engines.contract import Query as Query
from .engines.contract import Record as Record
from .handles import JobCancelled as JobCancelled
from .handles import JobError as JobError
from .handles import JobFailed as JobFailed
from .handles import JobUnknown as JobUnknown
from .handles import Queued as Queued
from .job import Job as Job
from .job import Options as Options
from .job import Prepared as Prepared
from .jobs import Jobs as Jobs
from .message import PayloadError as PayloadError
from .running import GiveUp as GiveUp
from .running import JobTimeout as JobTimeout
from .running import Retry as Retry
from .running import current_job as current_job
from .worker import Worker as Worker
