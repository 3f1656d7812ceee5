"""The table that the applications read with SQLAlchemy."""

from __future__ import annotations

from cellar import FILES
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATABASE = f"sqlite:///{FILES / 'rows.sqlite'}"
ASYNC_DATABASE = f"sqlite+aiosqlite:///{FILES / 'rows.sqlite'}"


class Base(DeclarativeBase):
    """Holds the metadata."""


class Cask(Base):
    """A row."""

    __tablename__ = "casks"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    litres: Mapped[int]

    def as_dict(self) -> dict[str, int | str]:
        """Return what the applications answer."""
        return {"id": self.id, "name": self.name, "litres": self.litres}
