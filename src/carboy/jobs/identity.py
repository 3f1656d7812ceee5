"""Ids of jobs, workers and groups."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """Return 32 hexadecimal digits that nobody else returns and that sort by time (RFC 9562 section 5.7)."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    return f"{value & ~(0xF << 76) & ~(0b11 << 62) | 7 << 76 | 0b10 << 62:032x}"
