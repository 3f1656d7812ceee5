"""What this process may use of its machine: processors and open files."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_2 = "/sys/fs/cgroup/cpu.max"
_CGROUP_1 = ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def usable_cpus() -> int:
    """Return how many processors this process may keep busy, at least 1.

    The smaller of its affinity and, in a container, the share of its control
    group (``cpu.max`` of cgroup 2, ``cpu.cfs_quota_us`` of cgroup 1), rounded up.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    share = _cgroup_share()
    return max(1, count if share is None else min(count, math.ceil(share)))


def _cgroup_share() -> float | None:
    try:
        quota, period = Path(_CGROUP_2).read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (Path(name).read_text().strip() for name in _CGROUP_1)
        except OSError:
            return None
    # "max" in the one, -1 in the other: no limit.
    return int(quota) / int(period) if quota.isdigit() and int(period) else None


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they are allowed to.

    Shells set a limit of 1024, which a thousand connections use up.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return
