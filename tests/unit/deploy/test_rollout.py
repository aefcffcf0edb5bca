"""Rings: each holds the one before, nobody is chosen, and one that brings refusals is the last (P8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.core.errors import Refused
from byleave.deploy.rollout import HOUR_MS, in_ring, may_open

NOW_MS = 1_800_000_000_000
NAMES = [f"ep-{number}" for number in range(2_000)]


@given(st.integers(1, 99), st.sampled_from(NAMES), st.from_regex(r"\d\.\d", fullmatch=True))
def test_a_wider_ring_holds_every_narrower_one_and_the_last_is_everybody(percent: int, name: str, version: str) -> None:
    assert in_ring(version, name, 100)
    assert not in_ring(version, name, percent) or in_ring(version, name, percent + 1)


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_a_ring_is_about_as_large_as_it_says_and_each_version_begins_with_others(percent: int) -> None:
    rings = [{name for name in NAMES if in_ring(version, name, percent)} for version in ("1.0", "1.1")]
    for ring in rings:
        assert abs(len(ring) - len(NAMES) * percent // 100) < 90
    assert len(rings[0] & rings[1]) < 0.7 * len(rings[0])


def test_the_first_ring_opens_and_the_next_only_wider_later_and_without_refusals() -> None:
    stood = [{"percent": 10, "since_ms": NOW_MS - 25 * HOUR_MS}]
    may_open([], 1, 0, 0, NOW_MS, 24 * HOUR_MS)
    may_open(stood, 50, 0, 0, NOW_MS, 24 * HOUR_MS)
    may_open(stood, 50, 3, 3, NOW_MS, 24 * HOUR_MS)
    for rings, percent, refused, reason in (
        (stood, 50, 1, "stopped"),
        (stood, 10, 0, "not-wider"),
        ([{"percent": 10, "since_ms": NOW_MS - 23 * HOUR_MS}], 50, 0, "too-early"),
        ([{"percent": 10, "since_ms": NOW_MS - HOUR_MS}], 50, 1, "stopped"),
    ):
        with pytest.raises(Refused) as caught:
            may_open(rings, percent, refused, 0, NOW_MS, 24 * HOUR_MS)
        assert caught.value.reason == reason
