"""Views as classes, sync, async and mixed."""

import functools
import inspect
import threading

import pytest

from carboy import current_app, request
from carboy.views import MethodView, View, http_method_funcs


class Greeting(View):
    def __init__(self, word="Hello", sign="!"):
        self.word = word
        self.sign = sign

    def dispatch_request(self, name):
        return f"{self.word}, {name}{self.sign}"


class AsyncGreeting(Greeting):
    async def dispatch_request(self, name):
        return super().dispatch_request(name)


class Verbs(MethodView):
    def get(self):
        return "get"

    def post(self):
        return "post"


class AsyncVerbs(MethodView):
    async def get(self):
        return "get"

    async def post(self):
        return "post"


class MixedVerbs(MethodView):
    async def get(self):
        return "get"

    def post(self):
        return "post"


@pytest.mark.parametrize("view_class", [Greeting, AsyncGreeting])
def test_view(app, client, view_class):
    app.add_url_rule("/<name>", view_func=view_class.as_view("greeting", "Hi", sign="?"))
    assert client.get("/you").text == "Hi, you?"
    assert client.post("/you").status_code == 405


@pytest.mark.parametrize("view_class", [Verbs, AsyncVerbs, MixedVerbs])
def test_method_view(app, client, view_class):
    app.add_url_rule("/", view_func=view_class.as_view("verbs"))
    assert client.get("/").text == "get"
    assert client.post("/").text == "post"
    assert client.put("/").status_code == 405
    assert client.options("/").allow.as_set() == {"get", "head", "post", "options"}
    assert client.head("/").data == b""


@pytest.mark.parametrize(
    ("view_class", "is_async"),
    [(Greeting, False), (AsyncGreeting, True), (Verbs, False), (AsyncVerbs, True), (MixedVerbs, True)],
)
def test_view_function_is_async_if_the_class_is(view_class, is_async):
    assert inspect.iscoroutinefunction(view_class.as_view("view")) is is_async


def test_async_view_runs_on_the_loop(app, client):
    """Async methods run on an event loop; sync ones beside them do not block it."""
    import asyncio

    class Where(MethodView):
        async def get(self):
            asyncio.get_running_loop()
            return str(threading.get_ident())

        def post(self):
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()

            assert request.method == "POST"
            return str(threading.get_ident())

    app.add_url_rule("/", view_func=Where.as_view("where"))
    assert client.get("/").text == client.get("/").text
    assert client.post("/").text != client.get("/").text


def test_attributes_of_the_view_function(app):
    class Documented(View):
        """Says something."""

        methods = ("GET", "POST")
        provide_automatic_options = False

    view = Documented.as_view("named", 1, two=2)
    assert (view.__name__, view.__doc__, view.__module__) == ("named", "Says something.", __name__)
    assert view.view_class is Documented
    assert view.methods == ("GET", "POST")
    assert view.provide_automatic_options is False


def test_abstract(app):
    app.add_url_rule("/", view_func=View.as_view("view"))

    with pytest.raises(NotImplementedError):
        app.test_client().get("/")


def test_methods_may_change_after_as_view(app, client):
    class Answer(View):
        methods = ("GET",)

        def dispatch_request(self):
            return request.method

    view = Answer.as_view("answer")
    view.methods = ["DELETE"]
    app.add_url_rule("/", view_func=view)
    assert client.delete("/").text == "DELETE"
    assert client.get("/").status_code == 405


def test_automatic_options(app, client):
    class Own(MethodView):
        provide_automatic_options = False

        def get(self):
            return "get"

    class WithOptions(Verbs):
        def options(self):
            return "own"

    app.add_url_rule("/none", view_func=Own.as_view("none"))
    app.add_url_rule("/own", view_func=WithOptions.as_view("own"))
    assert client.options("/none").status_code == 405
    assert client.options("/own").text == "own"


def test_methods_come_from_the_class_and_its_bases():
    class More(Verbs):
        def delete(self):
            return "delete"

    class PropFind:
        methods = ("PROPFIND",)

    class Both(PropFind, More):
        pass

    class Fixed(More):
        methods = frozenset({"GET"})

    assert MethodView.methods is None
    assert More.methods == {"GET", "POST", "DELETE"}
    assert Both.methods == {"GET", "POST", "DELETE", "PROPFIND"}
    assert Fixed.methods == {"GET"}
    assert http_method_funcs == {"get", "post", "head", "options", "delete", "put", "trace", "patch"}


@pytest.mark.parametrize("is_async", [False, True])
def test_own_http_method(app, protocol, is_async):
    class PropFind(MethodView):
        methods = ("PROPFIND",)

        if is_async:

            async def propfind(self):
                return "found"

        else:

            def propfind(self):
                return "found"

    app.add_url_rule("/", view_func=PropFind.as_view("view"))
    # Without the lint: Python's validator for WSGI warns of methods that it does not know.
    assert app.test_client(protocol=protocol).open("/", method="PROPFIND").text == "found"


