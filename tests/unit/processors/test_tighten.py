"""A text that is about somebody is redacted more strictly than one that is not, and nothing else changes."""

from __future__ import annotations

import pytest

from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.session import Rules


def left(text: str, rules: Rules) -> str:
    return sanitized_text(text, find_spans("", text, rules))


@pytest.mark.parametrize(
    ("harmless", "telling", "word"),
    [
        ("the lump sum is in the back of the plan", "they found a lump in my chest, the biopsy is on monday", "lump"),
        ("use two of the hundred threads", "my salary went up, they gave me two hundred more a month", "hundred"),
        ("we hope that the cache helps", "her appraisal said hope is late again", "hope"),
    ],
)
def test_a_word_stays_where_it_tells_nothing_and_goes_where_it_does(
    rules: Rules, harmless: str, telling: str, word: str
) -> None:
    assert left(harmless, rules) == harmless
    assert word in telling
    assert word not in left(telling, rules)


def test_a_word_that_is_hardly_used_as_one_is_a_name_within_a_sentence(rules: Rules) -> None:
    assert "Gareth" not in left("exit notes: leaves because Gareth plays favourites", rules)
    assert left("the Market team and the Monday report", rules) == "the Market team and the Monday report"
