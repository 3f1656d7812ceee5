"""A row of a database by SQLAlchemy, on FastAPI: a sync endpoint with a session as its dependency."""

import typing as t

from cellar_rows import DATABASE, Cask
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

app = FastAPI()
engine = create_engine(DATABASE)


def get_session() -> t.Iterator[Session]:
    """Lend a session to a request."""
    with Session(engine) as session:
        yield session


@app.get("/rows/{number}")
def row(number: int, database: t.Annotated[Session, Depends(get_session)]) -> dict[str, t.Any]:
    """Return a row."""
    return database.get_one(Cask, number).as_dict()
