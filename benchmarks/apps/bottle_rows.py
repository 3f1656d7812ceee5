"""A row of a database by SQLAlchemy, on Bottle."""

from __future__ import annotations

import typing as t

from bottle import Bottle
from cellar_rows import DATABASE, Cask
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

app = Bottle()
engine = create_engine(DATABASE)


@app.get("/rows/<number:int>")
def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    with Session(engine) as database:
        return database.get_one(Cask, number).as_dict()
