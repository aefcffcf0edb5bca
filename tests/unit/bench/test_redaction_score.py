"""The scorer counts what it says, and gives the numbers of the scorer that the goals were written with."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from redaction_score import TIER1, TIER2, load, score

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"
TIMES = {"chars_per_s", "p50_ms", "p99_ms"}
RECORD = {
    "text": "ann has 12-34 in oslo",
    "spans": [
        {"start": 0, "end": 3, "label": "PERSON"},
        {"start": 8, "end": 13, "label": "OTHER_ID"},
        {"start": 17, "end": 21, "label": "LOCATION"},
    ],
}


def test_a_redactor_that_takes_all_leaks_nothing_and_loses_everything() -> None:
    found = score([RECORD], lambda text: [(0, len(text))])
    assert (found["leak"], found["full_recall"], found["over"], found["precision"]) == (0, 1, 1, 1)


def test_a_redactor_that_takes_nothing_leaks_everything() -> None:
    found = score([RECORD], lambda _: [])
    assert (found["leak"], found["full_recall"], found["hit_recall"], found["over"]) == (1, 0, 0, 0)


def test_letters_and_digits_of_tier_1_count_and_nothing_else() -> None:
    found = score([RECORD], lambda _: [(0, 3), (8, 10), (14, 16)])
    assert found["leak"] == 2 / 7
    assert (found["full_recall"], found["hit_recall"], found["precision"]) == (1 / 2, 1, 2 / 3)
    assert found["over"] == 2 / 9
    assert found["labels"]["OTHER_ID"] == {"spans": 1, "hit_recall": 1, "full_recall": 0, "leak": 1 / 2}
    assert score([RECORD], lambda _: [], TIER2)["spans"] == 1
    assert TIER1.isdisjoint(TIER2)


def test_it_gives_the_numbers_of_the_scorer_that_the_goals_were_written_with() -> None:
    if not SHARED.is_dir():
        pytest.skip("the data folder beside the project is absent")
    spec = importlib.util.spec_from_file_location("first_score", SHARED / "redaction_score.py")
    assert spec is not None
    assert spec.loader is not None
    first = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(first)

    def some(text: str) -> list[tuple[int, int, str]]:
        return [(*match.span(), "X") for match in re.finditer(r"\w*\d\w*|[A-Z]\w+|@.", text)]

    for path in sorted(SHARED.glob("*.jsonl")):
        records: list[Any] = load(path)
        for tier in (TIER1, TIER2):
            theirs, ours = first.score(records, some, tier), score(records, some, tier)
            assert {k: v for k, v in ours.items() if k not in TIMES} == {k: v for k, v in theirs.items() if k not in TIMES}
