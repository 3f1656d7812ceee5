"""What is stored of a job: plain JSON, so that nothing that arrives is ever executed to read it."""

from __future__ import annotations

import inspect
import typing as t

import msgspec

from .clock import now
from .identity import new_id

if t.TYPE_CHECKING:
    from collections.abc import Callable


class PayloadError(ValueError):
    """A job's arguments or result cannot be stored, or not be read."""


class Member(msgspec.Struct, frozen=True):
    """A place in a group of jobs.

    Attributes:
        group: The group's id.
        index: Where the result stands in the list that the group's last job is given.
    """

    group: str
    index: int


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One job, as it is queued.

    Attributes:
        id: Unique, and growing with time (a UUID of version 7).
        name: Which function.
        args: Its positional arguments, as JSON takes them.
        kwargs: Its keyword arguments.
        queue: Where it waits.
        priority: The lower is first; from -100 to 100.
        run_at: Not before; seconds since 1970.
        retries: How many more times it is tried after an error.
        unique: No other job with this key waits or runs.
        headers: What belongs to it, but not to its arguments: the request that queued it, its trace.
        then: The jobs that follow one after the other, each with the result of the one before as its first argument.
        member: The group that it belongs to.
        limited: Whether its function has a limit that all workers share; such jobs wait in a lane of their own.
    """

    id: str = msgspec.field(default_factory=new_id)
    name: str
    args: list[t.Any] = []
    kwargs: dict[str, t.Any] = {}
    queue: str = "default"
    priority: int = 0
    run_at: float = msgspec.field(default_factory=now)
    retries: int = 0
    unique: str | None = None
    headers: dict[str, str] = {}
    then: list[Message] = []
    member: Member | None = None
    limited: bool = False

    @property
    def lane(self) -> str:
        """Where it stands in line: its queue, or a part of it."""
        return lane_of(self.queue, self.name) if self.limited else self.queue


def lane_of(queue: str, name: str) -> str:
    """Return the lane of a function with a limit. No queue has a name like it."""
    return f"{queue}/{name}"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Message)


def encode_message(message: Message, limit: int) -> bytes:
    """Return *message* as bytes.

    Args:
        message: With arguments of JSON's types, and dates, UUIDs, decimals, dataclasses and the like, which become
            strings and objects.
        limit: What the bytes may be at most.

    Raises:
        PayloadError: It has something else, or is too long.
    """
    try:
        body = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as e:
        raise PayloadError(
            f"The arguments of the job {message.name!r} cannot be stored as JSON: {e}. Pass an id, and load the object"
            " in the job."
        ) from e
    if len(body) > limit:
        raise PayloadError(
            f"The job {message.name!r} would be stored in {len(body):,} bytes; JOBS_MAX_PAYLOAD is {limit:,}. Store"
            " what is large elsewhere and pass its id."
        )
    return body


def decode_message(body: bytes) -> Message:
    """Return what `encode_message` has written.

    Raises:
        PayloadError: It is something else.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise PayloadError(f"This is no job: {e}.") from e


def encode_value(value: t.Any, what: str, limit: int) -> bytes:
    """Return a result or progress as JSON.

    Raises:
        PayloadError: It cannot be written so, or is too long.
    """
    try:
        body = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError) as e:
        raise PayloadError(f"{what} cannot be stored as JSON: {e}.") from e
    if len(body) > limit:
        raise PayloadError(f"{what} would be stored in {len(body):,} bytes; JOBS_MAX_PAYLOAD is {limit:,}.")
    return body


class Signature:
    """What a job's function takes and returns, by its annotations.

    Arguments were written as JSON, where a date is a string. A parameter with an annotation gets its value back as what
    the annotation says; one without gets what JSON has.
    """

    def __init__(self, func: Callable[..., t.Any]) -> None:
        self._func = func
        self._signature = inspect.signature(func)
        self._types: dict[str, t.Any] | None = None

    def check(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> None:
        """Raise the TypeError that a call with these arguments would raise."""
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self._func.__qualname__}() {e}") from None

    def convert(self, args: list[t.Any], kwargs: dict[str, t.Any]) -> inspect.BoundArguments:
        """Return the arguments for a call.

        Raises:
            PayloadError: They do not fit the function as it is now.
        """
        types = self._resolved()
        try:
            bound = self._signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                if name in types:
                    kind = self._signature.parameters[name].kind
                    bound.arguments[name] = msgspec.convert(value, _of_many(types[name], kind))
        except (TypeError, msgspec.ValidationError) as e:
            raise PayloadError(f"The arguments of the job do not fit {self._func.__qualname__}(): {e}.") from e
        return bound

    def result(self, value: t.Any) -> t.Any:
        """Return a result as what the function's annotation says."""
        returned = self._resolved().get("return", t.Any)
        return value if returned is None else msgspec.convert(value, returned)

    def _resolved(self) -> dict[str, t.Any]:
        # Now, not at the decoration: annotations may name what the module defines later.
        if self._types is None:
            try:
                hints = t.get_type_hints(self._func)
            except (NameError, TypeError):
                hints = {}
            self._types = {name: hint for name, hint in hints.items() if _is_convertible(hint)}
        return self._types


def _of_many(hint: t.Any, kind: t.Any) -> t.Any:
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple[hint, ...]
    if kind is inspect.Parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint


def _is_convertible(hint: t.Any) -> bool:
    try:
        msgspec.json.Decoder(hint)
    except (TypeError, ValueError):
        return False
    return True
