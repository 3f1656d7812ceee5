"""The documentation runs: every Python block of each page, in order, in one process per page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("examples/**/*.md")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "sh", "text", "jinja", "html", "toml"}

# A page is a module: its blocks share names, and an application finds its folder by the module's file.
RUN = """
import sys, types
page, source = sys.argv[1], sys.stdin.read()
module = sys.modules["page"] = types.ModuleType("page")
module.__file__ = page
exec(compile(source, page, "exec"), vars(module))
"""


def python_of(page: Path) -> str:
    """Return the page's Python, each line at its own number, so that a traceback points into the page."""
    text = page.read_text("utf-8")
    lines = [""] * (text.count("\n") + 1)
    for block in BLOCK.finditer(text):
        if block[1] == "python":
            start = text.count("\n", 0, block.start(2))
            for number, line in enumerate(block[2].splitlines(), start):
                lines[number] = line
    return "\n".join(lines)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page).strip()], ids=name_of)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", RUN, str(page)]
    done = subprocess.run(command, input=python_of(page), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_fences(page: Path) -> None:
    text = page.read_text("utf-8")
    assert {block[1] for block in BLOCK.finditer(text)} <= LANGUAGES
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", BLOCK.sub("", text)):
        assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["index.md"]
