"""`carboy.cli`: how an application is found, what commands see, and the built-in commands."""

import importlib.metadata
import os
import platform
import ssl
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest
import werkzeug.serving
from click.testing import CliRunner

import carboy
from carboy import current_app
from carboy.cli import (
    AppGroup,
    FlaskGroup,
    NoAppException,
    ScriptInfo,
    cli,
    find_app_by_string,
    find_best_app,
    load_dotenv,
    locate_app,
    prepare_import,
    run_command,
    shell_command,
    with_appcontext,
)
from carboy.server.accesslog import DevelopmentRequestHandler


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch):
    """Commands change the environment and the import path; each test has its own."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    before, modules = dict(os.environ), set(sys.modules)
    for name in [name for name in before if name.startswith(("FLASK_", "CARBOY_", "WERKZEUG_"))]:
        if name != "CARBOY_AS_FLASK":
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in {"shop", "wsgi", "app", "broken"}:
            del sys.modules[name]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty current folder, and a function that writes modules into it."""
    monkeypatch.chdir(tmp_path)

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        return tmp_path

    return write


def module(**attributes):
    found = types.ModuleType("shop")
    vars(found).update(attributes)
    return found


def create_app(name="shop", *, debug=False):
    app = carboy.Flask(name, root_path=str(Path(__file__).parent), static_folder=None)
    app.debug = debug
    return app


def needs_argument(name):
    return create_app(name)


def fails():
    raise TypeError("from within the factory")


# -- Discovery -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["app", "application", "anything"])
def test_find_best_app_by_variable(name):
    app = create_app()
    assert find_best_app(module(**{name: app}, create_app=fails)) is app


@pytest.mark.parametrize("name", ["create_app", "make_app"])
def test_find_best_app_by_factory(name):
    assert find_best_app(module(**{name: create_app})).name == "shop"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "no application and no factory"),
        ({"one": create_app(), "two": create_app()}, "has 2 applications"),
        ({"create_app": needs_argument}, "cannot be called without arguments"),
        ({"create_app": lambda: "no app"}, "no application and no factory"),
    ],
)
def test_find_best_app_says_what_is_wrong(attributes, message):
    with pytest.raises(NoAppException, match=message):
        find_best_app(module(**attributes))


def test_a_type_error_inside_a_factory_is_not_hidden():
    with pytest.raises(TypeError, match="from within"):
        find_best_app(module(create_app=fails))
    with pytest.raises(TypeError, match="from within"):
        find_app_by_string(module(create_app=fails), "create_app()")


@pytest.mark.parametrize(
    ("text", "name", "debug"),
    [("app", "app", False), ("create_app", "shop", False), (" create_app ( 'x', debug = True, ) ", "x", True)],
)
def test_find_app_by_string(text, name, debug):
    app = find_app_by_string(module(app=create_app("app"), create_app=create_app), text)
    assert (app.name, app.debug) == (name, debug)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing", "no attribute 'missing'"),
        ("create_app(", "neither an attribute's name nor a function call"),
        ("a.b", "neither an attribute's name nor a function call"),
        ("a.b()", "not a simple name"),
        ("create_app(name)", "not all literal values"),
        ("create_app(1, 2)", r"'create_app\(name='shop', \*, debug=False\)' .* cannot be called as"),
        ("text", "no application but a str"),
    ],
)
def test_find_app_by_string_says_what_is_wrong(text, message):
    with pytest.raises(NoAppException, match=message):
        find_app_by_string(module(create_app=create_app, text=""), text)


@pytest.mark.parametrize("path", ["shop/web", "shop/web.py", "shop/web/__init__.py", "shop.web"])
def test_prepare_import(project, path):
    root = project()
    (root / "shop").mkdir()
    (root / "shop" / "__init__.py").touch()
    assert prepare_import(path) == "shop.web"
    assert sys.path[0] == str(root)


def test_locate_app(project):
    sys.path.insert(0, str(project(shop="from carboy import Flask\napp = Flask('found')")))
    assert locate_app("shop", None).name == "found"
    assert locate_app("shop", "app").name == "found"
    assert locate_app("missing", None, raise_if_not_found=False) is None
    with pytest.raises(NoAppException, match="no module 'missing'"):
        locate_app("missing", None)


def test_an_import_error_inside_the_module_is_shown(project):
    sys.path.insert(0, str(project(broken="import carboy\nimport no_such_package")))
    with pytest.raises(NoAppException, match="No module named 'no_such_package'"):
        locate_app("broken", None, raise_if_not_found=False)


@pytest.mark.parametrize("file", ["wsgi", "app"])
def test_script_info_looks_for_default_files(project, file):
    project(**{file: "from carboy import Flask\nx = Flask('found')"})
    info = ScriptInfo()
    assert info.load_app().name == "found"
    assert info.load_app() is info.load_app()


