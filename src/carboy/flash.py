"""Flashed messages: kept in the session until a template shows them, usually with the next page."""

from __future__ import annotations

from collections.abc import Iterable

from .context import current_app_context, current_request_context
from .signals import message_flashed


def flash(message: str, category: str = "message") -> None:
    """Keep *message* in the session for the next call of `get_flashed_messages`.

    Args:
        message: The text to show.
        category: Any word that templates understand; ``message``, ``info``, ``warning`` and ``error`` are usual.

    Raises:
        RuntimeError: no request context is active, or the application has no secret key.
    """
    session = current_request_context().session
    flashes = session.get("_flashes", [])
    flashes.append((category, message))
    # Assigned even when the list was there: a session that is stored elsewhere does not see a change inside a value.
    session["_flashes"] = flashes

    if message_flashed.receivers:
        app = current_app_context().app
        message_flashed.send(app, _async_wrapper=app.ensure_sync, message=message, category=category)


def get_flashed_messages(
    with_categories: bool = False, category_filter: Iterable[str] = ()
) -> list[str] | list[tuple[str, str]]:
    """Take the flashed messages out of the session and return them, oldest first.

    Further calls in the same request return the same messages.

    Args:
        with_categories: Whether to return pairs of category and message.
        category_filter: The categories wanted; all, if empty.

    Raises:
        RuntimeError: no request context is active.
    """
    ctx = current_request_context()
    flashes = ctx.flashes

    if flashes is None:
        session = ctx.session
        # A session without messages must not count as modified.
        flashes = ctx.flashes = session.pop("_flashes") if "_flashes" in session else []

    if category_filter:
        flashes = [flash for flash in flashes if flash[0] in category_filter]

    return flashes if with_categories else [flash[1] for flash in flashes]
