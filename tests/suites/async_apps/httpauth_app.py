"""Flask-HTTPAuth: basic and token authentication."""

from both import both
from flask import Flask
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth

app = Flask(__name__)
basic = HTTPBasicAuth()
token = HTTPTokenAuth()


@basic.verify_password
def verify(name, password):
    return name if password == f"password of {name}" else None


@token.verify_token
async def verify_token(value):
    return value.removeprefix("token of ") if value.startswith("token of ") else None


@both(app, "/basic", basic.login_required)
def by_password():
    return basic.current_user()


@both(app, "/token", token.login_required)
def by_token():
    return token.current_user()