def test_head(app, client):
    class Own(Verbs):
        def head(self):
            return "", 204, {"X-Head": "own"}

    app.add_url_rule("/get", view_func=Verbs.as_view("get"))
    app.add_url_rule("/own", view_func=Own.as_view("own"))
    assert client.head("/get").status_code == 200
    assert client.head("/own").headers["X-Head"] == "own"


def test_unimplemented_method(app):
    class Missing(MethodView):
        methods = ("GET", "PUT")

        def get(self):
            return "get"

    app.add_url_rule("/", view_func=Missing.as_view("missing"))

    with pytest.raises(AssertionError, match="Unimplemented method 'PUT'"):
        app.test_client().put("/")


def decorate(view):
    """Change the response as code written for Flask does: call the view, go on with the result."""

    @functools.wraps(view)
    def wrapper(**kwargs):
        return view(**kwargs) + f" {view.__name__}"

    return wrapper


def decorate_async(view):
    @functools.wraps(view)
    async def wrapper(**kwargs):
        return await view(**kwargs) + f" {view.__name__}"

    return wrapper


def decorate_by_extension(view):
    """Change the response as Flask's extensions do."""

    @functools.wraps(view)
    def wrapper(**kwargs):
        return current_app.ensure_sync(view)(**kwargs) + f" {view.__name__}"

    return wrapper


@pytest.mark.parametrize("view_class", [Verbs, AsyncVerbs, MixedVerbs])
@pytest.mark.parametrize("decorator", [decorate, decorate_by_extension])
def test_decorators(app, client, view_class, decorator):
    """Decorators written for Flask work on sync and async classes."""

    class Decorated(view_class):
        decorators = (decorator, decorator)

    view = Decorated.as_view("name")
    assert view.view_class is Decorated
    app.add_url_rule("/", view_func=view)
    assert client.get("/").text == "get name name"
    assert client.post("/").text == "post name name"


@pytest.mark.parametrize("view_class", [AsyncVerbs, MixedVerbs])
def test_async_decorators(app, client, view_class):
    class Decorated(view_class):
        decorators = (decorate_async,)

    app.add_url_rule("/", view_func=Decorated.as_view("name"))
    assert client.get("/").text == "get name"
    assert client.post("/").text == "post name"


@pytest.mark.parametrize("base", [Greeting, AsyncGreeting])
@pytest.mark.parametrize("every_request", [True, False])
def test_instances(app, client, base, every_request):
    class Counted(base):
        init_every_request = every_request
        made = 0

        def __init__(self):
            super().__init__()
            type(self).made += 1
            self.sign = str(self.made)

    app.add_url_rule("/<name>", view_func=Counted.as_view("counted"))
    texts = [client.get("/you").text for _ in range(2)]
    assert texts == (["Hello, you1", "Hello, you2"] if every_request else ["Hello, you1"] * 2)


@pytest.mark.parametrize("original", [Verbs, AsyncVerbs])
@pytest.mark.parametrize("replacement", [Verbs, AsyncVerbs, Greeting, AsyncGreeting])
def test_class_may_be_replaced(app, client, original, replacement):
    """A test may put another class into a view function, of either kind."""

    class Other(replacement):
        def __init__(self):
            super().__init__()
            self.sign = " other"

        def get(self, name):
            return f"Hello, {name} other"

    view = original.as_view("view")
    app.add_url_rule("/<name>", view_func=view)
    view.view_class = Other
    assert client.get("/you").text == "Hello, you other"


@pytest.mark.parametrize("base", [Verbs, AsyncVerbs, MixedVerbs])
def test_sync_override_of_dispatch(app, client, base):
    class Checked(base):
        def dispatch_request(self, **kwargs):
            if "denied" in request.args:
                return "denied", 403

            return super().dispatch_request(**kwargs) + " checked"

    app.add_url_rule("/", view_func=Checked.as_view("view"))
    assert client.get("/?denied").status_code == 403
    assert client.get("/").text == "get checked"
    assert client.post("/").text == "post checked"


@pytest.mark.parametrize("base", [Verbs, AsyncVerbs, MixedVerbs])
def test_async_override_of_dispatch(app, client, base):
    class Checked(base):
        async def dispatch_request(self, **kwargs):
            response = super().dispatch_request(**kwargs)
            return (await response if inspect.isawaitable(response) else response) + " checked"

    app.add_url_rule("/", view_func=Checked.as_view("view"))
    assert client.get("/").text == "get checked"
    assert client.post("/").text == "post checked"


def test_ensure_sync_of_an_async_class(app):
    """Extensions call view functions through `ensure_sync`."""
    view = app.ensure_sync(AsyncGreeting.as_view("view"))

    with app.test_request_context():
        assert view(name="you") == "Hello, you!"
