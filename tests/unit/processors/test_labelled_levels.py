"""The second voice of labelled text, and the sentences with a level, are well formed: a wrong label would make scores lie.

No test here prints a text: the blind files are kept unread by the people who write the rules.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redaction_score import TIER1, TIER2  # tests/assets

TEXT = Path(__file__).parents[2] / "assets" / "text"
SPANS = {"pii_dev2": 300, "pii_blind": 500}
LEVELS = {"levels_dev": 500, "levels_blind": 300}
CONTEXT = {"app", "title", "url", "channel"}
CHANNELS = {"keys", "text", "clipboard", "url", "title"}


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TEXT / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("name", "size"), (SPANS | LEVELS).items())
def test_each_file_is_whole(name: str, size: int) -> None:
    assert len(records(name)) == size
    assert {(record["source"], record["licence"]) for record in records(name)} == {("original", "original")}


@pytest.mark.parametrize("kind", [SPANS, LEVELS], ids=["spans", "levels"])
def test_no_id_or_text_stands_twice(kind: dict[str, int]) -> None:
    everything = [record for name in kind for record in records(name)]
    for key in ("id", "text"):
        assert max(Counter(record[key] for record in everything).values()) == 1


@pytest.mark.parametrize("name", SPANS)
def test_every_span_is_inside_tight_known_and_apart_from_the_next(name: str) -> None:
    for record in records(name):
        assert record["channel"] in CHANNELS, record["id"]
        end = 0
        for span in record["spans"]:
            marked = record["text"][span["start"] : span["end"]]
            assert end <= span["start"] < span["end"] <= len(record["text"]), record["id"]
            assert marked == marked.strip(), record["id"]
            assert span["label"] in TIER1 | TIER2, record["id"]
            end = span["end"]


@pytest.mark.parametrize("name", SPANS)
def test_a_fair_share_of_the_texts_is_harmless(name: str) -> None:
    harmless = sum(not any(span["label"] in TIER1 for span in record["spans"]) for record in records(name))
    assert 0.25 <= harmless / len(records(name)) <= 0.4


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_known_and_in_the_shares_that_were_asked(name: str) -> None:
    found = Counter(record["level"] for record in records(name))
    assert set(found) == {1, 2, 3, 4}
    shares = [(found[1] + found[2]) / found.total(), found[3] / found.total(), found[4] / found.total()]
    assert shares == pytest.approx([0.55, 0.25, 0.20], abs=0.005)


@pytest.mark.parametrize("name", LEVELS)
def test_half_of_the_sentences_come_with_a_whole_context(name: str) -> None:
    given = [record["context"] for record in records(name) if "context" in record]
    assert len(given) * 2 == len(records(name))
    assert all(set(context) == CONTEXT and context["channel"] in CHANNELS for context in given)
