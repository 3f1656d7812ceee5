"""A row of a database by SQLAlchemy, on Flask."""

from __future__ import annotations

import typing as t

from cellar_rows import DATABASE, Cask
from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

app = Flask("benchmark")
engine = create_engine(DATABASE)


@app.get("/rows/<int:number>")
def row(number: int) -> dict[str, t.Any]:
    """Return a row."""
    with Session(engine) as database:
        return database.get_one(Cask, number).as_dict()
