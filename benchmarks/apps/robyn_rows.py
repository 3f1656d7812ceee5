"""A row of a database by SQLAlchemy, on Robyn: ``python -m robyn_rows PORT``."""

from __future__ import annotations

import sys
import typing as t

from cellar_rows import DATABASE, Cask
from robyn import Request, Robyn
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

app = Robyn(__file__)
engine = create_engine(DATABASE)


@app.get("/rows/:number")
def row(request: Request) -> dict[str, t.Any]:
    """Return a row."""
    with Session(engine) as database:
        return database.get_one(Cask, int(request.path_params["number"])).as_dict()


if __name__ == "__main__":
    app.start(port=int(sys.argv[1]))
