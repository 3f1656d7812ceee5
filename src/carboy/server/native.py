"""The parts of granian that its own servers are made of, in one place.

They are not documented, and typed incompletely; they were read in granian 2.8.
"""

from __future__ import annotations

import typing as t

try:
    from granian import _futures, _granian, asgi, loops, rsgi, wsgi
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('This server needs granian: pip install "carboy[server]"', name=error.name) from error

Loops = loops
ASGIWorker: t.Any = _granian.ASGIWorker
RSGIWorker: t.Any = _granian.RSGIWorker
WSGIWorker: t.Any = _granian.WSGIWorker
SocketHolder: t.Any = _granian.SocketHolder
"""Of a file number, whether it is a Unix socket, and its backlog."""

WorkerSignal: t.Any = _granian.WorkerSignal
"""Tells a worker to stop; calls its callbacks when all connections have ended."""

ProcessMemory: t.Any = _granian.ProcInfoCollector
Lifespan: t.Any = asgi.LifespanProtocol
wrap_asgi: t.Any = asgi._callback_wrapper
wrap_rsgi: t.Any = rsgi._callback_wrapper
wrap_wsgi: t.Any = wsgi._callback_wrapper
watch_request: t.Any = _futures._future_watcher_wrapper
make_scheduler: t.Any = _futures._new_cbscheduler
