import runpy
import sys
from pathlib import Path

SUITES = Path(__file__).parent / "suites"


def test_the_page_is_what_the_results_say(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(SUITES), *sys.path])
    page = runpy.run_path(str(SUITES / "extensions_page.py"))
    assert page["PAGE"].read_text() == page["page"]()
