"""The shape of the package: imports point one way, and what is not used is not loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import carboy

PACKAGE = Path(carboy.__file__).parent

# A module may import from its own layer and those above it.
LAYERS = [
    ["typing", "signals", "lazy", "concurrency", "paths"],
    ["context"],
    ["json", "http", "routing", "config", "logging", "debug", "streaming"],
    "sessions signing templating views files flash results errors proxies shortcuts sse".split(),
    ["registry", "blueprint", "plan", "engine", "background", "lifecycle"],
    ["protocols"],
    ["app"],
    ["testing", "server", "cli", "doctor", "health", "__init__", "__main__"],
    ["db"],
    ["jobs"],
    ["flask"],
]
LAYER = {module: number for number, modules in enumerate(LAYERS) for module in modules}

# The doors upward that are opened only when somebody goes through them.
DOORS = {
    ("app", "testing"),
    ("app", "cli"),
    ("app", "jobs"),
    ("registry", "cli"),
    ("__init__", "flask"),
    ("cli", "flask"),
}


def modules():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def first_part(path):
    return path.with_suffix("").parts[0]


def imported_parts(path):
    """The parts of the package that the module at *path* imports when it runs."""
    tree = ast.parse((PACKAGE / path).read_text())
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for branch in node.body
        for inner in ast.walk(branch)
    }
    package = ["carboy", *path.parts[:-1]]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in checking:
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        names = [*base, *(node.module.split(".") if node.module else [])]
        if names[:1] != ["carboy"]:
            continue
        if len(names) > 1:
            yield names[1]
        else:
            yield from (alias.name for alias in node.names if alias.name in LAYER)


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_point_one_way(path):
    own = first_part(path)
    for part in imported_parts(path):
        assert LAYER[part] <= LAYER[own] or (own, part) in DOORS, f"{path} imports {part}"


def test_no_module_is_a_drawer():
    drawers = {"helpers", "utils", "common", "base", "misc", "internal", "sansio"}
    assert not [path for path in modules() if path.stem in drawers and path.parts[0] != "flask"]


def test_import_loads_no_event_loop_templates_server_or_command_line():
    """They are for those who use them; asyncio and Jinja would add half to the start-up of a WSGI worker."""
    code = "import sys, carboy; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "carboy.app" in loaded
    assert not loaded & {
        "asyncio",
        "decimal",
        "granian",
        "jinja2",
        "uvicorn",
        "carboy.cli",
        "carboy.server",
        "carboy.testing",
        "carboy.flask",
    }


def test_whole_wsgi_request_loads_no_event_loop_and_no_templates():
    code = (
        "import sys, io, carboy\n"
        "app = carboy.Carboy('x')\n"
        "app.add_url_rule('/', view_func=lambda: 'x', endpoint='index')\n"
        "environ = {'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'SERVER_NAME': 'a', 'SERVER_PORT': '80',"
        " 'wsgi.url_scheme': 'http', 'wsgi.input': io.BytesIO()}\n"
        "assert list(app(environ, lambda status, headers: None)) == [b'x']\n"
        "print('asyncio' in sys.modules, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_names_imported_when_they_are_asked_for_are_names_like_the_others():
    names = {}
    exec("from carboy import *", names)
    for name in "render_template", "stream_template_string", "WebSocket", "Flask", "install_as_flask":
        assert names[name] is getattr(carboy, name)
    assert "_LAZY" not in names
