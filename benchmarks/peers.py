"""Who is measured: every framework on its best server, and where servers are compared on several."""

from __future__ import annotations

from serving import BARE, Target

SHORT = ("plain", "json", "path")
"""What all are measured in."""
WORK = ("order", "page", "session", "form", "upload", "static", "events")
ALL = (*SHORT, *WORK, "routes", "wait")
PLAIN = "carboy with plain SQLAlchemy"
"""The application without ``carboy.db``: its row is read by a session that the view makes."""
BARE_CASES = (*SHORT, "order", "form", "events", "wait")


def _without(*names: str) -> tuple[str, ...]:
    return tuple(case for case in ALL if case not in names)


def http_targets() -> list[Target]:
    """Return what answers HTTP requests."""
    return [
        *_carboy_and_flask(),
        *_wsgi_peers(),
        *_asgi_peers(),
        Target("granian RSGI", "Emmett55", "emmett55_app:app", "emmett55", _without("page")),
        *_with_own_server("Sanic", "sanic_app:app", "sanic_rows:app", _without("session", "page")),
        Target("Sanic's own", "Sanic", "sanic_page:app", "sanic", ("page",)),
        *_with_own_server("Tornado", "tornado_app", "tornado_rows", _without("page")),
        *_with_own_server("aiohttp", "aiohttp_app", "aiohttp_rows", ALL),
        *_with_own_server("Robyn", "robyn_app", "robyn_rows", _without("form")),
    ]


def _carboy_and_flask() -> list[Target]:
    found = [
        Target("granian WSGI", BARE, "bare:wsgi", "carboy", BARE_CASES),
        Target("granian WSGI", "carboy, sync view", "carboy_app:app", "carboy", ALL),
        Target("granian WSGI", "carboy, sync view", "carboy_rows:sync_app", "carboy", ("row",)),
        Target("granian WSGI", "carboy with msgspec, sync view", "carboy_app:app", "carboy and msgspec", MSGSPEC),
        Target("granian WSGI", "Flask", "flask_app:app", "flask", ALL),
        Target("granian WSGI", f"{PLAIN}, sync view", "carboy_plain_rows:sync_app", "carboy", ("row",)),
        Target("granian WSGI", "Flask", "flask_rows:app", "flask", ("row",)),
        Target("granian WSGI", "Flask with Flask-SQLAlchemy", "flask_sqlalchemy_rows:app", "flask", ("row",)),
        Target("gunicorn", BARE, "bare:wsgi", "carboy", SHORT),
        Target("gunicorn", "carboy, sync view", "carboy_app:app", "carboy", SHORT),
        Target("gunicorn", "Flask", "flask_app:app", "flask", SHORT),
    ]
    for server, protocol in (("granian RSGI", "rsgi"), ("granian ASGI", "asgi"), ("uvicorn", "asgi")):
        cases = SHORT if server == "granian ASGI" else ALL
        found += [
            Target(server, BARE, f"bare:{protocol}", "carboy", tuple(case for case in BARE_CASES if case in cases)),
            Target(server, "carboy, async view", "carboy_async_app:app", "carboy", cases),
            Target(server, "carboy, sync view", "carboy_app:app", "carboy", SHORT),
        ]
        if cases is ALL:
            found.append(Target(server, "carboy, async view", "carboy_rows:async_app", "carboy", ("row",)))
            found.append(Target(server, "carboy, sync view", "carboy_rows:sync_app", "carboy", ("row",)))
            found.append(Target(server, f"{PLAIN}, async view", "carboy_plain_rows:async_app", "carboy", ("row",)))
    served = ("granian RSGI", "carboy, async view, `carboy serve`", "carboy_async_app:app", "carboy", (*SHORT, "wait"))
    found.append(Target(*served, launcher="carboy serve RSGI"))
    app = "carboy_async_app:app"
    found.append(Target("granian RSGI", "carboy with msgspec, async view", app, "carboy and msgspec", MSGSPEC))
    return found


MSGSPEC = ("json", "path", "order")


