import json
import sys
import textwrap

import pytest
from click.testing import CliRunner

from carboy.cli import cli

APPLICATION = """
import asyncio
import subprocess
import time
from time import sleep

import carboy
from carboy import request

app = carboy.Carboy(__name__)


@app.get("/")
async def index():
    carboy.g.seen = request.get_json(silent=True)
    time.sleep(0.1)
    app.logger.info("slept")
    await asyncio.sleep(0.1)

    def elsewhere():
        time.sleep(0.1)

    await asyncio.to_thread(elsewhere)
    return "ok"


@app.before_request
async def hook():
    import urllib.request as web

    sleep(0.1)
    web.urlopen("http://localhost")
    subprocess.run(["true"])


@app.get("/sync")
def sync():
    time.sleep(0.1)
    return "ok"
"""


@pytest.fixture
def examine(tmp_path, monkeypatch):
    """Runs the command on a module with the given source; returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FLASK_SKIP_DOTENV", "1")
    before = set(sys.modules)

    def run(source, *arguments, name="patient"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        result = CliRunner().invoke(cli, ["doctor", name, *arguments])
        return result.exit_code, result.output

    yield run
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def extension(tmp_path):
    """Installs an extension in the folder that the application is in."""

    def install(name, source, *requirements, version="1.0"):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {it}" for it in requirements), ""]))
        (info / "RECORD").write_text(f"{name}.py,,\n{info.name}/METADATA,,\n")
        (tmp_path / f"{name}.py").write_text(source)

    return install


def findings(output):
    return [
        (topic, it["level"], it["subject"], it["text"])
        for topic, found in json.loads(output)["topics"].items()
        for it in found
    ]


def test_blocking_calls_in_async_functions_are_named_with_their_line(examine, tmp_path):
    code, output = examine(APPLICATION, "--json")
    lines = {number: line.strip() for number, line in enumerate(APPLICATION.splitlines(), 1)}
    found = {}
    for topic, level, subject, text in findings(output):
        if topic == "Async code":
            file, _, line = subject.rpartition(":")
            assert (file, level) == (str(tmp_path / "patient.py"), "problem")
            found[lines[int(line)]] = text
    hook = "() holds up the event loop, in the before_request function 'hook'"
    assert found == {
        "time.sleep(0.1)": "time.sleep() holds up the event loop, in the view of 'index'",
        "sleep(0.1)": f"sleep{hook}",
        'web.urlopen("http://localhost")': f"web.urlopen{hook}",
        'subprocess.run(["true"])': f"subprocess.run{hook}",
    }
    assert code == 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", "uses WSGI, because no code is async"),
        ("@app.get('/')\nasync def view(): return ''", "uses RSGI, because the view of 'view' is async"),
        ("@app.websocket('/ws')\nasync def ws(): pass", "uses ASGI, because '/ws' is a WebSocket"),
    ],
)
def test_says_which_protocol_would_serve_it_and_why(examine, lines, expected):
    code, output = examine(f"import carboy\napp = carboy.Carboy('x')\n{lines}\n")
    assert expected in output
    assert code == 0


def test_names_middleware_and_replaced_methods(examine):
    _, output = examine(
        """
        import carboy
        from werkzeug.middleware.proxy_fix import ProxyFix

        app = carboy.Carboy("x")
        app.wsgi_app = ProxyFix(app.wsgi_app)
        app.dispatch_request = lambda: "all"
        """,
        "--json",
    )
    texts = {subject: text for topic, _, subject, text in findings(output) if topic == "Serving"}
    assert "proxy_fix.ProxyFix" in texts["app.wsgi_app"]
    assert "in a thread" in texts["app.dispatch_request"]


def test_extensions_are_judged_by_what_is_known_or_by_what_they_import(examine, extension):
    # Inside functions: there is no flask here to import from.
    extension("flask_login", "def f():\n    from flask import request", "flask>=1", version="0.6.3")
    extension("flask_caching", "", "flask", version="1.0")
    extension("flask_unheard", "def f():\n    from flask import g, url_for", "Flask")
    extension("flask_ancient", "def f():\n    from flask import _app_ctx_stack", "Flask (>=0.9)")
    extension("flask_careful", "try:\n    from flask import _app_ctx_stack\nexcept ImportError:\n    pass", "flask")
    extension("unrelated", "", "click")
    code, output = examine(
        """
        import carboy, flask_login, flask_caching, flask_unheard, flask_ancient, flask_careful, unrelated
        app = carboy.Carboy("x")
        """,
        "--json",
    )
    found = {(subject, level): text for topic, level, subject, text in findings(output) if topic == "Extensions"}
    assert found["flask_login 0.6.3", "good"] == "works: its own tests pass"
    assert "secret key" in found["flask_login 0.6.3", "problem"]
    assert found["flask_caching 1.0", "note"].startswith("expected to work: its own tests pass in version")
    assert found["flask_unheard 1.0", "good"] == found["flask_careful 1.0", "good"]
    assert "flask._app_ctx_stack" in found["flask_ancient 1.0", "problem"]
    assert not any("unrelated" in subject for subject, _ in found)
    assert code == 1


def test_versions_that_do_not_fit_are_named(examine, extension):
    extension("flask_fussy", "", "flask>=99", "click>=99", "not-there-at-all; python_version>'3'", "absent; extra=='x'")
    code, output = examine("import carboy, flask_fussy\napp = carboy.Carboy('x')\n")
    assert code == 1
    assert "needs click>=99; installed is" in output
    assert "needs not-there-at-all" in output and "which is not installed" in output
    assert "flask>=99" not in output and "absent" not in output


def test_an_application_that_cannot_be_loaded_is_an_error_of_its_own(examine):
    code, output = examine("import carboy\n")
    assert code == 2
    assert "patient" in output
