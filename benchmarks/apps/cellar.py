"""What all the benchmark's applications serve alike."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

SHELVES = int(os.environ.get("BENCHMARK_ROUTES", "200"))
"""Routes ``/shelf<number>/items/<item>``, beside those of the other cases."""
EVENTS = 100
FILES = Path(os.environ.get("BENCHMARK_FILES", "."))
STATIC = FILES / "static"
TEMPLATES = Path(__file__).with_name("templates")
TITLE = "Casks & carboys"
CASKS: list[dict[str, t.Any]] = [
    {"number": number, "name": f"cask {number} <oak>", "litres": number * 7 % 50} for number in range(50)
]
SECRET = "0123456789abcdef0123456789abcdef"
