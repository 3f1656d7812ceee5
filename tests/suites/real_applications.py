"""Sends recorded requests to known Flask applications, on the real Flask and on carboy, and compares the answers.

    python tests/suites/real_applications.py [NAME...] [--record]

Each ``applications/NAME.toml`` describes one: the packages to install, how it is served, the requests with the status
that each has to get, and the masks: what may differ from one run to the next whatever the framework is, with the
reason. The applications are as PyPI has them. Each gets a virtual environment in ``.cache/`` with carboy and with the
real Flask put aside: ``import flask`` raises there unless the process was started with ``CARBOY_AS_FLASK=1``, or with
the folder of the real Flask in ``PYTHONPATH``. So no run can use the other one by mistake.

The real Flask is served by gunicorn and, where it has one, by the application's own command. carboy is served by the
same two, and on granian as RSGI and on uvicorn as ASGI. Status, headers and body must be the same, byte for byte, after
the masks. An application whose source distribution has tests (``tests`` in its description) also runs these on both.

``--record`` writes ``applications/results.json`` and the table in ``docs/applications.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import tomllib
import typing as t
import venv
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
DESCRIPTIONS = Path(__file__).parent / "applications"
RESULTS = DESCRIPTIONS / "results.json"
PAGE = ROOT / "docs" / "applications.md"
FLASK = "flask==3.1.3"
PYTEST = "pytest==8.4.2"
SERVER_PACKAGES = ["gunicorn==23.0.0", "uvicorn==0.38.0", "granian==2.8.7"]
POISON = 'raise ImportError("Neither the real Flask nor carboy was chosen for this process.")\n'
OWN = "own command"
SERVERS = {
    "gunicorn, WSGI": "gunicorn --threads 4 --bind 127.0.0.1:{port} {app}",
    "granian, RSGI": "granian --no-access-log --log-level warning --interface rsgi --port {port} {app}",
    "uvicorn, ASGI": "uvicorn --log-level error --port {port} {app}",
}
# What belongs to the connection or to the server, not to the application (RFC 9110, sections 7.6.1 and 10.2.4).
SERVERS_HEADERS = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


@dataclass(frozen=True)
class Request:
    """A request to send, and the status that it has to get."""

    method: str
    target: str
    status: int
    headers: dict[str, str]
    body: str = ""
    save: dict[str, str] = field(default_factory=dict)
    """Names to use as ``{{NAME}}`` in later requests, and for each a pattern that finds its value in the body."""
    differs: dict[str, str] = field(default_factory=dict)
    """Servers that cannot give the same answer, whatever the framework does, and why."""

    def __str__(self) -> str:
        operation = self.headers.get("X-Amz-Target") or "".join(re.findall(r"^Action=\w+", self.body))
        return f"{self.method} {self.target} {operation}".rstrip()


@dataclass(frozen=True)
class Response:
    """An answer, after the masks."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def text(self) -> list[str]:
        """Return short lines, to show how two answers differ."""
        head = [str(self.status), *(f"{name}: {value}" for name, value in self.headers), ""]
        return [*head, *re.split(r"\n|(?<=[,>])", self.body.decode(errors="backslashreplace"))]


@dataclass(frozen=True)
class Application:
    """A description, read from its file."""

    name: str
    about: str
    packages: list[str]
    requests: list[Request]
    masks: list[tuple[str, str]]
    masked_headers: set[str]
    app: str | None
    command: str | None
    prepare: list[str]
    environ: dict[str, str]
    files: dict[str, str]
    tests: list[str]

    @classmethod
    def read(cls, name: str) -> Application:
        """Read ``applications/NAME.toml``."""
        data = tomllib.loads((DESCRIPTIONS / f"{name}.toml").read_text())
        requests = []
        for group in data["group"]:
            for given in group["requests"]:
                method, target = given["send"].split(" ", 1)
                headers = group.get("headers", {}) | given.get("headers", {})
                extra = {key: given[key] for key in ("body", "save", "differs") if key in given}
                requests.append(Request(method, target, given["status"], headers, **extra))
        masks = data.get("mask", [])
        return cls(
            name,
            data["about"],
            data["packages"],
            requests,
            [(mask["pattern"], mask.get("with", "MASKED")) for mask in masks if "pattern" in mask],
            {mask["header"].lower() for mask in masks if "header" in mask},
            data.get("app"),
            data.get("command"),
            data.get("prepare", []),
            data.get("environ", {}),
            data.get("files", {}),
            data.get("tests", []),
        )

    @property
    def distribution(self) -> str:
        """The application itself, as ``name==version``."""
        return re.sub(r"\[.*\]", "", self.packages[0])

    def commands(self) -> dict[str, str]:
        """Return how carboy is served: a command for each name of a server."""
        served = {}
        for name, command in SERVERS.items():
            if self.app:
                # There may be an object for each protocol; names of servers end with it.
                served[name] = command.replace("{app}", self.app.format(protocol=name[-4:].lower()))
        return served | ({OWN: self.command} if self.command else {})


