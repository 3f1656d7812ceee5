"""What an examination finds."""

from __future__ import annotations

import dataclasses
import typing as t

Level = t.Literal["good", "note", "problem"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that the user should know.

    Attributes:
        level: ``good``, ``note`` (works, with something to know) or ``problem``.
        subject: What it is about: an extension with its version, a place in the code.
        text: What was found.
        fix: What to do about it, or nothing.
    """

    level: Level
    subject: str
    text: str
    fix: str = ""


@dataclasses.dataclass
class Report:
    """The findings about one application, by topic, in the order to show them."""

    application: str
    topics: dict[str, list[Finding]] = dataclasses.field(default_factory=dict)

    def add(self, topic: str, findings: t.Iterable[Finding]) -> None:
        """Add findings under a topic; one without any is left out."""
        found = list(findings)
        if found:
            self.topics.setdefault(topic, []).extend(found)

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return sum(finding.level == "problem" for found in self.topics.values() for finding in found)

    def as_dict(self) -> dict[str, t.Any]:
        """Return the report as JSON can carry it."""
        return {**dataclasses.asdict(self), "problems": self.problems}
