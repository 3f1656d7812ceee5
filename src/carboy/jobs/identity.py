"""Ids of jobs, workers and groups."""

from __future__ import annotations

import os
import threading
import time

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Return 32 hexadecimal digits that nobody else returns (a UUID of version 7, RFC 9562 section 5.7).

    They sort by time; those of one process in the order in which they were made.
    """
    global _last
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10)) >> 1
    value = value & ~(0xF << 76) & ~(0b11 << 62) | 7 << 76 | 0b10 << 62
    with _lock:
        if value >> 80 <= _last >> 80:
            # Within a millisecond: counted on in the random part (section 6.2, method 2).
            value = _last + 1 + int.from_bytes(os.urandom(3))
        _last = value
    return f"{value:032x}"
