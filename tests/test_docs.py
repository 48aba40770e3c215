"""docs/: what is generated is up to date, links lead somewhere, nothing is missing."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """What a link into a page may name: its headings as GitHub writes them, and marked places."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ +(.*)$", text, re.M)
    kept = ["".join(c for c in title.lower() if c.isalnum() or c in " -_") for title in titles]
    return {title.replace(" ", "-") for title in kept} | set(re.findall(r'<a id="([^"]+)"', text))


def broken_links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    return broken


def test_generated_files_are_up_to_date() -> None:
    made_with = re.search(r"NumPy (\d+\.\d+)", (ROOT / "docs/reference.md").read_text("utf-8"))
    assert made_with
    if not np.__version__.startswith(f"{made_with[1]}."):
        pytest.skip(f"docs/ were made with NumPy {made_with[1]}, whose functions differ")
    command = [sys.executable, ROOT / "scripts/make_docs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "run scripts/make_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    ("derivative", "rule"),
    [
        ("1", "g"),
        ("-1", "-g"),
        ("0", "0"),
        ("1 / (2 * y)", "g / (2 * y)"),
        ("-y / x1", "-g * y / x1"),
        ("-y**2", "-g * y**2"),
        ("y + 1", "g * (y + 1)"),
        ("-x + 1", "g * (-x + 1)"),
        ("1 if x > 0 else 0", "g * (1 if x > 0 else 0)"),
        ("product of the others", "g * (product of the others)"),
        ("unknown", "not known: raises an error"),
    ],
)
def test_a_derivative_becomes_a_rule(derivative: str, rule: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from documentation.reference import times

    assert times("g", derivative) == rule


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [page.name for page in PAGES if page.name != "README.md"]
    assert [name for name in pages if f"]({name})" not in index] == []


def test_every_chapter_ends_with_exercises_and_answers() -> None:
    for page in (ROOT / "docs").glob("[0-9]*.md"):
        exercises = page.read_text(encoding="utf-8").partition("## Exercises")[2]
        numbers = re.findall(r"^\*\*(\d)\.\*\*", exercises, re.M)
        assert numbers == ["1", "2", "3"], page.name
        assert exercises.count("<summary>Answer</summary>") == 3, page.name


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](none.md) [d](page.md#one)\n")
    assert broken_links(page) == ["#two", "none.md"]


def test_every_operation_has_its_place_in_the_reference() -> None:
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    code = "import nnad; from nnad.autodiff.table import TABLE; print(*TABLE)"  # no other room's
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if f"`{name}`" not in text] == []
    rows = [re.split(r"(?<!\\) ?\| ?", line) for line in text.splitlines() if line[:5] == "| <a "]
    assert len(rows) > 200
    assert [row[1] for row in rows if len(row) != 7 or not all(row[1:5])] == []
