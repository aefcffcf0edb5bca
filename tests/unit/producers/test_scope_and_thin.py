"""What passes the endpoint: an allow-list by the focus at each event (P1), and fewer moves than the hand made."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.control.documents import Manifest
from byleave.core.events import Kind, Window
from byleave.core.targets import PASSWORD, Target
from byleave.producers.hooks.source import Observed
from byleave.producers.scope import Scope
from byleave.producers.thin import Thinner


def scope(kinds=("pointer", "key", "window"), sites=()) -> Scope:
    return Scope(Manifest("byleave.", "t", kinds, ("Editor", "browser"), sites, (), (), 1, "", "", 0, 1))


def focus(window: Window | None) -> Observed:
    return Observed(0, Kind.FOCUS, window=window)


KEY, MOVE = Observed(1, Kind.PRESS, key="q"), Observed(1, Kind.MOVE, 3, 4)
EDITOR = Window(9_000_001, "EDITOR", title="secret plan", layout="us")


@pytest.mark.parametrize(
    ("window", "kinds", "sites", "key", "move"),
    [
        (EDITOR, ("pointer", "key"), (), True, True),
        (EDITOR, ("pointer",), (), False, True),
        (EDITOR, ("key",), (), True, False),
        (EDITOR, (), (), False, False),
        (None, ("pointer", "key"), (), False, False),
        (Window(1, "bank", layout="us"), ("pointer", "key"), (), False, False),
        (Window(1, "editor", layout="us", secure=True), ("pointer", "key"), (), False, False),
        (Window(1, "editor"), ("pointer", "key"), (), False, True),
        (Window(1, "browser", site="wiki.example", layout="us"), ("pointer", "key"), ("wiki.example",), True, True),
        (Window(1, "browser", site="clinic.example", layout="us"), ("pointer", "key"), ("wiki.example",), False, False),
    ],
)
def test_only_what_the_manifest_names_passes(window, kinds, sites, key: bool, move: bool) -> None:
    s = scope(kinds, sites)
    s.admit(focus(window))
    assert (s.admit(KEY) is not None, s.admit(MOVE) is not None) == (key, move)


CLICK, UP = Observed(1, Kind.BUTTON_DOWN, 3, 4, 1), Observed(2, Kind.BUTTON_UP, 3, 4, 1)
SAVE = Target("button", 1, 2, 30, 40, "Save")


@pytest.mark.parametrize(
    ("kinds", "seen", "taken"),
    [
        (("pointer", "target"), SAVE, SAVE),
        (("pointer", "target"), None, Target("unknown")),
        (("pointer",), SAVE, None),
        (("pointer",), None, None),
    ],
)
def test_what_a_click_was_on_passes_only_where_the_manifest_names_it(kinds, seen, taken) -> None:
    s = scope(kinds)
    s.admit(focus(EDITOR))
    assert s.admit(replace(CLICK, target=seen)) == replace(CLICK, target=taken)


def test_a_click_on_a_password_does_not_pass_nor_does_its_release() -> None:
    s = scope(("pointer", "target"))
    s.admit(focus(EDITOR))
    assert s.admit(replace(CLICK, target=Target(PASSWORD))) is None
    assert s.admit(UP) is None


def test_without_a_focus_nothing_passes_nor_is_counted() -> None:
    s = scope()
    assert (s.admit(KEY), s.admit(MOVE), s.dropped) == (None, None, 0)


def test_below_a_password_prompt_not_even_a_count_remains() -> None:
    s = scope()
    s.admit(focus(Window(1, "editor", layout="us", secure=True)))
    assert (s.admit(KEY), s.dropped) == (None, 0)


def test_titles_and_system_handles_stay_here() -> None:
    admitted = scope().admit(focus(EDITOR))
    assert admitted is not None
    assert admitted.window == Window(0, "EDITOR", layout="us")
    titled = scope(("window", "title", "key")).admit(focus(EDITOR))
    assert titled is not None
    assert titled.window is not None
    assert titled.window.title == "secret plan"


def test_a_release_does_not_tell_of_a_key_pressed_elsewhere() -> None:
    s = scope()
    s.admit(focus(Window(1, "bank", layout="us")))
    s.admit(KEY)
    s.admit(focus(EDITOR))
    assert s.admit(Observed(2, Kind.RELEASE, key="q")) is None
    s.admit(Observed(3, Kind.PRESS, key="A"))
    assert s.admit(Observed(4, Kind.RELEASE, key="a")) is not None  # shift went up first


EVENTS = st.lists(
    st.tuples(st.sampled_from([Kind.MOVE] * 6 + [Kind.BUTTON_DOWN, Kind.PRESS]), st.integers(0, 120)), max_size=150
)


@given(EVENTS)
def test_thinning_takes_only_moves_keeps_order_and_the_place_of_each_click(steps) -> None:
    thinner, now, seen, out = Thinner(), 0, [], []
    for n, (kind, gap) in enumerate(steps):
        now += gap
        seen.append(Observed(now, kind, x=n))
        out += thinner.feed(seen[-1])
    out += thinner.flush()
    others = [e for e in seen if e.kind is not Kind.MOVE]
    assert [e for e in out if e.kind is not Kind.MOVE] == others
    assert [e.at_ms for e in out] == sorted(e.at_ms for e in out)
    assert [e.x for e in out] == sorted(e.x for e in out)
    assert len(out) + thinner.thinned == len(seen)
    for before, event in pairwise(seen):
        if event.kind is Kind.BUTTON_DOWN and before.kind is Kind.MOVE:
            assert out[out.index(event) - 1] == before


def test_a_steady_stroke_is_thinned_to_twenty_a_second_with_its_first_and_last_move() -> None:
    thinner = Thinner()
    moves = [Observed(at, Kind.MOVE, x=at) for at in range(0, 1_001, 2)]
    out = [e for move in moves for e in thinner.feed(move)]
    assert len(out) <= 21
    assert out[0] == moves[0]
    assert list(thinner.rest(1_049)) == []
    last = [*out, *thinner.rest(1_050)][-1]
    assert last == moves[-1]
