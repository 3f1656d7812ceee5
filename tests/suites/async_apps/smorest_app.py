"""flask-smorest: a resource with schemas, ``abort``, pages and the OpenAPI document."""

from both import as_async
from flask import Flask
from flask.views import MethodView
from flask_smorest import Api, Blueprint, abort
from marshmallow import Schema, fields

app = Flask(__name__)
app.config.update(API_TITLE="Beers", API_VERSION="v1", OPENAPI_VERSION="3.0.3", OPENAPI_URL_PREFIX="/")
api = Api(app)


class BeerSchema(Schema):
    id = fields.Int(dump_only=True)
    name = fields.String(required=True)


def show(self, id):
    if id == 404:
        abort(404, message="no such beer")
    return {"id": id, "name": f"beer {id}", "secret": True}


def add(self, beer, id):
    return {"id": id, **beer}


def register(prefix, convert):
    blueprint = Blueprint(prefix, prefix, url_prefix=f"/{prefix}")

    @blueprint.route("/beers/<int:id>")
    class Beers(MethodView):
        get = blueprint.response(200, BeerSchema)(convert(show))
        post = blueprint.arguments(BeerSchema)(blueprint.response(201, BeerSchema)(convert(add)))

    api.register_blueprint(blueprint)


register("sync", lambda function: function)
register("async", as_async)
