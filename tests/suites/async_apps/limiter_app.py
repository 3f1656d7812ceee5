"""Flask-Limiter: three requests for each client, then 429."""

from both import both
from flask import Flask, request
from flask_limiter import Limiter

app = Flask(__name__)
limiter = Limiter(lambda: request.headers["X-Client"], app=app, storage_uri="memory://", headers_enabled=True)


@both(app, "/limited", limiter.limit("3 per hour"))
def limited():
    return "ok"


@both(app, "/free", limiter.exempt)
def free():
    return "ok"
