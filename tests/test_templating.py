"""Templates: contexts, loaders, streaming, signals, and what Jinja is told of the application."""

import logging
import sys
from collections import OrderedDict

import pytest
from jinja2 import DebugUndefined, DictLoader, Template, TemplateNotFound
from jinja2 import Environment as BaseEnvironment
from jinja2.sandbox import SandboxedEnvironment, SecurityError

from carboy import (
    Blueprint,
    Carboy,
    before_render_template,
    g,
    get_template_attribute,
    render_template,
    render_template_string,
    request,
    session,
    stream_template,
    stream_template_string,
    template_rendered,
)
from carboy.templating import DispatchingJinjaLoader, Environment


@pytest.fixture
def app(app):
    app.jinja_loader = DictLoader(
        {
            "hello.html": "Hello {{ name }}!",
            "escaped.txt": "{{ value }}",
            "escaped.html": "{{ value }}",
            "parts.html": "{% macro hello(name) %}Hello {{ name }}!{% endmacro %}{% set size = 3 %}",
        }
    )
    return app


def test_render(app):
    with app.app_context():
        assert render_template("hello.html", name="you") == "Hello you!"
        assert render_template(["missing.html", "hello.html"], name="you") == "Hello you!"
        assert render_template(app.jinja_env.get_template("hello.html"), name="you") == "Hello you!"
        assert render_template_string("{{ 1 + 1 }}") == "2"


class Attributes:
    items = "attribute"

    def __getitem__(self, key):
        return {"items": 1, "key": 2}[key]


class Refusing(dict):
    def __getattribute__(self, name):
        if name == "broken":
            raise ValueError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", ["items", "key", "none", "__class__", "__nothing__", "mro", "broken"])
@pytest.mark.parametrize(
    "value",
    [{"items": 1, "key": 2}, {}, Attributes(), Refusing(key=3), OrderedDict(key=4), [1], None, Attributes, dict],
    ids=lambda value: repr(value)[:20],
)
def test_attributes_are_found_as_jinja_does(app, name, value):
    def found(environment):
        try:
            value_found = environment.getattr(value, name)
        except ValueError as e:
            return repr(e)
        return str(value_found), type(value_found)

    environment = app.jinja_env.overlay(undefined=DebugUndefined)
    assert found(environment) == found(BaseEnvironment(undefined=DebugUndefined))


@pytest.mark.parametrize("order", [(Environment, SandboxedEnvironment), (SandboxedEnvironment, Environment)])
def test_a_sandbox_stays_one(app, order):
    class Mixin:
        pass

    class Sandbox(order[0], Mixin, order[1]):
        pass

    class Inner(Sandbox):
        pass

    for app.jinja_environment in Sandbox, Inner:
        app.jinja_env = app.create_jinja_environment()

        with app.app_context():
            assert render_template_string("{{ value.key }}", value={"key": 1}) == "1"

            with pytest.raises(SecurityError):
                render_template_string("{{ value.__class__.mro() }}", value={})


def test_a_template_class_stays_one(app):
    class Loud(Template):
        def render(self, *args, **values):
            return super().render(*args, **values).upper()

    class LoudEnvironment(BaseEnvironment):
        template_class = Loud

    class Both(Environment, LoudEnvironment):
        pass

    app.jinja_environment = Both
    with app.app_context():
        assert render_template_string("{{ value }}", value="a") == "A"


def test_globals(app):
    """Those of the environment can be changed late, and a template may have its own."""
    app.jinja_env.globals["name"] = "one"
    own = app.jinja_env.from_string("{{ name }} {{ size }}", globals={"size": 2})
    with app.app_context():
        assert render_template(own) == "one 2"
        app.jinja_env.globals["name"] = "two"
        own.globals["size"] = 3
        assert render_template(own) == "two 3"
        own.globals["name"] = "own"
        assert render_template(own) == "own 3"
        assert render_template(own, name="given") == "given 3"
        assert render_template("hello.html") == "Hello two!"


def profiled(function):
    """Return the events that `sys.setprofile` tells while *function* runs the second time."""
    function()
    events = []
    previous = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        function()
    finally:
        sys.setprofile(previous)
    return events


def test_rendering_costs_what_jinja_does(app):
    values = {"name": "you"}
    with app.test_request_context():
        app.update_template_context(values)
        jinjas = profiled(lambda: app.jinja_env.get_template("hello.html").render(values)).count("call")
        ours = profiled(lambda: render_template("hello.html", name="you")).count("call")
    assert ours - jinjas <= 25