class Environment:
    """The virtual environment of an application."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.folder = CACHE / "venvs" / f"{application.name}-{sys.version_info.major}.{sys.version_info.minor}"
        self.real_flask = self.folder / "real-flask"
        # The same for each server, so that paths in answers are the same.
        self.run_folder = CACHE / f"{application.name}-{os.getpid()}"

    def make(self) -> None:
        """Make it, if it is not there yet.

        Raises:
            subprocess.CalledProcessError: A package could not be installed.
        """
        stamp = self.folder / "made-for.txt"
        packages = [*self.application.packages, *SERVER_PACKAGES, *([PYTEST] if self.application.tests else [])]
        if not any(package.lower().startswith("flask==") for package in packages):
            packages.append(FLASK)
        wanted = " ".join(packages)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        venv.create(self.folder, clear=True, with_pip=True, symlinks=True)
        install = [self.folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, *packages, "-e", str(ROOT)], check=True)
        (package,) = self.folder.glob("lib/python*/site-packages/flask")
        self.real_flask.mkdir()
        shutil.move(package, self.real_flask / "flask")
        package.mkdir()
        (package / "__init__.py").write_text(POISON)
        stamp.write_text(wanted)

    def variables(self, flask: str, port: int) -> dict[str, str]:
        """Return the environment variables of a process that runs on *flask* (``"carboy"`` or ``"flask"``)."""
        folder = str(self.run_folder)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CARBOY_", "FLASK_"))}
        path = [str(DESCRIPTIONS), folder]
        if flask == "flask":
            path.insert(0, str(self.real_flask))
        else:
            clean["CARBOY_AS_FLASK"] = "1"
        own = {name: value.format(folder=folder, port=port) for name, value in self.application.environ.items()}
        programs = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return (
            clean | {"PATH": programs, "PYTHONPATH": os.pathsep.join(path), "HOME": folder, "PYTHONHASHSEED": "0"} | own
        )


@contextlib.contextmanager
def serving(environment: Environment, flask: str, command: str, log: Path) -> t.Iterator[int]:
    """Serve the application in a folder of its own while the context lasts; give the port.

    Raises:
        RuntimeError: The server does not answer within 60 seconds.
        subprocess.CalledProcessError: One of the commands that prepare the folder failed.
    """
    application = environment.application
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = environment.run_folder
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in application.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        options: dict[str, t.Any] = {
            "cwd": folder,
            "env": environment.variables(flask, port),
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": subprocess.STDOUT,
        }
        for line in application.prepare:
            subprocess.run(line.split(), check=True, timeout=120, **options)
        words = [word.format(port=port, folder=folder) for word in command.split()]
        # A process group of its own, because some of the applications' commands start others.
        process = subprocess.Popen(words, start_new_session=True, **options)
        try:
            wait_for(port, process, log)
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *port* takes connections."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


def drive(environment: Environment, port: int) -> list[Response]:
    """Send all requests, one after the other, each on a connection of its own."""
    application = environment.application
    saved = {"folder": str(environment.run_folder)}
    cookies: dict[str, str] = {}
    return [send(application, port, request, saved, cookies) for request in application.requests]


def send(
    application: Application, port: int, request: Request, saved: dict[str, str], cookies: dict[str, str]
) -> Response:
    """Send one request and return its answer after the masks; what it says to keep goes to *saved* and *cookies*."""

    def fill(text: str) -> str:
        return re.sub(r"\{\{(\w+)\}\}", lambda match: saved[match[1]], text)

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = fill(request.body).encode()
    headers = {"Host": "app.example", "Connection": "close"} | request.headers
    if cookies and "Cookie" not in headers:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    if body and "Transfer-Encoding" not in headers:
        headers["Content-Length"] = str(len(body))
    connection.putrequest(request.method, fill(request.target), skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, fill(value))
    chunked = "Transfer-Encoding" in headers
    connection.endheaders(body or None, encode_chunked=chunked)
    received = connection.getresponse()
    content = received.read()
    connection.close()
    for line in received.headers.get_all("Set-Cookie") or ():
        name, _, value = line.partition(";")[0].partition("=")
        cookies[name] = value
    for name, pattern in request.save.items():
        found = re.search(pattern, content.decode(errors="replace"))
        saved[name] = found[1] if found else "NOT-FOUND"
    return masked(application, received, content)


def masked(application: Application, received: http.client.HTTPResponse, content: bytes) -> Response:
    """Return the answer without what may differ from run to run."""
    body = content
    for pattern, replacement in application.masks:
        body = re.sub(pattern.encode(), replacement.encode(), body)
    headers = []
    for name, value in received.getheaders():
        # White space around a value is none of it (RFC 9110, section 5.5).
        lower, value = name.lower(), value.strip()
        if lower in SERVERS_HEADERS:
            continue
        if lower in application.masked_headers:
            value = "MASKED"
        if lower == "content-length" and value == str(len(content)):
            value = str(len(body))
        if lower == "allow":
            # A set, on Flask too: its order depends on the process.
            value = ", ".join(sorted(value.split(", ")))
        for pattern, replacement in application.masks:
            value = re.sub(pattern, replacement, value)
        headers.append((lower, value))
    # In which order servers write headers of different names means nothing; of one name it does.
    return Response(received.status, sorted(headers, key=lambda header: header[0]), body)


def compare(application: Application, environment: Environment) -> dict[str, list[str]]:
    """Send the requests to every server; return for each on which requests carboy differs, having shown how."""
    commands = application.commands()
    baseline = {
        name: answers(environment, "flask", name, command)
        for name, command in commands.items()
        if name == OWN or name.endswith("WSGI")
    }
    for name, responses in baseline.items():
        pairs = zip(application.requests, responses, strict=True)
        wrong = [f"{request} got {seen.status}" for request, seen in pairs if seen.status != request.status]
        if wrong:
            raise RuntimeError(f"{application.name} on Flask, {name}: {'; '.join(wrong)}")
    differing = {}
    for name, command in commands.items():
        expected = baseline.get(name) or next(iter(baseline.values()))
        seen = answers(environment, "carboy", name, command)
        pairs = zip(application.requests, expected, seen, strict=True)
        # One that is said to differ and does not is reported, too; the status never may.
        different = [
            (str(request), ours, theirs)
            for request, theirs, ours in pairs
            if theirs.status != ours.status or (theirs != ours) != (name in request.differs)
        ]
        for title, ours, theirs in different:
            what = "differs" if ours != theirs else "is said to differ there, and does not"
            print(f"{application.name}, {name}: {title} {what}")
            lines = difflib.unified_diff(theirs.text(), ours.text(), "flask", "carboy", lineterm="", n=1)
            print("\n".join(line[:400] for line in list(lines)[:40]))
        differing[name] = [title for title, _, _ in different]
    return differing


def answers(environment: Environment, flask: str, server: str, command: str) -> list[Response]:
    """Serve the application in one way and return what it answers to its requests."""
    log = CACHE / f"{environment.application.name}-{flask}-{re.sub('[^a-z]+', '-', server.lower())}.log"
    with serving(environment, flask, command, log) as port:
        return drive(environment, port)


def run_tests(environment: Environment, flask: str) -> dict[str, bool]:
    """Run the tests of the application's source distribution; return for each whether it passed."""
    application = environment.application
    name, _, version = application.distribution.partition("==")
    archive = CACHE / f"{name}-{version}.tar.gz"
    if not archive.is_file():
        download = ["download", "-q", "--no-deps", "--no-binary", name, "-d", str(CACHE), application.distribution]
        subprocess.run([sys.executable, "-m", "pip", *download], check=True)
    report = CACHE / f"{name}-{flask}.xml"
    report.unlink(missing_ok=True)
    folder = environment.run_folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tarfile.open(archive) as files:
        # Only the tests: the application is the installed one.
        prefix = f"{name}-{version}/"
        wanted = [file for file in files if file.name.startswith(tuple(prefix + path for path in application.tests))]
        files.extractall(folder, wanted, filter="data")
    command = [environment.folder / "bin" / "python", "-m", "pytest", "-q", f"--junitxml={report}", *application.tests]
    with (CACHE / f"{name}-{flask}-tests.log").open("wb") as log:
        options: dict[str, t.Any] = {"stdout": log, "stderr": subprocess.STDOUT, "check": False, "timeout": 600}
        subprocess.run(command, cwd=folder / prefix, env=environment.variables(flask, 0), **options)
    shutil.rmtree(folder)
    return {
        f"{case.get('classname')}::{case.get('name')}": all(
            case.find(tag) is None for tag in ("failure", "error", "skipped")
        )
        for case in ElementTree.parse(report).iter("testcase")
    }


