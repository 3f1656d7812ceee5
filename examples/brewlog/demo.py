"""The demo club: three brewers, eleven batches, and fermentations that follow the usual curve."""

from __future__ import annotations

import json
import math
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from werkzeug.security import generate_password_hash

NAME, PASSWORD = "ada", "bubbling"

FOLDER = Path(__file__).parent


def fill(database: sqlite3.Connection, photo_folder: Path) -> None:
    """Add the club to an open database and copy its pictures to *photo_folder*."""
    password_hash = generate_password_hash(PASSWORD)
    users = {
        name: database.execute(
            "INSERT INTO user (name, password_hash, api_token) VALUES (?, ?, ?)",
            (name, password_hash, secrets.token_urlsafe(24)),
        ).lastrowid
        for name in ("ada", "bo", "mira")
    }
    now = datetime.now(UTC).replace(minute=0)
    for batch in json.loads((FOLDER / "demo.json").read_text("utf-8")):
        started = now - timedelta(days=batch["age_days"])
        batch_id = database.execute(
            "INSERT INTO batch (user_id, name, style, status, volume_l, original_gravity, target_gravity,"
            " brewed_on, notes) VALUES (:user_id, :name, :style, :status, :volume_l, :original_gravity,"
            " :target_gravity, :brewed_on, :notes)",
            {**batch, "user_id": users[batch["brewer"]], "brewed_on": started.date().isoformat()},
        ).lastrowid
        database.executemany(
            "INSERT INTO reading (batch_id, taken_at, gravity, temperature_c) VALUES (?, ?, ?, ?)",
            [(batch_id, *reading) for reading in readings(batch, started)],
        )
        for picture in batch.get("pictures", ()):
            filename = secrets.token_hex(12) + ".webp"
            shutil.copy(FOLDER / "pictures" / picture["file"], photo_folder / filename)
            database.execute(
                "INSERT INTO photo (batch_id, filename, caption) VALUES (?, ?, ?)",
                (batch_id, filename, picture["caption"]),
            )
    database.commit()


def readings(batch: dict[str, Any], started: datetime) -> Iterator[tuple[str, float, float]]:
    """Yield time, gravity and temperature as they would have been measured since *started*."""
    steepest_day, step = (14.0, 48) if batch["style"] == "mead" else (3.2, 12)
    for hour in range(0, min(batch["age_days"], 40) * 24, step):
        time = hour / 24 / steepest_day
        yield (
            (started + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M"),
            fermented(batch["original_gravity"], batch["target_gravity"], time),
            round(18 + 2.4 * math.exp(-2 * (time - 0.9) ** 2), 1),
        )


def fermented(original: float, target: float, time: float) -> float:
    """Return the gravity at *time* (1 is the steepest moment): slow, then fast, then slow again."""
    share = 1 / (1 + math.exp(-(time - 1) * 4.2))
    start = 1 / (1 + math.exp(4.2))
    return round(original - (original - target) * (share - start) / (1 - start), 3)
