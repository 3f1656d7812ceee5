"""The tables, and the database they are in.

What changes here gets a migration: ``carboy --app examples.brewlog db revision -m "…"``.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship, validates

from carboy.db import Database, Model

from .brewing import STATUSES


class Base(Model, DeclarativeBase):
    """What all tables have in common."""


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)


class User(Base):
    """A brewer."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(30))
    # The name without regard to capitals: two brewers cannot be Ada and ada.
    folded: Mapped[str] = mapped_column(String(60), unique=True)
    password_hash: Mapped[str]
    api_token: Mapped[str] = mapped_column(String(64), unique=True)

    @validates("name")
    def _fold(self, key: str, name: str) -> str:
        self.folded = name.casefold()
        return name


class Reading(Base):
    """What a hydrometer and a thermometer have shown; times are in UTC."""

    __table_args__ = (Index("reading_by_batch", "batch_id", "taken_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id", ondelete="CASCADE"))
    taken_at: Mapped[datetime] = mapped_column(DateTime, default=_now)
    gravity: Mapped[float]
    temperature_c: Mapped[float]


class Photo(Base):
    """A picture of a batch; the file is in the folder of photos."""

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(40), unique=True)
    caption: Mapped[str] = mapped_column(String(80))


class Batch(Base):
    """What is in one carboy."""

    __table_args__ = (
        CheckConstraint("status IN ({})".format(", ".join(f"'{status}'" for status in STATUSES)), name="status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    name: Mapped[str] = mapped_column(String(60))
    style: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    volume_l: Mapped[float]
    original_gravity: Mapped[float]
    target_gravity: Mapped[float]
    brewed_on: Mapped[date] = mapped_column(index=True)
    notes: Mapped[str] = mapped_column(Text, default="")

    # Read together with a batch, since every page shows them.
    brewer: Mapped[User] = relationship(lazy="joined")
    gravity: Mapped[float | None] = column_property(
        select(Reading.gravity)
        .where(Reading.batch_id == id)
        .order_by(Reading.taken_at.desc(), Reading.id.desc())
        .limit(1)
        .correlate_except(Reading)
        .scalar_subquery()
    )
    readings: Mapped[list[Reading]] = relationship(
        order_by=(Reading.taken_at, Reading.id), cascade="all, delete-orphan", passive_deletes=True
    )
    photos: Mapped[list[Photo]] = relationship(order_by=Photo.id, cascade="all, delete-orphan", passive_deletes=True)

    def fields(self) -> dict[str, Any]:
        """Return what a form shows."""
        return {column.key: getattr(self, column.key) for column in self.__table__.columns}


db = Database(model=Base)
