"""The demo club: three brewers, eleven batches, and fermentations that follow the usual curve."""

from __future__ import annotations

import math
import secrets
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

from werkzeug.security import generate_password_hash

NAME, PASSWORD = "ada", "bubbling"

# brewer, name, style, status, litres, original and target gravity, age in days, notes
BATCHES = [
    ("ada", "Harbour Light", "pale-ale", "fermenting", 20, 1.052, 1.011, 5, "Cascade and Mosaic, all of it late.\n\nPitched at 18 °C, left to rise to 20 °C by itself. Smells of grapefruit already; the airlock has not been quiet for three days.\n\nDry hop on day seven: 60 g Mosaic."),
    ("mira", "Orchard No. 4", "cider", "fermenting", 10, 1.048, 1.000, 8, "Windfall apples from the allotment: half Bramley, a quarter russet, the rest unknown."),
    ("bo", "Lantern Porter", "porter", "conditioning", 23, 1.058, 1.015, 24, "Brown malt from the new supplier. Roast is softer than last year."),
    ("ada", "Slow Thunder", "stout", "fermenting", 18, 1.074, 1.019, 3, "Big starter, oxygenated twice. Blow-off tube fitted after the accident in May."),
    ("mira", "Linden Mead", "mead", "conditioning", 5, 1.098, 1.008, 61, "4.2 kg of linden honey from Jo's hives. Staggered nutrients on days 1, 2, 3 and 5."),
    ("bo", "Haymaker", "saison", "ready", 20, 1.050, 1.004, 47, "Finished drier than planned and is better for it."),
    ("ada", "Copper Lane", "amber", "ready", 20, 1.054, 1.013, 58, "Caramel malt cut by a third. Keep it so."),
    ("bo", "Cloud Study", "wheat", "ready", 15, 1.049, 1.012, 72, "Open fermentation for two days; banana first, then clove."),
    ("mira", "Second Sight", "ipa", "ready", 20, 1.064, 1.012, 90, "Shared at the summer meeting. None left, which says it all."),
    ("ada", "Winter Draft", "porter", "planned", 20, 1.060, 1.016, -6, "As Lantern Porter, with a kilo of smoked malt. Ask Bo for the mash schedule."),
    ("bo", "Frost Cider", "cider", "planned", 12, 1.070, 1.010, -13, "Wait for the first hard frost, then press frozen."),
]  # fmt: skip

PICTURES = [("Harbour Light", "pint.webp", "First sample, far too young"), ("Harbour Light", "hops.webp", "Cascade, the whole harvest")]


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
    batch_ids = {}
    for brewer, name, style, status, litres, original, target, age, notes in BATCHES:
        start = now - timedelta(days=age)
        batch_ids[name] = database.execute(
            "INSERT INTO batch (user_id, name, style, status, volume_l, original_gravity, target_gravity,"
            " brewed_on, notes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (users[brewer], name, style, status, litres, original, target, start.date().isoformat(), notes),
        ).lastrowid
        slowness = 14 if style == "mead" else 3.2
        hours = range(0, min(age, 40) * 24, 48 if style == "mead" else 12)
        database.executemany(
            "INSERT INTO reading (batch_id, taken_at, gravity, temperature_c) VALUES (?, ?, ?, ?)",
            [
                (
                    batch_ids[name],
                    (start + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M"),
                    fermented(original, target, hour / 24 / slowness),
                    round(18 + 2.4 * math.exp(-(((hour / 24 / slowness) - 0.9) ** 2) * 2), 1),
                )
                for hour in hours
            ],
        )
    for batch, picture, caption in PICTURES:
        filename = f"{secrets.token_hex(12)}.webp"
        shutil.copy(Path(__file__).parent / "pictures" / picture, photo_folder / filename)
        database.execute(
            "INSERT INTO photo (batch_id, filename, caption) VALUES (?, ?, ?)", (batch_ids[batch], filename, caption)
        )
    database.commit()


def fermented(original: float, target: float, time: float) -> float:
    """Return the gravity at *time* (1 is the steepest moment): slow, then fast, then slow again."""
    share = 1 / (1 + math.exp(-(time - 1) * 4.2))
    start = 1 / (1 + math.exp(4.2))
    return round(original - (original - target) * (share - start) / (1 - start), 3)