def test_script_info_takes_a_path_and_a_name(project):
    root = project(shop="from carboy import Flask\ndef make(name): return Flask(name)")
    assert ScriptInfo(f"{root}/shop.py:make('colon:inside')").load_app().name == "colon:inside"


def test_script_info_without_application(project):
    project()
    with pytest.raises(NoAppException, match="'FLASK_APP'"):
        ScriptInfo().load_app()


@pytest.mark.parametrize(("variable", "value", "debug"), [("FLASK_DEBUG", "1", True), ("CARBOY_DEBUG", "true", True)])
def test_script_info_sets_debug_mode(monkeypatch, variable, value, debug):
    monkeypatch.setenv(variable, value)
    assert ScriptInfo(create_app=create_app).load_app().debug is debug
    assert ScriptInfo(create_app=create_app, set_debug_flag=False).load_app().debug is False


# -- Environment files ---------------------------------------------------------


def test_load_dotenv_order(project, monkeypatch):
    root = project()
    (root / ".flaskenv").write_text("A=flaskenv\nB=flaskenv\nC=flaskenv\nD=flaskenv\n")
    (root / ".env").write_text("B=env\nC=env\nD=env\n", encoding="utf-8")
    (root / "own").write_text("C=own\nD=own\nE=火\n", encoding="utf-8")
    monkeypatch.setenv("D", "set before")
    (root / "below").mkdir()
    monkeypatch.chdir(root / "below")
    assert load_dotenv(root / "own")
    assert [os.environ[name] for name in "ABCDE"] == ["flaskenv", "env", "own", "set before", "火"]
    assert Path.cwd() == root / "below"


def test_load_dotenv_without_files(project):
    project()
    assert not load_dotenv("missing", load_defaults=False)


def test_load_dotenv_without_the_package(project, monkeypatch, capsys):
    (project() / ".env").write_text("A=1")
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert not load_dotenv()
    assert "A" not in os.environ
    assert 'pip install "carboy[dotenv]"' in capsys.readouterr().err


def test_env_file_option_comes_before_app(project):
    root = project(shop="from carboy import Flask\napp = Flask('found')")
    (root / "settings.env").write_text("FLASK_APP=shop\nFLASK_RUN_PORT=1\n")
    result = CliRunner().invoke(cli, ["-e", "settings.env", "routes"])
    assert "/static/<path:filename>" in result.output


def test_flask_skip_dotenv(project, monkeypatch):
    (project() / ".env").write_text("FLASK_APP=shop")
    monkeypatch.setenv("FLASK_SKIP_DOTENV", "1")
    CliRunner().invoke(cli, ["routes"])
    assert "FLASK_APP" not in os.environ


# -- Groups --------------------------------------------------------------------


def test_commands_of_the_application_have_its_context():
    app = create_app()

    @app.cli.command()
    @click.argument("word", callback=lambda ctx, param, value: f"{current_app.name} {value}")
    def say(word):
        click.echo(f"{current_app.name} {word}")

    group = FlaskGroup(create_app=lambda: app)
    assert CliRunner().invoke(group, ["say", "hello"]).output == "shop shop hello\n"


def test_app_group_subgroups_and_plain_commands():
    group = AppGroup("shop")

    @group.group()
    def stock(): ...

    @stock.command
    def count():
        click.echo(current_app.name)

    @stock.command(with_appcontext=False)
    def bare():
        click.echo(bool(current_app))

    info = ScriptInfo(create_app=create_app)
    assert isinstance(stock, AppGroup)
    assert CliRunner().invoke(group, ["stock", "count"], obj=info).output == "shop\n"
    assert CliRunner().invoke(group, ["stock", "bare"], obj=info).output == "False\n"


def test_with_appcontext_keeps_an_active_context(app):
    @click.command()
    @with_appcontext
    def name():
        click.echo(current_app.name)

    info = ScriptInfo(create_app=fails)
    with app.app_context():
        assert CliRunner().invoke(name, obj=info).output == "carboy_test\n"


def test_blueprint_commands(app):
    stock = carboy.Blueprint("stock", __name__)
    flat = carboy.Blueprint("flat", __name__, cli_group=None)
    stock.cli.command("count")(lambda: click.echo("three"))
    flat.cli.command("list")(lambda: click.echo("all"))
    app.register_blueprint(stock)
    app.register_blueprint(flat)
    runner = app.test_cli_runner()
    assert runner.invoke(args=["stock", "count"]).output == "three\n"
    assert runner.invoke(args=["list"]).output == "all\n"


