"""Floors only ever become stricter, and a figure that is worse than its floor is named."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from bench.floors import FILE, MORE_IS_BETTER, load_floors, raised, worse, written

FIRST, LATER = datetime.date(2026, 1, 2), datetime.date(2026, 3, 4)
FIGURES = st.dictionaries(
    st.sampled_from(["workplace_dev", "pii_dev/original"]),
    st.dictionaries(st.sampled_from(["leak", "lost", "full_recall"]), st.floats(0, 1), max_size=3),
    max_size=2,
)


def test_a_better_figure_makes_the_floor_stricter_and_dates_it() -> None:
    old = raised({"a": {"leak": 0.02, "full_recall": 0.9}}, {}, FIRST)
    new = raised({"a": {"leak": 0.01, "full_recall": 0.95}}, old, LATER)
    assert {figure: row.floor for figure, row in new["a"].items()} == {"leak": 0.01, "full_recall": 0.95}
    assert {row.raised for row in new["a"].values()} == {LATER}


def test_a_worse_figure_leaves_the_floor_and_is_named() -> None:
    old = raised({"a": {"leak": 0.01, "full_recall": 0.95}}, {}, FIRST)
    figures = {"a": {"leak": 0.02, "full_recall": 0.9}}
    assert raised(figures, old, LATER) == old
    leak, recall = worse(figures, old)
    assert "a: leak is 0.0200, its floor since 2026-01-02 is 0.0100" in (leak, recall)
    assert "a: full_recall is 0.9000, its floor since 2026-01-02 is 0.9500" in (leak, recall)


def test_what_was_not_measured_keeps_its_floor_and_is_not_worse() -> None:
    old = raised({"a": {"leak": 0.01}}, {}, FIRST)
    assert raised({}, old, LATER) == old
    assert list(worse({}, old)) == []


def test_what_is_lost_for_nothing_may_become_half_a_point_worse_and_what_gets_out_may_not() -> None:
    floors = raised({"a": {"leak": 0.02, "lost": 0.1}}, {}, FIRST)
    assert list(worse({"a": {"leak": 0.02, "lost": 0.105}}, floors)) == []
    assert len(list(worse({"a": {"leak": 0.021, "lost": 0.106}}, floors))) == 2


@given(FIGURES, FIGURES)
def test_no_floor_is_ever_loosened_and_the_file_says_the_same(
    first: dict[str, dict[str, float]], second: dict[str, dict[str, float]]
) -> None:
    old = raised(first, {}, FIRST)
    assert list(worse(first, old)) == []
    new = raised(second, old, LATER)
    for name, rows in old.items():
        for figure, row in rows.items():
            now = new[name][figure].floor
            assert now >= row.floor if figure in MORE_IS_BETTER else now <= row.floor
    assert load_floors(written(new)) == new


def test_the_file_reads_as_it_would_be_written() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert written(load_floors(text)) == text
