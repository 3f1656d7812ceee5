"""Flask-SQLAlchemy: write rows, and read them in another request."""

import os

from both import both
from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{os.environ['APP_FOLDER']}/notes.sqlite"
db = SQLAlchemy(app)


class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.String(80), nullable=False)


with app.app_context():
    db.create_all()


@both(app, "/notes", methods=["POST"])
def add():
    note = Note(text=request.form["text"])
    db.session.add(note)
    db.session.commit()
    return jsonify(id=note.id), 201


@both(app, "/notes/<int:id>")
def show(id):
    return jsonify(text=db.get_or_404(Note, id).text)


@both(app, "/unsaved", methods=["POST"])
def forget():
    db.session.add(Note(text="never"))
    db.session.flush()
    # Now, not when the request ends: an async view must not leave the loop, for a hook or an error handler in a thread,
    # while it holds a lock that another view on that loop may wait for.
    db.session.rollback()
    raise LookupError("after a flush")


@app.errorhandler(LookupError)
def explain(error):
    return str(error), 409


@both(app, "/count/<text>")
def count(text):
    return jsonify(count=Note.query.filter_by(text=text).count())
