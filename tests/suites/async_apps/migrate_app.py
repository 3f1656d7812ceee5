"""Flask-Migrate: ``flask db`` makes the table that the views use."""

import os

from both import both
from flask import Flask, jsonify
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['APP_FOLDER']}/beers.sqlite"
db = SQLAlchemy(app)
Migrate(app, db, directory=f"{os.environ['APP_FOLDER']}/migrations")


class Beer(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(80))


@both(app, "/beers/<name>", methods=["POST"])
def brew(name):
    db.session.add(Beer(name=name))
    db.session.commit()
    return jsonify(count=Beer.query.filter_by(name=name).count())
