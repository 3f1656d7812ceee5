"""What models have in common. They are SQLAlchemy's declarative models, with less to write."""

from __future__ import annotations

import os
import re
import time
import typing as t
import uuid
from datetime import UTC, datetime

from sqlalchemy import DateTime, MetaData, String, Uuid, func, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names for what SQLAlchemy leaves unnamed: a migration can only drop what has a name."""

# MySQL has no strings without a limit; this is the longest that any index of its takes.
_TYPES: dict[t.Any, t.Any] = {str: String().with_variant(String(255), "mysql", "mariadb")}

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def new_metadata(bind_key: str | None = None) -> MetaData:
    """Return metadata with the naming convention, for the tables of one database."""
    return MetaData(naming_convention=NAMING_CONVENTION, info={} if bind_key is None else {"bind_key": bind_key})


class Model:
    """Mixed into a declarative base: names tables, and shows its instances.

    ``db.Model`` is such a base. Where types are checked, write the base out, since no type checker takes a class from
    an attribute: ``class Base(Model, DeclarativeBase)``, and ``Database(model=Base)``.
    """

    metadatas: t.ClassVar[dict[str | None, MetaData]]

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        if DeclarativeBase in cls.__bases__:
            if "metadata" not in cls.__dict__:
                cls.metadata = new_metadata()  # type: ignore[attr-defined]
            cls.type_annotation_map = _TYPES | cls.__dict__.get("type_annotation_map", {})  # type: ignore[attr-defined]
            cls.metadatas = {None: cls.metadata}  # type: ignore[attr-defined]
        elif "__bind_key__" in cls.__dict__:
            key = cls.__dict__["__bind_key__"]
            if key not in cls.metadatas:
                cls.metadatas[key] = new_metadata(key)
            cls.metadata = cls.metadatas[key]  # type: ignore[attr-defined]
        if _needs_table_name(cls):
            cls.__tablename__ = _WORD.sub("_", cls.__name__).lower()  # type: ignore[attr-defined]
        super().__init_subclass__(**kwargs)

    def __repr__(self) -> str:
        state = inspect(self)
        if state is None:
            return object.__repr__(self)
        name = type(self).__name__
        if state.transient:
            return f"<{name} (transient {id(self)})>"
        if state.pending:
            return f"<{name} (pending {id(self)})>"
        return f"<{name} {', '.join(map(str, state.identity or ()))}>"


def _needs_table_name(cls: type[t.Any]) -> bool:
    """Return whether *cls* is a model with a table of its own, and nobody has named it."""
    if "__table__" in cls.__dict__ or "__tablename__" in cls.__dict__ or cls.__dict__.get("__abstract__"):
        return False
    if DeclarativeBase in cls.__bases__:
        return False
    for base in cls.__mro__[1:]:
        if "__tablename__" in base.__dict__ and isinstance(base.__dict__["__tablename__"], declared_attr):
            return False
    mapped = [base for base in cls.__mro__[1:] if "__mapper__" in base.__dict__]
    # Without a key of its own, it shares the table of the model that it is derived from.
    return not mapped or any(getattr(value, "primary_key", False) or _is_key(value) for value in vars(cls).values())


def _is_key(value: t.Any) -> bool:
    column = getattr(value, "column", None)
    return bool(getattr(column, "primary_key", False))


def uuid7() -> uuid.UUID:
    """Return a UUID that sorts by the time it was made (RFC 9562 section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10))
    return uuid.UUID(int=value & ~(0xF << 76) & ~(0b11 << 62) | 7 << 76 | 0b10 << 62)


class Identified:
    """A mixin: the primary key is a UUID of version 7, known before the row is stored."""

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid7, sort_order=-10)


def _now() -> datetime:
    return datetime.now(UTC)


class Timestamps:
    """A mixin: when a row was made and last changed, in UTC, with time zone where the database has one."""

    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=_now, server_default=func.now(), sort_order=1000
    )
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), default=_now, onupdate=_now, server_default=func.now(), sort_order=1001
    )
