"""Find code that blocks the event loop, while it does, and say where it stands.

A thread asks the loop for a sign of life, again and again. Where none comes in
time it looks at what the loop's thread is executing. That works on every event
loop, uvloop included, and gives the line; asyncio's own log of slow callbacks
gives neither. Code that holds the interpreter's lock all the while (a C
extension) goes unnoticed.
"""

from __future__ import annotations

import linecache
import os
import site
import sys
import sysconfig
import threading
import typing as t
from pathlib import Path
from types import FrameType

if t.TYPE_CHECKING:
    import asyncio
    import logging

THRESHOLD = 0.1
"""How long the loop may take to answer, in seconds."""

INTERVAL = 0.025
"""How long to wait from one question to the next, in seconds."""

_NOT_THE_USERS = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        str(Path(__file__).parent.parent),
    }
)


class BlockingWatch:
    """Watches one event loop until :meth:`stop`.

    Args:
        find_loop: Returns the loop to watch; None if there is none yet.
        logger: Gets one warning for each line that blocked the loop.
    """

    def __init__(self, find_loop: t.Callable[[], asyncio.AbstractEventLoop | None], logger: logging.Logger) -> None:
        self._find_loop = find_loop
        self._logger = logger
        self._stopped = threading.Event()
        self._seen: set[tuple[str, int]] = set()
        self._loop_thread = 0

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, name="carboy-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            loop = self._find_loop()
            answered = threading.Event()
            try:
                if loop is None or not loop.is_running():
                    continue
                loop.call_soon_threadsafe(self._answer, answered)
            except RuntimeError:
                continue  # Closed by now.
            if not answered.wait(THRESHOLD):
                self._report()
                while loop.is_running() and not answered.wait(THRESHOLD) and not self._stopped.is_set():
                    pass

    def _answer(self, answered: threading.Event) -> None:
        self._loop_thread = threading.get_ident()
        answered.set()

    def _report(self) -> None:
        innermost = sys._current_frames().get(self._loop_thread)
        frame: FrameType | None = innermost
        while frame is not None and not _is_users(frame.f_code.co_filename):
            frame = frame.f_back
        if frame is None or innermost is None:
            return
        place = frame.f_code.co_filename, frame.f_lineno
        if place in self._seen:
            return
        self._seen.add(place)
        line = linecache.getline(*place).strip()
        inside = "" if innermost is frame else f", in {innermost.f_code.co_qualname} of {innermost.f_code.co_filename}"
        self._logger.warning(
            f"The event loop is blocked for more than {THRESHOLD * 1000:.0f} ms by {place[0]}, line {place[1]}, in"
            f" {frame.f_code.co_qualname}: {line!r}{inside}. All other requests wait. Await it with an async library,"
            " or make the function a 'def', which runs in a thread."
        )


def _is_users(filename: str) -> bool:
    return not filename.startswith("<") and not os.path.realpath(filename).startswith(_NOT_THE_USERS)