def test_attributes_of_dicts_make_no_exceptions(app):
    template = app.jinja_env.from_string("{% for row in rows %}{{ row.id }}{{ row.name }}{% endfor %}")
    rows = [{"id": 1, "name": "a"}] * 50
    assert "c_exception" not in profiled(lambda: template.render(rows=rows))


def test_missing(app):
    with app.app_context(), pytest.raises(TemplateNotFound, match=r"missing\.html"):
        render_template("missing.html")


def test_needs_an_application():
    for call in render_template, render_template_string, stream_template, stream_template_string:
        with pytest.raises(RuntimeError, match="outside of application context"):
            call("hello.html")


def test_escaping(app):
    with app.app_context():
        assert render_template("escaped.html", value="<") == "&lt;"
        assert render_template("escaped.txt", value="<") == "<"
        assert render_template_string("{{ value }}", value="<") == "&lt;"


def test_standard_context(app):
    source = (
        "{{ request.path }} {{ g.user }} {{ config.TESTING }} {{ session.a }} {{ url_for('static', filename='x') }}"
    )

    with app.test_request_context("/path"):
        g.user = "me"
        session["a"] = 1
        assert render_template_string(source) == "/path me True 1 /static/x"


def test_context_without_request(app):
    with app.app_context():
        g.user = "me"
        assert render_template_string("{{ g.user }}{{ config.TESTING }}") == "meTrue"


def test_context_processors(app):
    @app.context_processor
    def inject():
        return {"a": "injected", "b": "injected"}

    with app.test_request_context():
        assert render_template_string("{{ a }} {{ b }}", a="given") == "given injected"
        assert render_template_string("{{ request.path }}", request={"path": "given"}) == "given"


def test_blueprint_context_processors(app, client):
    blueprint = Blueprint("pages", __name__)
    blueprint.context_processor(lambda: {"scope": "blueprint"})
    blueprint.app_context_processor(lambda: {"everywhere": "yes"})
    blueprint.add_url_rule("/page", "page", lambda: render_template_string("{{ scope }} {{ everywhere }}"))
    app.add_url_rule("/", "index", lambda: render_template_string("{{ scope }} {{ everywhere }}"))
    app.register_blueprint(blueprint)
    assert client.get("/page").text == "blueprint yes"
    assert client.get("/").text == " yes"


def test_rendering_does_not_touch_the_session(app, client):
    """Only a template that uses the session makes the response vary by cookie."""
    app.add_url_rule("/plain", "plain", lambda: render_template("hello.html"))
    app.add_url_rule("/session", "session", lambda: render_template_string("{{ session.get('a') }}"))
    assert "Vary" not in client.get("/plain").headers
    assert client.get("/session").headers["Vary"] == "Cookie"


def test_filters_tests_and_globals(app):
    app.add_template_filter(lambda text: text[::-1], "backwards")
    app.add_template_test(lambda number: number == 42, "answer")
    app.add_template_global(lambda: "global", "say")

    with app.app_context():
        source = "{{ 'abc' | backwards }} {{ 42 is answer }} {{ say() }}"
        assert render_template_string(source) == "cba True global"


def test_tojson(app):
    with app.app_context():
        assert render_template_string("{{ {'b': '</script>', 'a': 1} | tojson }}") == (
            '{"a": 1, "b": "\\u003c/script\\u003e"}'
        )


def test_template_attribute(app):
    with app.app_context():
        assert get_template_attribute("parts.html", "hello")("you") == "Hello you!"
        assert get_template_attribute("parts.html", "size") == 3

        with pytest.raises(AttributeError):
            get_template_attribute("parts.html", "missing")


def test_stream_keeps_the_request(app, client):
    app.jinja_loader.mapping["stream.html"] = source = (
        "{{ request.args.name }}{% for i in range(3) %} {{ i }}{% endfor %}"
    )
    app.add_url_rule("/name", "name", lambda: stream_template("stream.html"))
    app.add_url_rule("/text", "text", lambda: stream_template_string(source))

    for path in "/name", "/text":
        response = client.get(f"{path}?name=you")
        assert response.is_streamed
        assert response.text == "you 0 1 2"


def test_stream_without_request(app):
    with app.app_context():
        assert "".join(stream_template("hello.html", name="you")) == "Hello you!"