def _wsgi_peers() -> list[Target]:
    found = []
    for name, environment in (("Falcon", "falcon"), ("Bottle", "bottle"), ("Django", "django")):
        found.append(Target("granian WSGI", name, f"{environment}_app:app", environment, ALL))
        found.append(Target("granian WSGI", name, f"{environment}_rows:app", environment, ("row",)))
    return found


def _asgi_peers() -> list[Target]:
    found = [
        Target("granian ASGI", "Starlette", "starlette_app:app", "starlette", SHORT),
        Target("granian ASGI", "Starlette, sync endpoint", "starlette_app:sync_app", "starlette", SHORT),
        Target("granian ASGI", "BlackSheep", "blacksheep_app:app", "blacksheep", SHORT, "granian ASGI, lifespan"),
        Target("uvicorn", "Starlette", "starlette_app:app", "starlette", ALL),
        Target("uvicorn", "Starlette", "starlette_rows:app", "starlette", ("row",)),
        Target("uvicorn", "Starlette, sync endpoint", "starlette_app:sync_app", "starlette", SHORT),
        Target("uvicorn", "BlackSheep", "blacksheep_app:app", "blacksheep", _without("session")),
        Target("uvicorn", "BlackSheep", "blacksheep_app:sessions_app", "blacksheep", ("session",)),
        Target("uvicorn", "BlackSheep", "blacksheep_rows:app", "blacksheep", ("row",)),
        Target("uvicorn", "Falcon", "falcon_async_app:app", "falcon", ALL),
        Target("uvicorn", "Falcon", "falcon_rows:async_app", "falcon", ("row",)),
    ]
    for name in ("FastAPI", "Litestar", "Quart"):
        environment = name.lower()
        found.append(Target("uvicorn", name, f"{environment}_app:app", environment, ALL))
        found.append(Target("uvicorn", name, f"{environment}_rows:app", environment, ("row",)))
    return found


def _with_own_server(name: str, app: str, rows: str, cases: tuple[str, ...]) -> list[Target]:
    server, environment = f"{name}'s own", name.lower()
    return [Target(server, name, app, environment, cases), Target(server, name, rows, environment, ("row",))]


def echo_targets() -> list[Target]:
    """Return what echoes the messages of WebSockets."""
    found = [
        Target("granian RSGI", BARE, "bare_live:rsgi", "carboy"),
        Target("granian RSGI", "carboy", "carboy_live:app", "carboy"),
        Target("granian RSGI", "carboy, `carboy serve`", "carboy_live:app", "carboy", launcher="carboy serve RSGI"),
        Target("granian RSGI", "Emmett55", "emmett55_app:app", "emmett55"),
        Target("granian ASGI", "carboy, `carboy serve`", "carboy_live:app", "carboy", launcher="carboy serve ASGI"),
    ]
    for server in ("granian ASGI", "uvicorn"):
        found.append(Target(server, BARE, "bare_live:asgi", "carboy"))
        found.append(Target(server, "carboy", "carboy_live:app", "carboy"))
        for name in ("Starlette", "Quart", "Litestar", "BlackSheep", "FastAPI", "Falcon"):
            environment = name.lower()
            app = "falcon_async_app:app" if name == "Falcon" else f"{environment}_app:app"
            if server == "uvicorn":
                found.append(Target(server, name, app, environment))
            elif name != "FastAPI":
                found.append(Target(server, name, app, environment, launcher="granian ASGI, lifespan"))
    found.append(Target("Sanic's own", "Sanic", "sanic_app:app", "sanic"))
    own = ("Tornado", "aiohttp", "Robyn")
    found += [Target(f"{name}'s own", name, f"{name.lower()}_app", name.lower()) for name in own]
    for target in found:
        target.cases = ("echo",)
    return found


def waiting_targets() -> list[Target]:
    """Return what has views that hold threads, and one that does not."""
    servers = ("uvicorn", "granian ASGI", "granian RSGI")
    return [Target(server, "carboy", "carboy_live:app", "carboy", ("beside",)) for server in servers]


def memory_targets() -> list[Target]:
    """Return what the memory is measured of."""
    return [target for target in http_targets() if "plain" in target.cases and target.launcher == ""]