def measure(application: Application) -> dict[str, t.Any]:
    """Return the results of an application, as ``results.json`` has them."""
    environment = Environment(application)
    environment.make()
    results: dict[str, t.Any] = {
        "about": application.about,
        "application": application.distribution,
        "requests": len(application.requests),
        "differing": compare(application, environment),
        "explained": [[str(request), *why] for request in application.requests for why in request.differs.items()],
    }
    if application.tests:
        theirs, ours = run_tests(environment, "flask"), run_tests(environment, "carboy")
        results["tests"] = {
            "flask": sum(theirs.values()),
            "carboy": sum(ours.values()),
            "only on flask": sorted(name for name, passed in theirs.items() if passed and not ours.get(name)),
        }
    return results


def problems(name: str, results: dict[str, t.Any]) -> list[str]:
    """Print how it went; return what is worse on carboy."""
    found = []
    for server, requests in results["differing"].items():
        print(f"{name}, {server}: {results['requests']} requests, {len(requests)} differ", flush=True)
        found += [f"{name}, {server}: {request}" for request in requests]
    if "tests" in results:
        tests = results["tests"]
        print(f"{name}: {tests['flask']} of its tests pass on Flask, {tests['carboy']} on carboy", flush=True)
        found += [f"{name}: {test} passes on Flask only" for test in tests["only on flask"]]
        if not tests["flask"]:
            found.append(f"{name}: none of its tests pass on Flask")
    return found


