"""The disguises are what they say, each is tried, and the same seed gives the same figure."""

from __future__ import annotations

import random

import pytest

from bench.disguises import FRAMES, SHAPES, VALUES, _texts, disguised
from byleave.processors.session import load_rules

pytestmark = pytest.mark.slow


def test_each_value_is_tried_in_each_disguise_and_frame_and_its_own_letters_count() -> None:
    texts = list(_texts(random.Random(1)))
    assert len(texts) == len(VALUES) * len(SHAPES) * len(FRAMES)
    assert all(mind and all(text[place].isalnum() for place in mind) for _, _, text, mind in texts)
    seen = {shape: "".join(text[place] for place in mind) for kind, shape, text, mind in texts if kind == "card"}
    assert seen["plain"] == seen["line {} of the file"] == seen["joined by '-'"] == "4111111111111111"
    assert seen["escapes"].startswith("x34x31x31x31x20")


def test_the_same_seed_gives_the_same_figure_and_plain_numbers_do_not_get_out() -> None:
    rules = load_rules()
    found = disguised(rules)
    assert (found.tried, found.out) == (disguised(rules).tried, disguised(rules).out)
    assert 0 < found.share < 1
    assert found.values["card"] < len(SHAPES)
