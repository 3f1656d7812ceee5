"""``carboy.install_as_flask()``: each property in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FAKE_FLASK = """
    import sys, pathlib
    folder = pathlib.Path(sys.argv[1])
    (folder / "flask").mkdir()
    (folder / "flask" / "__init__.py").write_text("real = True")
    info = folder / "flask-3.1.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: Flask\\nVersion: 3.1.3\\n")
    sys.path.insert(0, str(folder))
"""


def python(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """Run a Python with nothing of this run's alias in its environment; return what it prints."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CARBOY_", "FLASK_"))} | environment
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def script(tmp_path: Path, code: str, **environment: str) -> str:
    """Run *code*, with a folder of its own as its only argument."""
    (tmp_path / "script.py").write_text(textwrap.dedent(code))
    return python(tmp_path, "-W", "error", "script.py", str(tmp_path), **environment)


def installed(tmp_path: Path, code: str, **environment: str) -> str:
    """Run *code* after ``install_as_flask()``."""
    head = "import sys\nimport carboy\ncarboy.install_as_flask()\n"
    return script(tmp_path, head + textwrap.dedent(code), **environment)


def test_every_module_is_the_same_object_by_either_name(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import flask, carboy.flask
        names = [name for name in sys.modules if name == "flask" or name.startswith("flask.")]
        assert all(sys.modules[name] is sys.modules["carboy." + name] for name in names), names
        assert flask is carboy.flask and flask.Flask is carboy.Flask is carboy.Carboy
        import flask.json.provider as a, carboy.flask.json.provider as b
        from flask.sansio.scaffold import _endpoint_from_view_func
        assert a is b is flask.json.provider
        print(len(names))
        """,
    )
    assert int(out) >= 25


def test_what_is_patched_under_flask_is_patched_in_carboy(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import flask, flask.templating
        flask.templating._render = lambda app, template, context: "patched"
        with flask.Flask("x").app_context():
            print(flask.render_template_string("{{ 1 + 1 }}"))
        """,
    )
    assert out == "patched\n"


@pytest.mark.parametrize("name", ["flask", "flask.cli", "flask.json", "flask.json.tag", "flask.sansio.app"])
def test_a_dropped_module_comes_back_as_the_same_object(tmp_path: Path, name: str) -> None:
    out = installed(
        tmp_path,
        f"""
        import importlib, inspect
        before = importlib.import_module({name!r})
        spec, path = before.__spec__, inspect.getfile(before)
        del sys.modules[{name!r}]
        after = importlib.import_module({name!r})
        assert after is before
        assert after.__spec__ is spec and inspect.getfile(after) == path
        print(importlib.util.find_spec({name!r}) is spec)
        """,
    )
    assert out == "True\n"


def test_reload_reloads_in_place(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import importlib, flask, flask.views
        flask.url_for = flask.views.extra = None
        assert importlib.reload(flask) is flask is sys.modules["carboy.flask"]
        assert importlib.reload(flask.views) is flask.views
        print(flask.url_for.__name__)
        """,
    )
    assert out == "url_for\n"


def test_a_missing_module_is_missing(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import importlib.util
        assert importlib.util.find_spec("flask.scaffold") is None
        try:
            import flask.scaffold
        except ModuleNotFoundError as error:
            print(error.name)
        try:
            from flask import nothing
        except ImportError as error:
            print(error.name)
        """,
    )
    assert out.split() == ["flask.scaffold", "carboy.flask"]


def test_refuses_when_the_real_flask_is_imported_already(tmp_path: Path) -> None:
    out = script(
        tmp_path,
        FAKE_FLASK
        + """
    import flask, carboy
    try:
        carboy.install_as_flask()
    except RuntimeError as error:
        print(error)
    assert flask.real and sys.modules["flask"] is flask
    """,
    )
    assert "'flask' is already imported" in out
    assert "first import of flask" in out


