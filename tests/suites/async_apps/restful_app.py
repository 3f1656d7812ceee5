"""Flask-RESTful: a resource with ``abort``, arguments and marshalling."""

from both import as_async
from flask import Flask
from flask_restful import Api, Resource, abort, fields, marshal_with, reqparse

app = Flask(__name__)
api = Api(app)
parser = reqparse.RequestParser()
parser.add_argument("name", required=True, location="form", help="needs a name")


def show(self, id):
    if id == 404:
        abort(404, message="no such beer")
    return {"id": id, "name": f"beer {id}", "secret": True}


def add(self, id):
    return {"id": id, "name": parser.parse_args()["name"]}, 201


FIELDS = {"id": fields.Integer, "name": fields.String}


class SyncBeer(Resource):
    get = marshal_with(FIELDS)(show)
    post = add


class AsyncBeer(Resource):
    # Flask-RESTful calls these itself; the decorators of a resource are the place to say how.
    method_decorators = (app.ensure_sync, marshal_with(FIELDS))
    get = as_async(show)
    post = as_async(add)


api.add_resource(SyncBeer, "/sync/beers/<int:id>")
api.add_resource(AsyncBeer, "/async/beers/<int:id>")