def table(results: dict[str, dict[str, t.Any]]) -> str:
    """Return the documentation's table, and the list of what a server cannot give."""
    servers = [*SERVERS, OWN]
    rows = [["application", "requests", *servers, "its own tests"], ["---"] * (len(servers) + 3)]
    notes = []
    for name in sorted(results):
        entry = results[name]
        cells = [f"{entry['application'].replace('==', ' ')}, {entry['about']}", str(entry["requests"])]
        for server in servers:
            differing = entry["differing"].get(server)
            explained = [note for note in entry["explained"] if note[1] == server]
            same = entry["requests"] - len(explained) - len(differing or ())
            cells.append("" if differing is None else f"{same}")
        tests = entry.get("tests")
        cells.append(f"{tests['carboy']} pass, on Flask {tests['flask']}" if tests else "")
        rows.append(cells)
        notes += [f"- {name}, `{request}`, {server}: {why}." for request, server, why in entry["explained"]]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", *notes])


def record(measured: dict[str, dict[str, t.Any]]) -> None:
    """Write the results, beside those of applications that were not driven now, and the table."""
    before = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results = before | measured
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    head, begin, rest = PAGE.read_text().partition("<!-- results -->\n")
    _, end, tail = rest.partition("<!-- end of the results -->\n")
    PAGE.write_text(f"{head}{begin}{table(results)}\n{end}{tail}")


def main() -> int:
    """Drive the applications named on the command line, or all; return 1 if carboy differs anywhere."""
    known = sorted(path.stem for path in DESCRIPTIONS.glob("*.toml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--record", action="store_true", help="write the results and the table of the documentation")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no such application: {', '.join(unknown)}; there are {', '.join(known)}")
    CACHE.mkdir(exist_ok=True)
    measured = {name: measure(Application.read(name)) for name in options.names or known}
    found = [problem for name, results in measured.items() for problem in problems(name, results)]
    if options.record:
        record(measured)
    print("\n".join(found) if found else f"{len(measured)} applications answer as on Flask")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
