"""Flask-JWT-Extended: a token, and what needs it."""

from both import both
from flask import Flask, jsonify, request
from flask_jwt_extended import JWTManager, create_access_token, current_user, get_jwt_identity, jwt_required

app = Flask(__name__)
app.config["JWT_SECRET_KEY"] = "for a test, and long enough for it"
jwt = JWTManager(app)


@jwt.user_lookup_loader
def look_up(header, data):
    return {"name": data["sub"]}


@both(app, "/token", methods=["POST"])
def token():
    return jsonify(token=create_access_token(request.form["name"]))


@both(app, "/me", jwt_required())
def me():
    return jsonify(identity=get_jwt_identity(), user=current_user["name"])


@both(app, "/maybe", jwt_required(optional=True))
def maybe():
    return jsonify(identity=get_jwt_identity())
