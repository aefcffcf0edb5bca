"""The documents point at things that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(page for room in ROOT.glob("*/README.md") for page in [room])]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def broken_links(page: Path) -> list[str]:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    return [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[there](page.md) [not there](gone.md) [outside](https://example.org/x)", encoding="utf-8")
    assert broken_links(page) == ["gone.md"]


def test_what_the_tour_names_in_code_exists_in_the_files_it_links() -> None:
    """Each `name` in a section must occur in one of the files that the section links."""
    sections = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8").split("\n## ")[1:]
    missing = []
    for section in sections:
        files = [(ROOT / "docs" / link).resolve() for link in LINK.findall(section)]
        source = "\n".join(path.read_text(encoding="utf-8") for path in files)
        words = [name.split(".")[-1] for name in re.findall(r"`([A-Za-z_][\w.]*)`", section)]
        missing += [f"{section.splitlines()[0]}: {word}" for word in words if len(word) > 1 and word not in source]
    assert [m for m in missing if not m.endswith((": maria.keller", ": read"))] == []


def test_each_test_that_a_page_names_as_proof_exists() -> None:
    there = {name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))}
    named = {name for page in PAGES for name in re.findall(r"`(test_[a-z0-9_]+)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 30
    assert named - there == set()


def test_each_promise_has_a_paragraph_and_a_test_file() -> None:
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    for number in range(1, 9):
        assert f"\n## P{number}: " in page
        assert len(list((ROOT / "tests" / "promises").glob(f"test_p{number}_*.py"))) >= 1


CITED = re.compile(r"\brulings? (\d+(?:(?:, | and | to )\d+)*)")


def cited(text: str) -> set[int]:
    """The numbers in 'ruling 19', 'rulings 2 and 3', 'rulings 12 to 14'."""
    found: set[int] = set()
    for words in CITED.findall(text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", words):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_ruling_that_a_file_cites_stands_on_its_page() -> None:
    page = (ROOT / "docs" / "rulings.md").read_text(encoding="utf-8")
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.M)}
    rooms = ("schemas", "core", "control", "producers", "processors", "sinks", "deploy", "bench", "demo", "generator", "docs")
    kinds = (".py", ".avsc", ".toml", ".md")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in kinds]
    wanted = set().union(*(cited(path.read_text(encoding="utf-8")) for path in files))
    assert cited("rulings 2 and 3, rulings 12 to 14, ruling 22") == {2, 3, 12, 13, 14, 22}
    assert wanted
    assert wanted <= told
