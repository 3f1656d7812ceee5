"""Registers the same view twice, as a sync and as an ``async def`` function."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

View = Callable[..., Any]


def as_async(view: View) -> View:
    """Return an ``async def`` function that waits for something and then does what *view* does."""

    @functools.wraps(view)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.002)
        return view(*args, **kwargs)

    return wrapper


def both(app: Any, rule: str, *decorators: Callable[[View], View], **options: Any) -> Callable[[View], View]:
    """Register a view at ``/sync`` + *rule* and, as an async function, at ``/async`` + *rule*.

    Args:
        decorators: Of an extension; the first is the outermost, as if they were written above the view.
    """

    def register(view: View) -> View:
        for prefix, function in (("sync", view), ("async", as_async(view))):
            for decorator in reversed(decorators):
                function = decorator(function)
            app.add_url_rule(f"/{prefix}{rule}", f"{prefix}_{view.__name__}", function, **options)
        return view

    return register
