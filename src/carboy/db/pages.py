"""Pages of rows: by number, and by the key of the last row, which stays fast and right while rows come and go."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
import typing as t
import uuid
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import asc_op, desc_op

from carboy import abort, has_request_context, request, url_for

T = t.TypeVar("T")
Dump = t.Callable[[t.Any], t.Any]

PER_PAGE = 20
MAX_PER_PAGE = 100


@dataclasses.dataclass
class Page(t.Generic[T]):
    """One page of the rows of a statement, by number.

    Attributes:
        items: Its rows.
        number: From 1 on.
        per_page: Rows on a full page.
        total: Rows on all pages; None if they were not counted.
        has_next: Whether there is another page behind it.
    """

    items: list[T]
    number: int
    per_page: int
    total: int | None
    has_next: bool

    @property
    def has_previous(self) -> bool:
        """Whether there is a page before this one."""
        return self.number > 1

    @property
    def pages(self) -> int | None:
        """How many pages there are; None if rows were not counted."""
        return None if self.total is None else max(1, math.ceil(self.total / self.per_page))

    def __iter__(self) -> t.Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def numbers(self, around: int = 2) -> t.Iterator[int | None]:
        """Yield the numbers to show as links: the first, the last, and those around this one; None for a gap.

        Raises:
            ValueError: The rows were not counted.
        """
        if self.pages is None:
            raise ValueError("The pages have no numbers, since rows were not counted: use has_previous and has_next.")
        last = 0
        for number in range(1, self.pages + 1):
            if number in (1, self.pages) or abs(number - self.number) <= around:
                if number > last + 1:
                    yield None
                yield number
                last = number

    def url(self, number: int) -> str:
        """Return the URL of another page: that of the current request with another ``page``."""
        return _url(page=number)

    def links(self) -> dict[str, str]:
        """Return the URLs of the neighbouring pages by their relation (RFC 8288)."""
        links = {"first": self.url(1)}
        if self.has_previous:
            links["prev"] = self.url(self.number - 1)
        if self.has_next:
            links["next"] = self.url(self.number + 1)
        if self.pages is not None:
            links["last"] = self.url(self.pages)
        return links

    def as_json(self, dump: Dump) -> tuple[dict[str, t.Any], dict[str, str]]:
        """Return what a view can return: the items, each through *dump*, and a ``Link`` header."""
        body = {
            "items": [dump(item) for item in self.items],
            "page": self.number,
            "per_page": self.per_page,
            "pages": self.pages,
            "total": self.total,
        }
        return body, _link_header(self.links())


@dataclasses.dataclass
class Slice(t.Generic[T]):
    """Some rows of a statement, and where to go on.

    Attributes:
        items: The rows.
        after: The cursor to go on behind them with; None at the end.
        before: The cursor for what is before them; None at the beginning.
    """

    items: list[T]
    after: str | None
    before: str | None

    def __iter__(self) -> t.Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def links(self) -> dict[str, str]:
        """Return the URLs of what is before and behind by their relation (RFC 8288)."""
        links = {}
        if self.before is not None:
            links["prev"] = _url(before=self.before, after=None)
        if self.after is not None:
            links["next"] = _url(after=self.after, before=None)
        return links

    def as_json(self, dump: Dump) -> tuple[dict[str, t.Any], dict[str, str]]:
        """Return what a view can return: the items, each through *dump*, and a ``Link`` header."""
        body = {"items": [dump(item) for item in self.items], "after": self.after, "before": self.before}
        return body, _link_header(self.links())


def _url(**changed: t.Any) -> str:
    values: dict[str, t.Any] = {**request.args.to_dict(flat=False), **(request.view_args or {}), **changed}
    return url_for(request.endpoint or "", **values)


def _link_header(links: dict[str, str]) -> dict[str, str]:
    return {"Link": ", ".join(f'<{url}>; rel="{relation}"' for relation, url in links.items())} if links else {}


def _number(given: int | None, name: str, default: int) -> int:
    """Return a number from the caller, else from the request's query.

    Raises:
        NotFound: What the request has is not a number from 1 on.
    """
    if given is not None:
        return given
    text = request.args.get(name) if has_request_context() else None
    if text is None:
        return default
    # Digits only, and few: what int() takes besides is no link of ours.
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        abort(404, f"{name!r} is a number from 1 on.")
    return int(text)


class Numbered(t.Generic[T]):
    """What `Database.paginate` asks the database, and what it makes of the answers."""

    def __init__(self, statement: Select[T], page: int | None, per_page: int | None, max_per_page: int) -> None:
        self.number = _number(page, "page", 1)
        self.per_page = min(_number(per_page, "per_page", PER_PAGE), max_per_page)
        # One more, to know whether there is another page.
        self.rows = statement.limit(self.per_page + 1).offset((self.number - 1) * self.per_page)
        self.count = select(func.count()).select_from(statement.order_by(None).subquery())

    def page(self, rows: t.Sequence[T], total: int | None) -> Page[T]:
        """Return the page.

        Raises:
            NotFound: There is no such page.
        """
        if not rows and self.number > 1:
            abort(404, "There is no such page.")
        return Page([*rows[: self.per_page]], self.number, self.per_page, total, len(rows) > self.per_page)


class Sliced(t.Generic[T]):
    """What `Database.paginate_by_key` asks the database, and what it makes of the answer."""

    def __init__(
        self, statement: Select[T], after: str | None, before: str | None, per_page: int | None, max_per_page: int
    ) -> None:
        self.per_page = min(_number(per_page, "per_page", PER_PAGE), max_per_page)
        if after is None and before is None and has_request_context():
            after, before = request.args.get("after"), request.args.get("before")
        self._is_backward = before is not None
        self._cursor = before if before is not None else after
        self._keys = [_key(clause) for clause in statement._order_by_clauses]
        if not self._keys:
            raise ValueError(
                "Rows can only be paged by key in an order: give the statement an order_by() whose columns together are"
                " unique and never NULL, such as order_by(Beer.name, Beer.id)."
            )
        columns = [column for column, _ in self._keys]
        if self._is_backward:
            order = [column.asc() if falls else column.desc() for column, falls in self._keys]
            statement = statement.order_by(None).order_by(*order)
        if self._cursor is not None:
            statement = statement.where(_behind(self._keys, _decode(self._cursor, columns), self._is_backward))
        self.rows: Select[t.Any] = statement.add_columns(*columns).limit(self.per_page + 1)

    def slice(self, rows: t.Sequence[t.Any]) -> Slice[T]:
        """Return the slice."""
        goes_on = len(rows) > self.per_page
        rows = [*rows[: self.per_page]]
        if self._is_backward:
            rows.reverse()
        width = len(self._keys)
        first, last = (_encode(row[-width:]) for row in (rows[0], rows[-1])) if rows else (None, None)
        has_before = goes_on if self._is_backward else self._cursor is not None
        has_after = self._cursor is not None if self._is_backward else goes_on
        return Slice([row[0] for row in rows], last if has_after else None, first if has_before else None)


def _key(clause: t.Any) -> tuple[ColumnElement[t.Any], bool]:
    """Return a column of ORDER BY, and whether it falls."""
    if isinstance(clause, UnaryExpression) and clause.modifier in (asc_op, desc_op):
        return clause.element, clause.modifier is desc_op
    return clause, False


def _behind(keys: list[tuple[ColumnElement[t.Any], bool]], values: list[t.Any], is_backward: bool) -> t.Any:
    """Return the condition for what comes behind a row: (a > x) OR (a = x AND b > y) OR …"""
    ways = []
    for n, ((column, falls), value) in enumerate(zip(keys, values, strict=True)):
        same = [earlier == its for (earlier, _), its in zip(keys[:n], values[:n], strict=True)]
        ways.append(and_(*same, column < value if falls is not is_backward else column > value))
    return or_(*ways)


def _encode(values: t.Iterable[t.Any]) -> str:
    texts = [
        value.isoformat() if isinstance(value, (date, time)) else str(value) if isinstance(value, _AS_TEXT) else value
        for value in values
    ]
    return base64.urlsafe_b64encode(json.dumps(texts, separators=(",", ":")).encode()).decode().rstrip("=")


_AS_TEXT = (uuid.UUID, Decimal)
_READERS: dict[type, t.Callable[[t.Any], t.Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    uuid.UUID: uuid.UUID,
    Decimal: Decimal,
}


def _decode(cursor: str, columns: list[ColumnElement[t.Any]]) -> list[t.Any]:
    """Return the values in a cursor, which comes from a client.

    Raises:
        BadRequest: It is none for these columns.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(columns):
            raise ValueError
        found = []
        for value, column in zip(values, columns, strict=True):
            kind = column.type.python_type
            read = _READERS.get(kind)
            if read is not None:
                value = read(value)
            elif type(value) is not kind and not (kind is float and type(value) is int):
                raise ValueError
            found.append(value)
    except (ValueError, TypeError, AttributeError, InvalidOperation, RecursionError, binascii.Error):
        abort(400, "This cursor was not made for this list.")
    return found
