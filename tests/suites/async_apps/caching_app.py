"""Flask-Caching: a cached view, one by query string, and a memoized function."""

import itertools

from both import both
from flask import Flask, current_app, request
from flask_caching import Cache

app = Flask(__name__)
cache = Cache(app, config={"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 300})
calls = itertools.count(1)


@both(app, "/cached", cache.cached())
def cached():
    return f"made {next(calls)}"


@both(app, "/query", cache.cached(query_string=True))
def by_query():
    return f"{request.args['key']} {next(calls)}"


@cache.memoize()
def double(number):
    return [number * 2, next(calls)]


@both(app, "/memoized/<int:number>")
def memoized(number):
    return double(number)


@both(app, "/clear", methods=["POST"])
def clear():
    cache.clear()
    return current_app.name
