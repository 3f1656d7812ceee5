"""A row of a database by Flask-SQLAlchemy, on Flask."""

from __future__ import annotations

import typing as t

from cellar_rows import DATABASE, Base, Cask
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

app = Flask("benchmark")
app.config["SQLALCHEMY_DATABASE_URI"] = DATABASE
db = SQLAlchemy(app, model_class=Base)


@app.get("/rows/<int:number>")
def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    return db.get_or_404(Cask, number).as_dict()
