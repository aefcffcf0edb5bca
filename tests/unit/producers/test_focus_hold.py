"""Around a focus change nothing passes on either side: no key meant for one window is ever attributed to another (P1)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from byleave.core.events import Kind, Window
from byleave.core.targets import Target
from byleave.producers import focus_hold
from byleave.producers.focus_hold import FocusHold
from byleave.producers.hooks.source import FOCUS_HOLD_MS, Observed

WINDOWS = (*(Window(n, f"app-{n}", layout="us") for n in range(4)), Window(4, "app-4", layout="us", secure=True), None)
KEYS_MS = (5, 30, 90, 400)


def key(at_ms: int, meant: str = "x") -> Observed:
    return Observed(at_ms, Kind.PRESS, key=meant)


def focus(at_ms: int, window: Window | None) -> Observed:
    return Observed(at_ms, Kind.FOCUS, window=window)


def run(events: list[Observed], chance: random.Random) -> tuple[list[Observed], FocusHold]:
    """Feeds the events, and tells at chance that everything so far was told; at the end, everything was."""
    hold, out = FocusHold(FOCUS_HOLD_MS), list[Observed]()
    for before, event in zip([None, *events], events, strict=False):
        if before and chance.random() < 0.4:
            out += hold.settle(chance.randint(before.at_ms, event.at_ms))
        out += hold.feed(event)
    return [*out, *hold.settle(1 << 40)], hold


def race(chance: random.Random) -> list[Observed]:
    """Somebody types while windows come in between: up to 200 ms for the window that was there, and the hook is late by up to
    150 ms in telling. A key carries the window that it was meant for."""
    told, at, meant, until_ms, now = [focus(0, WINDOWS[0])], 0, WINDOWS[0], 0, WINDOWS[0]
    for _ in range(chance.randint(5, 60)):
        at += chance.choice(KEYS_MS)
        if at >= until_ms:
            meant = now
        if chance.random() < 0.2 and at >= until_ms:
            now = chance.choice([window for window in WINDOWS if window != now])
            until_ms = at + chance.randint(0, FOCUS_HOLD_MS)
            told.append(focus(at + chance.randint(0, min(150, until_ms - at)), now))
        told.append(key(at, repr(meant)))
    return sorted(told, key=lambda event: event.at_ms)


@pytest.mark.parametrize("seed", range(400))
def test_no_key_meant_for_one_window_is_attributed_to_another(seed: int) -> None:
    chance = random.Random(seed)
    out, _ = run(race(chance), chance)
    window: Window | None = None
    for event in out:
        if event.kind is Kind.FOCUS:
            window = event.window
        else:
            assert event.key == repr(window)


def test_the_races_do_put_keys_into_the_wrong_window_where_nothing_is_held() -> None:
    wrong = 0
    for seed in range(400):
        window: Window | None = None
        for event in race(random.Random(seed)):
            if event.kind is Kind.FOCUS:
                window = event.window
            else:
                wrong += event.key != repr(window)
    assert wrong > 100


@pytest.mark.parametrize("seed", range(200))
def test_what_is_away_from_every_change_passes_in_order_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    events, at = [focus(0, WINDOWS[0])], 0
    for _ in range(80):
        at += chance.choice((0, 3, 50, 199, 200, 201, 700))
        window = chance.choice(WINDOWS)
        events.append(focus(at, window) if chance.random() < 0.1 else key(at))
    changes = [0]
    for before, event in zip((e for e in events if e.kind is Kind.FOCUS), [e for e in events if e.kind is Kind.FOCUS][1:],
                             strict=False):  # fmt: skip
        if before.window != event.window:
            changes.append(event.at_ms)
    wanted = [
        e for e in events
        if e.kind is Kind.PRESS and all(e.at_ms <= t - FOCUS_HOLD_MS or e.at_ms >= t + FOCUS_HOLD_MS for t in changes)
    ]  # fmt: skip
    out, hold = run(events, chance)
    assert [e for e in out if e.kind is Kind.PRESS] == wanted
    assert [e.at_ms for e in out] == sorted(e.at_ms for e in out)
    assert hold.drops <= len(changes)


def test_another_layout_in_the_same_window_is_no_change_and_keeps_its_place() -> None:
    french = replace(WINDOWS[0], layout="fr")
    events = [focus(0, WINDOWS[0]), key(300, "a"), focus(310, french), key(320, "b")]
    out, hold = run(events, random.Random(0))
    assert (out, hold.drops) == (events, 0)


def test_of_what_was_dropped_only_the_change_is_counted() -> None:
    for keys in (1, 50):
        out, hold = run(
            [focus(0, WINDOWS[0]), *(key(1_000 + n) for n in range(keys)), focus(1_100, WINDOWS[4])], random.Random(0)
        )
        assert ([e.kind for e in out], hold.drops) == ([Kind.FOCUS] * 2, 1)


def test_where_something_was_lost_what_is_held_is_dropped_and_the_next_focus_is_a_change() -> None:
    hold = FocusHold(FOCUS_HOLD_MS)
    list(hold.feed(focus(0, WINDOWS[0])))
    list(hold.feed(key(500)))
    hold.lose()
    assert list(hold.feed(focus(510, WINDOWS[0]))) == [focus(510, WINDOWS[0])]
    assert list(hold.feed(key(600))) == []
    assert list(hold.settle(1 << 40)) == []


def test_it_holds_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus_hold, "HELD_MAX", 10)
    hold = FocusHold(FOCUS_HOLD_MS)
    list(hold.feed(focus(0, WINDOWS[0])))
    for _ in range(11):
        assert list(hold.feed(key(500))) == []
    assert list(hold.settle(1 << 40)) == []
    assert hold.drops == 1


def test_what_a_click_was_on_is_put_to_it_while_it_is_held_and_to_no_other() -> None:
    hold, target = FocusHold(FOCUS_HOLD_MS), Target("button", label="Save")
    told = [focus(0, WINDOWS[0]), Observed(500, Kind.BUTTON_DOWN, 1, 2, 1), Observed(520, Kind.BUTTON_DOWN, 1, 2, 1),
            Observed(520, Kind.TARGET, target=target), Observed(510, Kind.TARGET, target=target)]  # fmt: skip
    out = [passed for event in told for passed in hold.feed(event)]
    late = Observed(500, Kind.TARGET, target=target)
    out += [*hold.settle(1_000), *hold.feed(late), *hold.settle(1 << 40)]
    assert out == [told[0], told[1], replace(told[2], target=target)]


def test_of_two_clicks_in_one_moment_neither_gets_what_may_be_the_others() -> None:
    clicks = [Observed(500, Kind.BUTTON_DOWN, 1, 2, 1), Observed(500, Kind.BUTTON_DOWN, 90, 2, 1)]
    for role, put in (("button", None), ("password", Target("password"))):
        hold = FocusHold(FOCUS_HOLD_MS)
        told = [focus(0, WINDOWS[0]), *clicks, Observed(500, Kind.TARGET, target=Target(role))]
        out = [passed for event in told for passed in hold.feed(event)] + [*hold.settle(1 << 40)]
        assert [event.target for event in out[1:]] == [put, put]
