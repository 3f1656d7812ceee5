"""A pytest plugin in the place of lovely-pytest-docker: this machine's own servers where a suite asks for a container.

A server that is not installed is an error of the tests that need it, as a missing container is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMANDS = {
    "redis": ["redis-server", "--save", "", "--port"],
    "memcached": ["memcached", "-u", "root", "-p"],
}


class Services:
    """What the fixture ``docker_services`` gives to tests.

    Args:
        compose: The compose file: which port of this machine each service is expected at.
        folder: Where servers may write.
    """

    def __init__(self, compose: str, folder: Path) -> None:
        ports = re.findall(r"^  (\w+):\n(?:    .*\n)*?    ports:\n      - '?(\d+):\d+", compose, re.MULTILINE)
        self._ports = {name: int(port) for name, port in ports}
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """Start services that do not run yet."""
        for name in names:
            if name not in self._running:
                command = COMMANDS.get(name)
                if command is None or shutil.which(command[0]) is None:
                    pytest.fail(f"there is no {name} on this machine")
                self._running[name] = subprocess.Popen(
                    [*command, str(self._ports[name])], cwd=self._folder, stdout=subprocess.DEVNULL
                )

    def wait_for_service(
        self, name: str, port: int, check: Callable[[str, int], bool], timeout: float = 30, pause: float = 0.1
    ) -> None:
        """Wait until a service answers.

        Raises:
            TimeoutError: It did not, within *timeout* seconds.
        """
        end = time.monotonic() + timeout
        while not check("127.0.0.1", self._ports[name]):
            if time.monotonic() > end:
                raise TimeoutError(f"{name} does not answer at port {self._ports[name]}")
            time.sleep(pause)

    def stop(self) -> None:
        """Stop all of them."""
        for process in self._running.values():
            process.terminate()
            process.wait()


@pytest.fixture(scope="session")
def docker_services(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    compose = (pytestconfig.rootpath / "docker-compose.yml").read_text()
    services = Services(compose, tmp_path_factory.mktemp("services"))
    yield services
    services.stop()
