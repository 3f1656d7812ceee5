"""Serve an application in production: worker processes on granian, started, watched, replaced, stopped.

The process that starts here never imports the application. It binds the
sockets, forks workers (:mod:`.worker`), and sees to it that there are as many as
there should be. Each worker has a listening socket of its own on the same port
(``SO_REUSEPORT``), between which the kernel divides new connections; because
this process holds them too, connections that wait in a killed worker's socket
are served by its successor.

POSIX only: it stands on ``fork`` and signals.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import logging
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import native
from .resources import raise_file_limit
from .worker import Worker, WorkerOptions

_log = logging.getLogger("carboy.server")

MEMORY_INTERVAL = 1.0
"""How often the memory of workers is looked at, in seconds."""

RESPAWN_DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""How long to wait before a worker is started anew: the first time it ends, the second, and so on, in seconds."""

STEADY = 10.0
"""After how many seconds a worker counts as one that works."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class ListenError(Exception):
    """The address cannot be listened on."""


@dataclass(eq=False)
class _Process:
    """A worker process, as its parent sees it."""

    slot: _Slot
    pid: int
    status: int
    """The file number on which it reports."""
    born: float = field(default_factory=time.monotonic)
    ready: bool = False
    """Whether it has reported, or has ended without."""
    served: bool = False
    stopping: bool = False
    kill_at: float | None = None
    recycle_at: float | None = None
    keeps_memory: bool = False
    """Whether it held too much from the start, so that another would too."""
    report: bytes = b""


@dataclass(eq=False)
class _Slot:
    """A place for one worker: its socket, who serves there now, and who is to take over."""

    number: int
    listener: socket.socket
    current: _Process | None = None
    successor: _Process | None = None
    start_at: float | None = 0.0
    failures: int = 0
    replace: str | None = None
    """Why the current worker is to be replaced, if it is."""


@dataclass(kw_only=True)
class ProductionServer:
    """One application on one address, until SIGTERM or SIGINT.

    SIGHUP replaces all workers, one after the other, so that changed code is
    loaded without a break.

    Args:
        worker: What the workers do.
        host: A name or an IP address.
        uds: The path of a Unix socket, in place of *host* and *port*.
        port: 0 takes any free port.
        workers: How many processes.
        respawn: Start a worker that ended by itself anew; otherwise its end ends
            the server, with exit code 1.
        max_memory: Replace a worker that holds more, in MiB.
        worker_lifetime: Replace a worker that is older, in seconds; up to a tenth
            earlier, so that not all are replaced at once.
        name: What is served, for messages.
    """

    worker: WorkerOptions
    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    workers: int = 1
    respawn: bool = True
    max_memory: int | None = None
    worker_lifetime: float | None = None
    name: str = "the application"

    def run(self) -> int:
        """Serve until told to stop; return the exit code.

        It is 0 after a stop in which nothing had to be cut off, else 1.

        Raises:
            ListenError: The address is in use or does not exist.
        """
        raise_file_limit()
        return _Supervisor(self).run()


class _Supervisor:
    def __init__(self, server: ProductionServer) -> None:
        self.server = server
        self.exit_code = 0
        self.processes: dict[int, _Process] = {}
        self.stopping = False
        self.served = False
        self.next_look = 0.0
        self.memory = native.ProcessMemory()
        self.address = ""
        self.slots = [_Slot(number, listener) for number, listener in enumerate(self._bind(), 1)]
        # Workers notice by its end that this process has died.
        self.lifeline, self.lifeline_end = os.pipe()
        self.wake, self.wake_end = os.pipe()
        for end in (self.wake, self.wake_end):
            os.set_blocking(end, False)

    # -- Sockets ---------------------------------------------------------------------

    def _bind(self) -> list[socket.socket]:
        try:
            return self._bind_unix(self.server.uds) if self.server.uds else self._bind_tcp()
        except OSError as error:
            address = self.server.uds or f"{self.server.host}, port {self.server.port}"
            raise ListenError(f"Cannot listen on {address}: {error.strerror or error}.") from None

    def _bind_unix(self, path: str) -> list[socket.socket]:
        if Path(path).is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except OSError:
                    Path(path).unlink()  # Left behind by a process that was killed.
                else:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(self.server.worker.backlog)
        self.address = f"unix:{path}"
        # Unix sockets cannot share a path: all workers accept from one.
        return [listener] * self.server.workers

    def _bind_tcp(self) -> list[socket.socket]:
        host, port = self.server.host, self.server.port
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.family: int
        self.family, _, _, _, where = min(info, key=lambda found: found[0] != socket.AF_INET)
        with socket.socket(self.family, socket.SOCK_STREAM) as probe:
            # Without SO_REUSEPORT, by which a second server would take half of the connections.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            self.where = (where[0], probe.getsockname()[1], *where[2:])
        scheme = "http" if self.server.worker.tls is None else "https"
        self.address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.where[1]}"
        return [self._listen() for _ in range(self.server.workers)]

    def _listen(self) -> socket.socket:
        listener = socket.socket(self.family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.server.workers > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(self.where)
        listener.listen(self.server.worker.backlog)
        return listener

    # -- The loop --------------------------------------------------------------------

    def run(self) -> int:
        previous = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        previous_wake = signal.set_wakeup_fd(self.wake_end, warn_on_full_buffer=False)
        try:
            while True:
                self._start_what_is_due()
                if self.stopping and not self.processes:
                    break
                self._wait()
                self._reap()
                self._look_after()
        finally:
            signal.set_wakeup_fd(previous_wake)
            for number, handler in previous.items():
                signal.signal(number, handler)
            for process in self.processes.values():
                os.kill(process.pid, signal.SIGKILL)
            self._close_listeners()
            for end in (self.lifeline, self.lifeline_end, self.wake, self.wake_end):
                os.close(end)
            if self.server.uds:
                Path(self.server.uds).unlink(missing_ok=True)
        return self.exit_code

    def _wait(self) -> None:
        """Sleep until a signal, a worker's report, or the next thing that is due."""
        now = time.monotonic()
        due = [process.kill_at for process in self.processes.values() if process.kill_at is not None]
        if not self.stopping:
            due += [slot.start_at for slot in self.slots if slot.start_at is not None]
            due += [process.recycle_at for process in self.processes.values() if process.recycle_at is not None]
            if self.server.max_memory is not None:
                due.append(self.next_look)
        timeout = max(0.0, min(due) - now) if due else None
        reports = {process.status: process for process in self.processes.values() if not process.ready}
        readable, _, _ = select.select([self.wake, *reports], [], [], timeout)
        for number in readable:
            if number == self.wake:
                with contextlib.suppress(BlockingIOError):
                    for signal_number in os.read(self.wake, 1024):
                        self._on_signal(signal_number)
            else:
                self._read_report(reports[number])

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self.stopping:
                _log.warning("Told to stop once more: ending at once.")
                self._kill(list(self.processes.values()))
            else:
                self._stop(f"{signal.Signals(number).name} received: finishing what is in flight.")
        elif number == signal.SIGHUP and not self.stopping:
            _log.info("SIGHUP received: replacing all workers.")
            for slot in self.slots:
                slot.replace = slot.replace or "of SIGHUP"

    # -- Starting --------------------------------------------------------------------

    def _start_what_is_due(self) -> None:
        if self.stopping:
            return
        now = time.monotonic()
        for slot in self.slots:
            if slot.current is None and slot.start_at is not None and slot.start_at <= now:
                slot.start_at = None
                if slot.listener.fileno() < 0:
                    slot.listener = self._listen()
                slot.current = self._fork(slot)
            if not self.served:
                # The first shows whether the application can be loaded at all; its errors should stand there once.
                return
        if any(slot.successor is not None for slot in self.slots):
            return
        # One at a time: a worker more than there should be is enough.
        for slot in self.slots:
            if slot.replace and slot.current is not None and slot.current.served:
                _log.info(f"Replacing worker {slot.number} because {slot.replace}.")
                slot.replace = None
                slot.successor = self._fork(slot)
                return

    def _fork(self, slot: _Slot) -> _Process:
        status, status_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                code = self._be_worker(slot, status_end)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                # Not sys.exit: threads that still run user code, and granian's, would hinder or crash the end.
                os._exit(code)
        os.close(status_end)
        process = self.processes[pid] = _Process(slot, pid, status)
        _log.debug(f"Worker {slot.number} is starting as process {pid}.")
        return process

    def _be_worker(self, slot: _Slot, status_end: int) -> int:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        # A terminal sends it to all processes; this one waits for the word of its parent. Not ignored, because
        # programs that the application starts would inherit that.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)
        os.close(self.lifeline_end)
        os.close(self.wake)
        os.close(self.wake_end)
        for process in self.processes.values():
            os.close(process.status)
        for other in self.slots:
            if other.listener is not slot.listener:
                other.listener.close()
        # The rest of this process must not keep the socket open when granian closes it.
        listener, is_unix = slot.listener.detach(), self.server.uds is not None
        threading.Thread(target=_end_with_parent, args=(self.lifeline, self._limit), daemon=True).start()

        def report(news: dict[str, str]) -> None:
            os.write(status_end, json.dumps(news).encode())
            os.close(status_end)

        random.seed()
        code = Worker(self.server.worker, slot.number, listener, is_unix, report).run()
        if code == 0:
            atexit._run_exitfuncs()
        return code

    def _read_report(self, process: _Process) -> None:
        data = os.read(process.status, 65536)
        process.report += data
        if data:
            return
        process.ready = True  # Nothing more comes.
        if not process.report:
            return
        news = json.loads(process.report)
        if "failed" in news:
            _log.error(f"Worker {process.slot.number} did not start. {news['failed'].rstrip()}")
            return
        self._on_ready(process, news)

    def _on_ready(self, process: _Process, news: dict[str, str]) -> None:
        slot, server = process.slot, self.server
        process.served = True
        if not self.served:
            self.served = True
            count = "1 worker" if server.workers == 1 else f"{server.workers} workers"
            _log.info(
                f"Serving {server.name} on {self.address} over {news['interface'].upper()} ({news['reason']}), {count}."
            )
        _log.info(f"Worker {slot.number} is ready: process {process.pid}.")
        if server.max_memory is not None and self._size(process) >= server.max_memory:
            process.keeps_memory = True
            _log.warning(
                f"Worker {slot.number} holds {self._size(process)} MiB from the start, more than --max-memory"
                f" ({server.max_memory}). It is not replaced, which would go on for ever. Set a higher limit."
            )
        if server.worker_lifetime is not None:
            process.recycle_at = time.monotonic() + server.worker_lifetime * random.uniform(0.9, 1)
        if process is slot.successor:
            old, slot.current, slot.successor = slot.current, process, None
            if old is not None:
                self._terminate(old)

    # -- Watching --------------------------------------------------------------------

    def _reap(self) -> None:
        while self.processes:
            # Any child: in a container this may be process 1, which inherits those whose parents have died.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            process = self.processes.get(pid)
            if process is None:
                continue
            while not process.ready:
                self._read_report(process)
            os.close(process.status)
            del self.processes[pid]
            self._on_exit(process, os.waitstatus_to_exitcode(status))

    def _on_exit(self, process: _Process, code: int) -> None:
        slot = process.slot
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if slot.current is process:
            slot.current = None
        if process.stopping:
            # One that was told to stop before it could say how it wants to be told.
            if code and not (code == -signal.SIGTERM and not process.served):
                self.exit_code = self.exit_code or int(self.stopping)
                _log.warning(f"Worker {slot.number} (process {process.pid}) was stopped, and ended {how}.")
            else:
                _log.info(f"Worker {slot.number} (process {process.pid}) has ended.")
            return
        if self.stopping:
            self.exit_code = 1
            return
        _log.error(f"Worker {slot.number} (process {process.pid}) ended {how}.")
        if not self.served:
            self.exit_code = 1
            self._stop("No worker could be started: ending.")
        elif not self.server.respawn:
            self.exit_code = 1
            self._stop("Workers are not started anew (--no-respawn): ending.")
        else:
            self._start_again(slot, process)

    def _start_again(self, slot: _Slot, process: _Process) -> None:
        now = time.monotonic()
        slot.failures = 0 if now - process.born > STEADY else slot.failures
        delay = RESPAWN_DELAYS[min(slot.failures, len(RESPAWN_DELAYS) - 1)]
        slot.failures += 1
        if slot.successor is process:
            # The one that it should replace still serves.
            slot.successor = None
            return
        slot.start_at = now + delay
        if delay and self.server.workers > 1 and not self.server.uds:
            # So that new connections go to the others meanwhile.
            slot.listener.close()
        _log.info(f"Worker {slot.number} is started anew{f' in {delay:g} s' if delay else ''}.")

    def _look_after(self) -> None:
        now = time.monotonic()
        self._kill([process for process in self.processes.values() if process.kill_at and process.kill_at <= now])
        if self.stopping:
            return
        for process in self.processes.values():
            if process.recycle_at is not None and process.recycle_at <= now:
                process.recycle_at = None
                process.slot.replace = f"it is {now - process.born:.0f} s old"
        if self.server.max_memory is not None and self.next_look <= now:
            self.next_look = now + MEMORY_INTERVAL
            self._look_at_memory(self.server.max_memory)

    def _look_at_memory(self, limit: int) -> None:
        for slot in self.slots:
            process = slot.current
            if process is None or not process.served or process.keeps_memory or slot.replace or slot.successor:
                continue
            size = self._size(process)
            if size >= limit:
                slot.replace = f"it holds {size} MiB, more than {limit} (--max-memory)"

    def _size(self, process: _Process) -> int:
        """Return the resident memory of *process* in MiB; 0 if it is gone."""
        sizes = self.memory.memory([process.pid])
        return int(sizes.get(process.pid, 0)) // (1024 * 1024)

    # -- Stopping --------------------------------------------------------------------

    @property
    def _limit(self) -> float:
        return self.server.worker.drain_delay + self.server.worker.graceful_timeout

    def _stop(self, why: str) -> None:
        _log.info(why)
        self.stopping = True
        for process in list(self.processes.values()):
            self._terminate(process)
        # Workers have theirs; a client that comes now is refused instead of waiting for nobody.
        self._close_listeners()

    def _close_listeners(self) -> None:
        for slot in self.slots:
            slot.listener.close()

    def _terminate(self, process: _Process) -> None:
        if not process.stopping:
            process.stopping = True
            process.kill_at = time.monotonic() + self._limit
            os.kill(process.pid, signal.SIGTERM)

    def _kill(self, processes: list[_Process]) -> None:
        for process in processes:
            process.kill_at = None
            _log.warning(f"Worker {process.slot.number} (process {process.pid}) is killed.")
            os.kill(process.pid, signal.SIGKILL)
            self.exit_code = self.exit_code or int(self.stopping)


def _end_with_parent(lifeline: int, limit: float) -> None:
    """Stop this worker when its parent has died, which nobody else would do."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(limit)
    os._exit(1)
