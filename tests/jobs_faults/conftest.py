"""Workers as processes, on each engine."""

import asyncio
import collections
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def kind(request):
    """Which engine; one that other processes can reach."""
    return request.param


class Brewery:
    """The application of brewery.py, its workers, and what they wrote down."""

    def __init__(self, folder, url, lease):
        self.folder = folder
        self.environment = os.environ | {
            "BREWERY": str(folder),
            "JOBS_URL": url,
            "JOBS_LEASE": str(lease),
            "FLASK_APP": str(HERE / "brewery.py"),
        }
        self.workers = []

    def start(self, *options, **environment):
        """Start a worker in a process group of its own."""
        with open(self.folder / f"worker{len(self.workers)}.log", "wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "carboy", "jobs", "worker", *options],
                env=self.environment | environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def kill(self, worker, number=signal.SIGKILL):
        """Send a signal to a worker's whole process group."""
        os.killpg(worker.pid, number)

    def close(self):
        """End what still runs."""
        for worker in self.workers:
            if worker.poll() is None:
                self.kill(worker)
            worker.wait(10)

    def runs(self):
        """Return how often each job began, and how often it ended."""
        counts = {"began": collections.Counter(), "ended": collections.Counter()}
        path = self.folder / "runs.log"
        for line in path.read_text().splitlines() if path.exists() else ():
            what, number, *_ = line.split()
            counts[what][int(number)] += 1
        return counts["began"], counts["ended"]

    def until(self, condition, seconds):
        """Wait until *condition*, of what began and what ended, holds; return how long that took."""
        start = time.monotonic()
        while not condition(*self.runs()):
            assert time.monotonic() - start < seconds, self.story()
            time.sleep(0.05)
        return time.monotonic() - start

    def story(self):
        """Return what the workers said last."""
        logs = [path.read_text()[-1500:] for path in sorted(self.folder.glob("worker*.log"))]
        began, ended = self.runs()
        return f"{len(began)} began, {len(ended)} ended\n" + "\n----\n".join(logs)

    def call(self, func):
        """Call an async function, inside the application, with the application's jobs."""
        os.environ |= {key: self.environment[key] for key in ("BREWERY", "JOBS_URL", "JOBS_LEASE")}
        module = _load("brewery", HERE / "brewery.py")

        async def work():
            async with module.app.app_context():
                try:
                    return await func(module)
                finally:
                    await module.jobs.of_app.close()

        return asyncio.run(work())


@pytest.fixture
def brewery(tmp_path, url):
    """A brewery; its lease is 3 seconds."""
    brewery = Brewery(tmp_path, url, 3)
    yield brewery
    brewery.close()
