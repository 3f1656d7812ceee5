"""Access logs: what a line looks like, and what must not get into one."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import typing as t

from werkzeug.serving import WSGIRequestHandler

DEFAULT_FORMAT = '[%(time)s] %(addr)s - "%(method)s %(path)s %(protocol)s" %(status)d %(dt_ms).3f'
"""The fields are granian's, which also knows ``%(query_string)s``, ``%(scheme)s`` and ``%(header{name})s``."""

JSON_FORMAT = "json"

_STATUS_COLOURS = {1: "36", 2: "32", 3: "36", 4: "33", 5: "1;31"}


def printable(text: str) -> str:
    """Return *text* with what is not printable as percent-escapes.

    A path holds what the client likes, also what moves a terminal's cursor or
    begins a new line.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "".join(f"%{b:02x}" for b in char.encode()) for char in text)


class AccessFilter(logging.Filter):
    """Makes granian's access records fit to be printed, and drops some.

    Args:
        unlogged: Paths of which nothing is logged.
    """

    def __init__(self, unlogged: t.Collection[str] = ()) -> None:
        super().__init__()
        self._unlogged = frozenset(unlogged)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is to be logged."""
        fields = t.cast(dict[str, t.Any], record.args)
        if fields["path"] in self._unlogged:
            return False
        # SECURITY: all of them come from the client, except numbers and times.
        for name, value in fields.items():
            if isinstance(value, str):
                fields[name] = printable(value)
        return True


class JSONFormatter(logging.Formatter):
    """One JSON object for each access record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        fields = t.cast(dict[str, t.Any], record.args)
        return json.dumps({name: round(v, 3) if isinstance(v, float) else v for name, v in fields.items()})


def wants_colour(stream: t.Any) -> bool:
    """Return whether lines for *stream* may be coloured: on a terminal, unless ``NO_COLOR`` is set."""
    return not os.environ.get("NO_COLOR") and bool(getattr(stream, "isatty", lambda: False)())


def development_line(address: str, method: str, target: str, status: int, milliseconds: float, colour: bool) -> str:
    """Return the access line of the development server."""
    moment = time.strftime("%H:%M:%S")
    target = printable(target)
    if not colour:
        return f"{moment} {address} {method} {target} {status} {milliseconds:.1f} ms"
    shade = _STATUS_COLOURS.get(status // 100, "0")
    return (
        f"\x1b[2m{moment} {address}\x1b[0m \x1b[1m{method}\x1b[0m {target}"
        f" \x1b[{shade}m{status}\x1b[0m \x1b[2m{milliseconds:.1f} ms\x1b[0m"
    )


class DevelopmentFormatter(logging.Formatter):
    """The development server's lines, from granian's access records."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        fields = t.cast(dict[str, t.Any], record.args)
        target = f"{fields['path']}?{fields['query_string']}".removesuffix("?")
        return development_line(
            fields["addr"], fields["method"], target, fields["status"], fields["dt_ms"], self._colour
        )


class DevelopmentRequestHandler(WSGIRequestHandler):
    """Werkzeug's, with the same access lines as granian's."""

    _begun = 0.0

    def run_wsgi(self) -> None:
        """Serve a request; note when."""
        self._begun = time.perf_counter()
        super().run_wsgi()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write the access line, when the response begins."""
        taken = (time.perf_counter() - self._begun) * 1000 if self._begun else 0.0
        status = int(code) if str(code).isdigit() else 0
        target, colour = getattr(self, "path", "-"), wants_colour(sys.stderr)
        line = development_line(self.address_string(), self.command or "-", target, status, taken, colour)
        sys.stderr.write(f"{line}\n")
