"""What the person sees of themselves: the last minutes from memory, and the day as numbers (P7)."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from byleave.control.documents import Scope
from byleave.core.errors import Misconfigured
from byleave.core.events import Kind, Modifiers, Screen, Window
from byleave.producers import never
from byleave.producers.gate import Switches
from byleave.producers.hooks import chord
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed
from byleave.producers.person.ring import AGE_MS_MAX, EVENTS_MAX, Ring, told
from byleave.producers.person.today import APPLICATIONS_MAX, DAYS_MAX, Days

EDITOR, MAIL, TAX = (
    Window(7, "editor", layout="us"),
    Window(8, "mail", layout="us"),
    Window(9, "editor", title="Your tax return"),
)
SECRET = "zanquavel"


def typed(text: str, window: Window, start_ms: int, every_ms: int = 100) -> list[Observed]:
    found = [Observed(start_ms, Kind.FOCUS, window=window)]
    return found + [Observed(start_ms + 300 + n * every_ms, Kind.PRESS, key=char) for n, char in enumerate(text)]


def texts(ring: Ring) -> list[tuple[str, str]]:
    return [(line.app, line.text) for line in ring.lines(0)]


def test_the_ring_shows_what_was_really_taken_and_nothing_else(world, bench) -> None:
    events = [
        *typed("hello", EDITOR, 0),
        *typed(SECRET, MAIL, 2_000),
        *typed(SECRET, TAX, 4_000),
        *typed("again", EDITOR, 6_000),
    ]
    b = bench(Timeline(events, Screen(800, 600)))
    b.run(9_000)
    assert texts(b.agent.ring) == [("editor", "helloagain")]
    b.switches = Switches(paused=True)
    b.run(500)
    assert texts(b.agent.ring) == [("editor", "helloagain")], "who pauses may look"
    assert "hello" not in repr(b.agent.ring) + repr(list(b.agent.ring.lines(0)))
    assert not any(b"helloagain" in path.read_bytes() for path in world.folder.rglob("*") if path.is_file())
    b.switches = Switches()
    order, _ = world.halt(scope=Scope("endpoint", "ep-a"))
    b.tell(order)
    b.turn()
    assert texts(b.agent.ring) == []


def test_what_is_older_goes_though_nothing_comes_and_there_is_never_more_than_the_bound(world, bench) -> None:
    b = bench(Timeline(typed("hello", EDITOR, 0), Screen(800, 600)))
    b.run(3_000)
    b.switches = Switches(paused=True)
    world.now += AGE_MS_MAX
    b.turn()
    assert texts(b.agent.ring) == []
    ring = Ring()
    for n in range(EVENTS_MAX + 10):
        ring.take(Observed(n, Kind.PRESS, key="x"), "editor")
    assert sum(len(line.text) for line in ring.lines(0)) == EVENTS_MAX


def test_a_line_reads_as_the_person_did_it() -> None:
    ring = Ring()
    done = [(Kind.PRESS, "a"), (Kind.RELEASE, "a"), (Kind.PRESS, "space"), (Kind.PRESS, "backspace"), (Kind.MOVE, ""),
            (Kind.BUTTON_DOWN, ""), (Kind.PRESS, "enter"), (Kind.PRESS, "b")]  # fmt: skip
    for at, (kind, key) in enumerate(done):
        ring.take(Observed(at, kind, key=key), "editor")
    first, second = ring.lines(0)
    assert (first.text, first.moves, second.text) == ("a [backspace][click]\n", 1, "b")
    assert told(first, 60_000, 86_400.0).endswith("  editor  a [backspace][click]  (1 moves)")
    assert [line.text for line in ring.lines(7)] == ["b"]


def test_the_day_counts_minutes_kinds_and_what_was_never_recorded(world, bench) -> None:
    days = Days()
    days.turn_to("2026-11-24")
    events = [*typed("hello", EDITOR, 0), *typed(SECRET, TAX, 2_000), *typed("again", EDITOR, 6_000)]
    b = bench(Timeline(events, Screen(800, 600)), days=days)
    b.run(9_000)
    told_of = days.report("2026-11-24")
    assert (told_of["counts"], told_of["never"]) == ({"keys": 10}, {"tax": 1})
    assert told_of["captured"] == b.agent.report()["captured"]
    assert told_of["near_focus"] == b.agent.report()["near_focus"]
    assert told_of["minutes"]["editor"] == pytest.approx(0.1, abs=0.05)
    kept = days.dump()
    assert b"tax return" not in kept
    assert SECRET.encode() not in kept
    assert Days(kept).report("2026-11-24") == told_of


def test_the_account_of_days_is_bounded_and_a_damaged_one_begins_anew() -> None:
    days = Days()
    for n in range(DAYS_MAX + 9):
        days.turn_to(f"2026-{1 + n // 28:02d}-{1 + n % 28:02d}")
        for app in range(APPLICATIONS_MAX + 9):
            days.take(Observed(n, Kind.PRESS, key="x"), f"app{app}")
    kept = json.loads(days.dump())
    assert len(kept) == DAYS_MAX
    assert min(kept) == "2026-01-10"
    assert all(len(day["ms"]) == APPLICATIONS_MAX + 1 for day in kept.values())
    for damaged in (b"", b"[]", b"{", b'{"2026-01-01": 3}', b'{"2026-01-01": {"ms": {"a": "x"}}}'):
        assert Days(damaged).report("2026-01-01")["captured"] == 0


def test_a_forbidden_place_is_told_by_its_part_and_counted_once_a_visit() -> None:
    days = Days()
    days.turn_to("d")
    secure = Window(3, "editor", title="bank", secure=True)
    for window in (TAX, TAX, EDITOR, TAX, secure, None, Window(4, "editor", secure=True), Window(5, "i3lock")):
        days.see(window)
    assert days.report("d")["never"] == {"tax": 2, "bank": 1, "password": 1, "lock screen": 1}
    assert never.category(EDITOR) is None


@pytest.mark.parametrize("text", ["", "esc", "ctrl+esc", "ctrl+alt+", "hyper+alt+esc"])
def test_keys_that_one_could_press_by_chance_do_not_pause(text: str) -> None:
    with pytest.raises(Misconfigured):
        chord.chord(text)


def test_the_keys_that_pause_are_known_under_caps_lock_and_where_alt_is_meta() -> None:
    wanted, held = chord.chord(chord.DEFAULT), Modifiers.CONTROL | Modifiers.SHIFT
    for modifiers in (held | Modifiers.ALT, held | Modifiers.ALT | Modifiers.CAPS, held | Modifiers.META):
        assert chord.presses(Observed(0, Kind.PRESS, key="esc", modifiers=modifiers), wanted)
    for kind, key, modifiers in ((Kind.RELEASE, "esc", held | Modifiers.ALT), (Kind.PRESS, "e", held | Modifiers.ALT),
                                 (Kind.PRESS, "esc", held)):  # fmt: skip
        assert not chord.presses(Observed(0, kind, key=key, modifiers=modifiers), wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")
def test_nobody_gets_a_dump_of_the_agent() -> None:
    code = (
        "import resource, os; from byleave.producers.main import harden; harden()\n"
        "import ctypes; print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, env=os.environ)
    assert done.stdout.split("\n")[0] == "0 (0, 0)"
