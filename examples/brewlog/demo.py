"""The demo club: three brewers, eleven batches, and fermentations that follow the usual curve."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from .models import Batch, Photo, Reading, User

NAME, PASSWORD = "ada", "bubbling"

FOLDER = Path(__file__).parent
FIELDS = ("name", "style", "status", "volume_l", "original_gravity", "target_gravity", "notes")


def fill(session: Session, photo_folder: Path) -> None:
    """Add the club to an empty database and copy its pictures to *photo_folder*."""
    password_hash = generate_password_hash(PASSWORD)
    brewers = {
        name: User(name=name, password_hash=password_hash, api_token=secrets.token_urlsafe(24))
        for name in ("ada", "bo", "mira")
    }
    session.add_all(brewers.values())
    now = datetime.now(UTC).replace(tzinfo=None, minute=0, second=0, microsecond=0)
    for sample in json.loads((FOLDER / "demo.json").read_text("utf-8")):
        started = now - timedelta(days=sample["age_days"])
        batch = Batch(
            brewer=brewers[sample["brewer"]],
            brewed_on=started.date(),
            **{name: sample[name] for name in FIELDS},
            readings=list(readings(sample, started)),
        )
        for picture in sample.get("pictures", ()):
            filename = secrets.token_hex(12) + ".webp"
            shutil.copy(FOLDER / "pictures" / picture["file"], photo_folder / filename)
            batch.photos.append(Photo(filename=filename, caption=picture["caption"]))
        session.add(batch)
        # One after the other, so that they are numbered in this order.
        session.flush()


def readings(batch: dict[str, Any], started: datetime) -> Iterator[Reading]:
    """Yield what would have been measured since *started*."""
    steepest_day, step = (14.0, 48) if batch["style"] == "mead" else (3.2, 12)
    for hour in range(0, min(batch["age_days"], 40) * 24, step):
        time = hour / 24 / steepest_day
        yield Reading(
            taken_at=started + timedelta(hours=hour),
            gravity=fermented(batch["original_gravity"], batch["target_gravity"], time),
            temperature_c=round(18 + 2.4 * math.exp(-2 * (time - 0.9) ** 2), 1),
        )


def fermented(original: float, target: float, time: float) -> float:
    """Return the gravity at *time* (1 is the steepest moment): slow, then fast, then slow again."""
    share = 1 / (1 + math.exp(-(time - 1) * 4.2))
    start = 1 / (1 + math.exp(4.2))
    return round(original - (original - target) * (share - start) / (1 - start), 3)