def test_help_lists_the_commands_of_the_application(project, monkeypatch):
    project(
        shop="from carboy import Flask\napp = Flask('found')\n@app.cli.command()\ndef restock(): 'Fill the shelves.'"
    )
    monkeypatch.setenv("CARBOY_APP", "shop")
    for args in ([], ["--help"]):
        output = CliRunner().invoke(cli, args).output
        assert "restock  Fill the shelves." in output
        assert "  run      Run a development server." in output


def test_an_application_that_cannot_be_loaded_leaves_the_other_commands(project):
    project()
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "'FLASK_APP'" in result.stderr
    assert "routes" in result.stdout
    missing = CliRunner().invoke(cli, ["restock"])
    assert missing.exit_code == 2
    assert "No such command 'restock'" in missing.stderr
    assert "Exception: oh no" in CliRunner().invoke(FlaskGroup(create_app=raise_oh_no), ["--help"]).stderr


def raise_oh_no():
    raise Exception("oh no")


def test_debug_option_is_in_the_environment_of_the_factory(project):
    project(shop="import os\nfrom carboy import Flask\ndef create_app(): return Flask(os.environ['FLASK_DEBUG'])")
    show = ["import carboy", "print(carboy.current_app.name, carboy.current_app.debug)"]
    result = CliRunner().invoke(cli, ["--app", "shop", "--debug", "shell"], input="; ".join(show))
    assert "1 True" in result.stdout


def test_nested_in_another_group(app):
    outer = click.Group("outer")
    outer.add_command(FlaskGroup(name="shop", create_app=lambda: app))
    result = CliRunner().invoke(outer, ["shop", "run", "--help"])
    assert result.output.startswith("Usage: outer shop run [OPTIONS]")


def test_commands_of_installed_packages(monkeypatch):
    found = importlib.metadata.EntryPoint("greet", "shop:greet", "carboy.commands")
    command = click.Command("greet", callback=lambda: click.echo("hi"))
    monkeypatch.setitem(sys.modules, "shop", module(greet=command))
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [found] if group == "carboy.commands" else [])
    assert CliRunner().invoke(FlaskGroup(create_app=create_app), ["greet"]).output == "hi\n"


def test_version():
    output = CliRunner().invoke(cli, ["--version"]).output
    assert f"Python {platform.python_version()}" in output
    assert f"Carboy {importlib.metadata.version('carboy')}" in output
    assert f"Werkzeug {importlib.metadata.version('werkzeug')}" in output


@pytest.mark.parametrize("installed", [True, False])
def test_version_says_whether_flask_is_installed(monkeypatch, installed):
    def version(name):
        if name == "flask" and not installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(importlib.metadata, "version", version)
    output = CliRunner().invoke(cli, ["--version"]).output
    assert ("Flask 9.9" if installed else "Flask 3.1 interface, provided by Carboy") in output


# -- Built-in commands -----------------------------------------------------------


def routes(app, *args):
    result = CliRunner().invoke(FlaskGroup(create_app=lambda: app), ["routes", *args])
    assert result.exit_code == 0
    return result.output


def test_routes():
    app = create_app()
    app.add_url_rule("/b/<int:id>", "a.show", methods=["GET", "DELETE"])
    app.add_url_rule("/a", "b", methods=["POST"])
    assert routes(app).splitlines() == [
        "Endpoint  Methods      Rule       ",
        "--------  -----------  -----------",
        "a.show    DELETE, GET  /b/<int:id>",
        "b         POST         /a         ",
    ]
    assert [line.split()[0] for line in routes(app, "--sort", "rule").splitlines()[2:]] == ["b", "a.show"]
    assert [line.split()[0] for line in routes(app, "-s", "match").splitlines()[2:]] == ["a.show", "b"]
    assert "DELETE, GET, HEAD, OPTIONS" in routes(app, "--all-methods")


@pytest.mark.parametrize(("host_matching", "title"), [(True, "Host"), (False, "Subdomain")])
def test_routes_with_domains(host_matching, title):
    app = carboy.Flask("shop", host_matching=host_matching, static_folder=None)
    for name in ("b", "a"):
        app.add_url_rule(f"/{name}", f"to_{name}", **{"host" if host_matching else "subdomain": f"{name}.example"})
    lines = routes(app, "--sort", "domain").splitlines()
    assert title in lines[0]
    assert [line.split()[0] for line in lines[2:]] == ["to_a", "to_b"]


def test_routes_of_websockets():
    app = carboy.Flask("app", static_folder=None)
    app.add_websocket("/ws", "talk", lambda: None)
    assert routes(app).splitlines()[-1].split() == ["talk", "WebSocket", "/ws"]


def test_no_routes():
    assert routes(create_app()) == "No routes were registered.\n"


