"""The labelled text that scores redaction is well formed: a wrong offset or label would make every score on it a lie.

No test here prints a text: half of these files is kept unread by the people who write the rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TEXT = Path(__file__).parents[2] / "assets" / "text"
WORKPLACE = ("workplace_dev2", "workplace_blind")
PROSE = ("prose_dev", "prose_blind")
IDENTIFYING = frozenset(
    """PERSON EMAIL PHONE US_SSN CREDIT_CARD IBAN BANK_ACCOUNT PASSPORT DRIVER_LICENSE TAX_ID NATIONAL_ID MEDICAL
    MEDICAL_ID PASSWORD API_KEY PRIVATE_KEY IP USERNAME ADDRESS DOB FINANCIAL EMPLOYEE_ID CASE_ID OTHER_ID""".split()
)
LABELS = IDENTIFYING | frozenset("LOCATION DATE AGE ORG NRP URL TITLE MAC".split())
LEAST = {"workplace_dev2": 150, "workplace_blind": 200, "prose_dev": 120, "prose_blind": 120}


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TEXT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", LEAST)
def test_every_file_is_there_and_whole(name: str) -> None:
    assert len(records(name)) >= LEAST[name]


def test_ids_and_texts_are_unique_over_all_files() -> None:
    everything = [record for name in LEAST for record in records(name)]
    assert len({record["id"] for record in everything}) == len(everything)
    assert len({record["text"] for record in everything}) == len(everything)


@pytest.mark.parametrize("name", LEAST)
def test_every_span_is_inside_tight_known_and_apart_from_the_next(name: str) -> None:
    for record in records(name):
        end = 0
        for span in record["spans"]:
            marked = record["text"][span["start"] : span["end"]]
            assert end <= span["start"] < span["end"] <= len(record["text"]), record["id"]
            assert marked == marked.strip(), record["id"]
            assert span["label"] in LABELS, record["id"]
            end = span["end"]


@pytest.mark.parametrize("name", WORKPLACE)
def test_a_level_agrees_with_what_is_marked(name: str) -> None:
    for record in records(name):
        assert record["level"] in (1, 2, 3, 4), record["id"]
        if record["level"] <= 2:
            assert record["spans"] == [], record["id"]
    share = sum(record["level"] <= 2 for record in records(name)) / len(records(name))
    assert 0.4 <= share <= 0.6


@pytest.mark.parametrize("name", PROSE)
def test_prose_marks_nothing(name: str) -> None:
    assert all(record["spans"] == [] and record["level"] == 2 for record in records(name))
