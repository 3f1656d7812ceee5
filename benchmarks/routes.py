"""Measure routing alone: adding, matching and building with 100 to 100,000 routes.

    python benchmarks/routes.py [--routes 100 5000 100000]

Half of the routes have no variables, half end with one. Times are the least of many repeats, of carboy's map and of
Werkzeug's in turn; Werkzeug's is left out above 5,000 routes, where adding them takes it half a minute.
"""

from __future__ import annotations

import argparse
import time
import typing as t

import werkzeug.routing
from werkzeug.exceptions import NotFound

import carboy

REPEATS = 40
CALLS = 500


def make_app(routes: int) -> tuple[carboy.Carboy, float, float]:
    """Return an application with so many routes, and the seconds to add them and to be ready for the first request."""
    app = carboy.Carboy("routes", static_folder=None)
    start = time.perf_counter()
    for n in range(routes // 2):
        app.add_url_rule(f"/pages/{n}", endpoint=f"page{n}", view_func=str)
        app.add_url_rule(f"/items{n}/<int:x>", endpoint=f"item{n}", view_func=str)
    added = time.perf_counter()
    app.url_map.update()
    return app, added - start, time.perf_counter() - added


def werkzeug_map(app: carboy.Carboy) -> werkzeug.routing.Map:
    """Return Werkzeug's map with the rules of *app*."""
    return werkzeug.routing.Map([rule.empty() for rule in app.url_map.iter_rules()])


def in_request(url_map: werkzeug.routing.Map) -> t.Callable[[str, str], t.Any]:
    """Return what a request does to match with Werkzeug alone: bind the map, then match."""

    def match(path: str, method: str) -> t.Any:
        return url_map.bind("localhost", subdomain="", path_info=path, default_method=method).match(return_rule=True)

    return match


def least(function: t.Callable[..., t.Any], *args: t.Any) -> float:
    """Return the least microseconds of a call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(CALLS):
            try:
                function(*args)
            except NotFound:
                pass
        times.append(time.perf_counter() - start)
    return min(times) / CALLS * 1e6


def measure(routes: int) -> dict[str, float]:
    """Return the figures for so many routes: seconds to add them, microseconds for the rest."""
    app, added, ready = make_app(routes)
    last = routes // 2 - 1
    figures = {"added s": added, "ready s": ready}
    paths = {
        "static, first": "/pages/0",
        "static, last": f"/pages/{last}",
        "variable, first": "/items0/5",
        "variable, last": f"/items{last}/5",
        "miss": "/none/5",
    }
    matchers: dict[str, t.Callable[..., t.Any]] = {"": app.url_map.matcher.find}
    if routes <= 5_000:
        matchers["Werkzeug: "] = in_request(werkzeug_map(app))
    for name, path in paths.items():
        for whose, match in matchers.items():
            figures[whose + name] = least(match, path, "GET")
    figures["build path"] = least(app.url_map.build_path, f"item{last}", {"x": 5}, None, "GET")
    return figures


def main() -> None:
    """Print a table with a column for each number of routes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, nargs="+", default=[100, 5_000, 100_000])
    columns = {routes: measure(routes) for routes in parser.parse_args().routes}
    names = dict.fromkeys(name for figures in columns.values() for name in figures)
    print(f"{'microseconds, or s':28}" + "".join(f"{routes:>12,}" for routes in columns))  # noqa: T201
    for name in names:
        cells = [figures.get(name) for figures in columns.values()]
        print(f"{name:28}" + "".join(f"{'':>12}" if cell is None else f"{cell:12.2f}" for cell in cells))  # noqa: T201


if __name__ == "__main__":
    main()
