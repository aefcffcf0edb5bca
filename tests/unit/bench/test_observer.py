"""What an observer of sizes and times learns: the bench finds what is there, and finds nothing where nothing is."""

from __future__ import annotations

import pytest

from bench import observer


@pytest.fixture(scope="module")
def people() -> list[observer.Person]:
    return [observer.live(seed) for seed in range(3)]


def test_sizes_and_times_tell_who_types_and_how_much(people: list[observer.Person]) -> None:
    for view in ("sizes", "header", "padded"):
        told = observer.guess(people, view)
        assert told["told"] > told["most"] + 25
        assert told["correlation"] > 0.6
        assert told["keys off"] < told["keys off by the mean alone"] / 2


def test_a_padded_batch_each_second_tells_neither(people: list[observer.Person]) -> None:
    told = observer.guess(people, "fixed")
    assert told["told"] < told["most"] + 10
    assert abs(told["correlation"]) < 0.3
    assert told["keys off"] > 0.8 * told["keys off by the mean alone"]


def test_both_ways_carry_the_same_events(people: list[observer.Person]) -> None:
    """Only moves may differ: they are thinned by when they are seen."""
    for person in people:
        minutes = len(person.doing) * observer.WINDOW_S / 60
        assert len(person.each_second) == minutes * 60 - 1
        assert sum(person.keys) < sum(record.count for record in person.records)
        assert max(record.size for record in person.each_second) <= observer.SIZES[-1]
