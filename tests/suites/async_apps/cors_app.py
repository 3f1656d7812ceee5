"""Flask-Cors: a preflight request, and the headers of the answer."""

from both import both
from flask import Flask
from flask_cors import CORS, cross_origin

app = Flask(__name__)
CORS(app, resources={"/sync/api/*": {"origins": "https://a.example"}, "/async/api/*": {"origins": "https://a.example"}})


@both(app, "/api/data", methods=["GET", "PUT"])
def data():
    return {"data": 1}


@both(app, "/open", cross_origin(origins="https://b.example", supports_credentials=True), methods=["GET", "OPTIONS"])
def opened():
    return {"open": True}


@both(app, "/closed")
def closed():
    return {"open": False}