def test_shell_context_and_startup_file(tmp_path, monkeypatch):
    startup = tmp_path / "startup.py"
    startup.write_text("from_startup = 1")
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    app = create_app()
    app.shell_context_processor(lambda: {"price": 42})
    result = app.test_cli_runner().invoke(shell_command, input="print(app.name, price + from_startup, g)\n")
    assert "shop 43 <flask.g of 'shop'>" in result.stdout
    assert "App: shop" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--cert", __file__], "Needed with '--cert'"),
        (["--key", __file__], "'--cert' is missing"),
        (["--cert", "adhoc", "--key", __file__], "Only used if"),
        (["--cert", "no_such_name"], "does not exist"),
        (["--interface", "asgi", "--without-threads"], "'--without-threads' cannot be used with"),
        (["--interface", "rsgi", "--cert", "shop_tls"], "SSLContext as '--cert' cannot be used with"),
    ],
)
def test_run_refuses_options_that_do_not_fit(monkeypatch, args, message):
    monkeypatch.setitem(sys.modules, "shop_tls", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    result = CliRunner().invoke(run_command, args, obj=ScriptInfo(create_app=create_app))
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("args", "cert"),
    [
        (["--cert", __file__, "--key", __file__], (__file__, __file__)),
        (["--key", __file__, "--cert", __file__], (__file__, __file__)),
        (["--cert", "AdHoc"], "adhoc"),
    ],
)
def test_run_certificates(args, cert):
    assert run_command.make_context("run", args).params["cert"] == cert


def test_run_certificate_needs_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(click.BadParameter, match="pip install cryptography"):
        run_command.make_context("run", ["--cert", "adhoc"])
    monkeypatch.setitem(sys.modules, "ssl", None)
    with pytest.raises(click.BadParameter, match="without SSL"):
        run_command.make_context("run", ["--cert", "adhoc"])


def test_run_over_wsgi_is_werkzeugs_server(monkeypatch):
    calls = []
    monkeypatch.setattr(werkzeug.serving, "run_simple", lambda *args, **options: calls.append((args, options)))
    monkeypatch.setenv("FLASK_RUN_PORT", "8000")
    monkeypatch.setattr("carboy.config.files", set())
    monkeypatch.setattr("carboy.cli.dotenv.files", set())
    app = create_app()
    files = os.pathsep.join([__file__, os.devnull])
    args = ["run", "--interface", "wsgi", "--debug", "--no-reload", "--exclude-patterns", "*.tmp"]
    result = CliRunner().invoke(FlaskGroup(create_app=lambda: app), [*args, "--extra-files", files])
    assert "Debug mode: on" in result.output
    assert calls == [
        (
            ("127.0.0.1", 8000, app),
            {
                "use_reloader": False,
                "use_debugger": True,
                "use_evalex": True,
                "request_handler": DevelopmentRequestHandler,
                "threaded": True,
                "ssl_context": None,
                "extra_files": [__file__, os.devnull],
                "exclude_patterns": ["*.tmp"],
            },
        )
    ]


def test_run_over_asgi_names_the_missing_extra(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("granian", "carboy.server"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "granian", None)
    result = CliRunner().invoke(run_command, ["--interface", "asgi"], obj=ScriptInfo(create_app=create_app))
    assert result.exit_code == 1
    assert 'pip install "carboy[server]"' in result.output


def test_run_of_an_application_that_cannot_be_loaded(monkeypatch):
    def fail_to_load():
        raise ValueError("half-written")

    started = []
    monkeypatch.setattr(werkzeug.serving, "run_simple", lambda host, port, app, **options: started.append(app))
    info = ScriptInfo(create_app=fail_to_load)
    args = ["--interface", "wsgi"]
    assert isinstance(CliRunner().invoke(run_command, args, obj=info).exception, ValueError)
    assert started == []

    # Restarted by the reloader, it answers with the error until the file is right again.
    monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    CliRunner().invoke(run_command, args, obj=info)
    with pytest.raises(ValueError, match="half-written"):
        started[0].test_client().get("/")


# -- Installed command -----------------------------------------------------------


@pytest.mark.parametrize("command", [["-m", "carboy"], ["-c", "from carboy.cli import main; main()"]])
def test_an_unmodified_flask_application(project, command):
    project(
        shop="import flask\nimport carboy\napp = flask.Flask('shop', static_folder=None)\n"
        "@app.cli.command()\ndef which(): print(flask.current_app.name, flask.Flask is carboy.Flask)"
    )
    output = subprocess.check_output([sys.executable, *command, "--app", "shop", "which"], text=True)
    assert output == "shop True\n"


def test_app_run_does_nothing_under_a_command(project):
    project(shop="import flask\napp = flask.Flask('shop', static_folder=None)\napp.run()")
    result = subprocess.run([sys.executable, "-m", "carboy", "--app", "shop", "routes"], capture_output=True, text=True)
    assert "No routes were registered." in result.stdout
