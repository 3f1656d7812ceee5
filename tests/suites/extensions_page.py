"""Renders the results of the extensions' tests as ``docs/extensions.md``, as a program or for ``extension_suites``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "extensions.md"

INTRODUCTION = """\
# Extensions

Extensions for Flask run on carboy unmodified: install them as always, and start the application with the command
`carboy`, or with `CARBOY_AS_FLASK=1` in the environment (see [Flask compatibility](flask-compatibility.md)).
`carboy doctor` says what to expect of those that an application has. If you write one yourself, see
[Writing extensions](writing-extensions.md).

## Their own tests

`make test-extensions` runs each extension's own tests, from its source distribution, on Flask {flask} and on carboy as
`flask`, with nothing changed, skipped or deselected. In the run on carboy the real Flask cannot be imported, in child
processes neither, and after each test `flask` is looked at. This table is made from the outcomes (Python {python}).

| extension | version | tests that pass on Flask | on carboy | fail on both | fail on carboy only |
|---|---|---:|---:|---:|---|
"""

ASYNC = """\

## In sync and async views, on three servers

The table above is about WSGI and sync code, since that is what those tests are about. For this one, an application of
ours does with each extension what it is for, in a sync and in an `async def` view, and is asked over HTTP by eight
visitors at once (`tests/suites/async_apps/`, also run by `make test-extensions`). Two things are written for the async
views: Flask-RESTful calls the methods of a resource itself, so async ones need `method_decorators = (app.ensure_sync,)`
in their class; and Flask-SQLAlchemy's session, which holds up the event loop, is committed or rolled back before the
next `await`, since another view on the loop may be waiting for the same row.

"""


def page() -> str:
    """Return the page for the results that are kept."""
    results: dict[str, Any] = json.loads((RESULTS / "extensions.json").read_text())
    suites = tomllib.loads((HERE / "extensions.toml").read_text())
    text = INTRODUCTION.format(flask=results["flask"], python=results["python"])
    notes = []
    for name, result in results["suites"].items():
        on_flask, on_carboy = result["flask"], result["carboy"]
        worse = sorted(set(on_carboy["failed"]) - set(on_flask["failed"]))
        both = len(set(on_carboy["failed"]) & set(on_flask["failed"]))
        text += (
            f"| {name} | {result['version']} | {on_flask['passed']} | {on_carboy['passed']} | {both or ''} |"
            f" {', '.join(worse)} |\n"
        )
        if "note" in suites[name]:
            notes.append(f"- {name}: {suites[name]['note']}\n")
    total = [sum(result[side]["passed"] for result in results["suites"].values()) for side in ("flask", "carboy")]
    text += f"| all | | {total[0]} | {total[1]} | | |\n"
    if notes:
        text += "\nWhat fails on both:\n\n" + "".join(notes)
    return text + _async_table()


def _async_table() -> str:
    results = json.loads((RESULTS / "extensions-async.json").read_text())
    columns = results["columns"]
    text = (
        ASYNC
        + f"| extension | version | what is done | {' | '.join(columns)} |\n|---|---|---|{'---|' * len(columns)}\n"
    )
    reasons: list[str] = []
    for row in results["rows"]:
        cells = []
        for column in columns:
            outcome = row["cells"][column]
            if outcome != "works":
                if outcome not in reasons:
                    reasons.append(outcome)
                outcome = f"({reasons.index(outcome) + 1})"
            cells.append(outcome)
        text += f"| {row['extension']} | {row['version']} | {row['uses']} | {' | '.join(cells)} |\n"
    return text + "".join(f"\n({number}) {reason}\n" for number, reason in enumerate(reasons, 1))


if __name__ == "__main__":
    PAGE.write_text(page())
