"""The labelled text that scores redaction is well formed: a wrong offset or label would make every score on it a lie.

No test here prints a text: half of these files is kept unread by the people who write the rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TEXT = Path(__file__).parents[2] / "assets" / "text"
WORKPLACE = ("workplace_dev2", "workplace_dev3", "workplace_dev4", "workplace_blind", "workplace_blind2")
PROSE = ("prose_dev", "prose_blind")
LABELS = frozenset(
    {
        *("PERSON", "EMAIL", "PHONE", "US_SSN", "CREDIT_CARD", "IBAN", "BANK_ACCOUNT", "PASSPORT", "DRIVER_LICENSE", "TAX_ID"),
        *("NATIONAL_ID", "MEDICAL", "MEDICAL_ID", "PASSWORD", "API_KEY", "PRIVATE_KEY", "IP", "USERNAME", "ADDRESS", "DOB"),
        *("FINANCIAL", "EMPLOYEE_ID", "CASE_ID", "OTHER_ID"),
        *("LOCATION", "DATE", "AGE", "ORG", "NRP", "URL", "TITLE", "MAC"),  # identify only in combination
    }
)
LEAST = {
    **{"workplace_dev2": 150, "workplace_dev3": 350, "workplace_dev4": 160},
    **{"workplace_blind": 200, "workplace_blind2": 160, "prose_dev": 120, "prose_blind": 120},
}


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TEXT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", LEAST)
def test_every_file_is_there_and_whole(name: str) -> None:
    assert len(records(name)) >= LEAST[name]


def test_ids_and_texts_are_unique_over_all_files() -> None:
    everything = [record for name in LEAST for record in records(name)]
    for key in ("id", "text"):
        distinct = len({record[key] for record in everything})
        assert distinct == len(everything), key


def is_tight(record: dict[str, Any]) -> bool:
    """Whether every span is inside the text, holds no blank at its ends, has a known label and starts after the one before."""
    text, end = record["text"], 0
    for span in record["spans"]:
        marked = text[span["start"] : span["end"]]
        if not end <= span["start"] < span["end"] <= len(text) or marked != marked.strip() or span["label"] not in LABELS:
            return False
        end = span["end"]
    return True


@pytest.mark.parametrize("name", LEAST)
def test_every_span_is_inside_tight_known_and_apart_from_the_next(name: str) -> None:
    assert [record["id"] for record in records(name) if not is_tight(record)] == []


@pytest.mark.parametrize("name", WORKPLACE)
def test_a_harmless_level_marks_nothing_and_is_about_half_of_the_file(name: str) -> None:
    levels = [record["level"] for record in records(name)]
    assert set(levels) == {1, 2, 3, 4}
    assert [record["id"] for record in records(name) if record["level"] <= 2 and record["spans"]] == []
    assert 0.4 <= sum(level <= 2 for level in levels) / len(levels) <= 0.6


@pytest.mark.parametrize("name", PROSE)
def test_prose_marks_nothing(name: str) -> None:
    assert [record["id"] for record in records(name) if record["spans"] or record["level"] != 2] == []


def test_the_second_set_of_sentences_with_a_level_is_whole_bare_and_in_the_shares_that_were_asked() -> None:
    sentences = records("levels_dev2")
    assert {frozenset(record) for record in sentences} == {frozenset({"id", "source", "licence", "level", "category", "text"})}
    levels = [record["level"] for record in sentences]
    assert [levels.count(level) for level in (3, 4)] == [75, 60]
    assert {*levels} == {1, 2, 3, 4}
    assert len(levels) == 300


def test_no_sentence_with_a_level_stands_twice() -> None:
    sentences = [record for name in ("levels_dev", "levels_dev2", "levels_blind") for record in records(name)]
    for key in ("id", "text"):
        distinct = len({record[key] for record in sentences})
        assert distinct == len(sentences), key