def test_stream_renders_piece_by_piece(app):
    seen = []

    with app.app_context():
        stream = stream_template_string("{% for i in range(9) %}{{ note(i) }}{% endfor %}", note=seen.append)
        next(stream)
        assert seen == [0]
        assert len(list(stream)) == 8


@pytest.mark.parametrize("streamed", [False, True])
def test_signals(app, streamed):
    events = []

    def before(sender, template, context):
        events.append(("before", sender, template.name, context["name"]))
        context["name"] = "changed"

    def after(sender, template, context):
        events.append(("after", sender, template.name, context["name"]))

    with before_render_template.connected_to(before, app), template_rendered.connected_to(after, app):
        with app.app_context():
            if streamed:
                assert "".join(stream_template("hello.html", name="you")) == "Hello changed!"
            else:
                assert render_template("hello.html", name="you") == "Hello changed!"

    assert events == [("before", app, "hello.html", "you"), ("after", app, "hello.html", "changed")]


class App31(Carboy):
    def update_template_context(self, context):
        super().update_template_context(context)
        context["extra"] = "overridden"


class App32(Carboy):
    def update_template_context(self, ctx, context):
        assert ctx.app is self
        super().update_template_context(ctx, context)
        context["extra"] = "overridden"


@pytest.mark.parametrize("app_class", [App31, App32])
def test_update_template_context_may_be_overridden(app_class):
    """Both with the signature of Flask 3.1 and with that of 3.2."""
    with app_class(__name__).app_context():
        assert render_template_string("{{ extra }}") == "overridden"


@pytest.fixture
def layered(app):
    """An application and two blueprints which share names of templates."""
    app.jinja_loader = DictLoader({"shared.html": "app", "app.html": "app"})

    for name in "first", "second":
        blueprint = Blueprint(name, __name__)
        blueprint.jinja_loader = DictLoader({"shared.html": name, "blueprints.html": name, f"{name}.html": name})
        app.register_blueprint(blueprint)

    return app


def test_order_of_loaders(layered):
    with layered.app_context():
        assert [render_template(name) for name in ("shared.html", "blueprints.html", "second.html")] == [
            "app",
            "first",
            "second",
        ]


def test_list_templates(layered):
    names = {"shared.html", "app.html", "blueprints.html", "first.html", "second.html"}
    assert sorted(DispatchingJinjaLoader(layered).list_templates()) == sorted(names)
    assert set(layered.jinja_env.list_templates()) == names


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "shared.html",
            ["1: trying loader of application 'carboy_test'", "Warning: multiple loaders returned a match"],
        ),
        ("app.html", ["2: trying loader of blueprint 'first'", "-> found ('<string>')", "-> no match"]),
    ],
)
def test_explained_loading(layered, caplog, name, lines):
    layered.config["EXPLAIN_TEMPLATE_LOADING"] = True

    with layered.app_context(), caplog.at_level(logging.INFO, layered.name):
        assert render_template(name) == "app"

    for line in [f"Locating template '{name}'", "class: jinja2.loaders.DictLoader", *lines]:
        assert line in caplog.text


def test_explained_failure_in_a_blueprint(app, client, caplog, tmp_path):
    app.config["EXPLAIN_TEMPLATE_LOADING"] = True
    blueprint = Blueprint("pages", __name__, template_folder=str(tmp_path))
    blueprint.add_url_rule("/", "index", lambda: render_template("missing.html"))
    app.register_blueprint(blueprint)

    with caplog.at_level(logging.INFO, app.name), pytest.raises(TemplateNotFound):
        client.get("/")

    assert "Error: the template could not be found." in caplog.text
    assert f"  - {tmp_path}" in caplog.text
    assert "looked up from an endpoint that belongs to the blueprint 'pages'" in caplog.text


def test_environment(app):
    environment = Environment(app, autoescape=True)
    assert environment.app is app
    assert environment.get_template("hello.html").render(name="you") == "Hello you!"
    loader = DictLoader({})
    assert Environment(app, loader=loader).loader is loader


def test_request_in_template_is_the_real_one(app):
    """Templates get the objects themselves, which are faster than the proxies."""
    seen = []

    with app.test_request_context():
        render_template_string("{{ see(request) }}{{ see(g) }}", see=seen.append)
        assert seen == [request._get_current_object(), g._get_current_object()]
        assert [type(value).__name__ for value in seen] == [app.request_class.__name__, "_AppCtxGlobals"]