def test_installing_twice_does_no_harm(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import flask
        finders = list(sys.meta_path)
        carboy.install_as_flask()
        assert sys.meta_path == finders
        import flask as again
        print(again is flask)
        """,
    )
    assert out == "True\n"


def test_is_in_front_of_a_real_flask_and_leaves_its_metadata(tmp_path: Path) -> None:
    out = script(
        tmp_path,
        FAKE_FLASK
        + """
    import importlib.metadata, carboy
    carboy.install_as_flask()
    import flask
    assert flask.Flask is carboy.Flask
    print(importlib.metadata.version("flask"))
    """,
    )
    assert out == "3.1.3\n"


def test_works_without_flask_installed(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        """
        import importlib.metadata, warnings, flask
        warnings.simplefilter("ignore")
        importlib.metadata.version = lambda name: (_ for _ in ()).throw(importlib.metadata.PackageNotFoundError(name))
        print(flask.__version__)
        """,
    )
    assert out == "3.1.3\n"


def test_a_tool_that_watches_imports_sees_those_of_flask(tmp_path: Path) -> None:
    out = script(
        tmp_path,
        """
        import sys

        class Watcher:
            seen = []

            def find_spec(self, name, path=None, target=None):
                self.seen.append(name)

        sys.meta_path.insert(0, Watcher())
        import carboy
        carboy.install_as_flask()
        print({"flask", "flask.app", "flask.templating"} <= set(Watcher.seen))
        """,
    )
    assert out == "True\n"


CHILD = "import sys, flask; print(flask.__name__, flask.Flask.__module__, 'asyncio' in sys.modules)"


def test_reaches_child_processes_of_any_depth(tmp_path: Path) -> None:
    out = installed(
        tmp_path,
        f"""
        import subprocess
        child = {CHILD!r}
        grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
        subprocess.run([sys.executable, "-c", child], check=True)
        subprocess.run([sys.executable, "-c", grandchild, child], check=True)
        """,
    )
    assert out.splitlines() == ["carboy.flask carboy.app False"] * 2


@pytest.mark.parametrize("first", ["flask", "flask.cli", "flask.json.provider"])
def test_the_environment_variable_alone_installs_it(tmp_path: Path, first: str) -> None:
    code = f"import {first}; import flask, sys; print(flask is sys.modules['carboy.flask'], flask.__name__)"
    assert python(tmp_path, "-c", code, CARBOY_AS_FLASK="1") == "True carboy.flask\n"


def test_a_child_that_never_imports_flask_does_not_load_carboy(tmp_path: Path) -> None:
    out = python(tmp_path, "-c", "import sys; print('carboy' in sys.modules)", CARBOY_AS_FLASK="1")
    assert out == "False\n"


def test_a_child_finds_out_that_a_module_is_missing(tmp_path: Path) -> None:
    code = "from importlib.util import find_spec; print(find_spec('flask.scaffold'), find_spec('flaskr'))"
    assert python(tmp_path, "-c", code, CARBOY_AS_FLASK="1") == "None None\n"


def test_zero_in_the_environment_keeps_it_off(tmp_path: Path) -> None:
    code = FAKE_FLASK + "\n    import carboy\n    carboy.install_as_flask()\n    import flask\n    print(flask.real)\n"
    assert script(tmp_path, code, CARBOY_AS_FLASK="0") == "True\n"


# The second is what an installed ``flask`` script does.
@pytest.mark.parametrize("start", [["-m", "flask"], ["-c", "import sys; from flask.cli import main; sys.exit(main())"]])
def test_the_flask_command_is_carboys_in_a_child(tmp_path: Path, start: list[str]) -> None:
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    out = python(tmp_path, *start, "--app", "app", "routes", CARBOY_AS_FLASK="1")
    assert "/static/<path:filename>" in out


def test_the_command_line_loads_an_app_that_imports_flask(tmp_path: Path) -> None:
    code = "import carboy, flask\napp = flask.Flask('x')\napp.add_url_rule(f'/{flask.Flask is carboy.Flask}', 'x')\n"
    (tmp_path / "app.py").write_text(code)
    out = python(tmp_path, "-m", "carboy", "--app", "app", "routes")
    assert "/True" in out


def test_the_pytest_plugin_installs_it_before_conftest(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "conftest.py").write_text("import flask\nassert flask.__name__ == 'carboy.flask'\n")
    (tmp_path / "test_it.py").write_text("def test_it():\n    from conftest import flask\n    assert flask.Flask\n")
    out = python(tmp_path, "-m", "pytest", "-p", "carboy.flask.pytest_plugin", "test_it.py")
    assert "flask is carboy 0" in out
    assert "1 passed" in out
