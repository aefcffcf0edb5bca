"""Rows that say where a reader is, and what a row knows of its events: nothing that tells how long or how fast."""

from __future__ import annotations

from dataclasses import replace

from typed_sessions import EDITOR, START_MS, TERMINAL, focused, run

from byleave.core import codec
from byleave.core.batches import Boundary, Content
from byleave.core.events import Kind, Modifiers, PointerEvent
from byleave.core.rows import ActionKind
from byleave.processors.preview import batch_of
from byleave.processors.reduce import Rows
from byleave.processors.session import EndpointState, Rules, feed

CONTROL, SHIFT = Modifiers.CONTROL, Modifiers.SHIFT


def test_a_switch_names_the_category_and_the_redacted_title(rules: Rules) -> None:
    out = run(focused([], title="Invoice for ann@example.com"), rules)
    [row] = out.marks(ActionKind.SWITCH)
    assert (row.app, row.text, row.redactions) == ("editor", "Invoice for <EMAIL>", ("EMAIL",))
    [bare] = run(focused([]), rules).marks(ActionKind.SWITCH)
    assert (bare.app, bare.text) == ("editor", "")


def test_a_switch_to_a_window_of_level_4_or_to_the_same_window_is_not_written(rules: Rules) -> None:
    assert run(focused([], "firefox", title="My bank"), rules).marks() == []
    out = run(focused([("focus", EDITOR, 1), ("focus", TERMINAL, 2), ("focus", EDITOR, 1)]), rules)
    assert [row.app for row in out.marks(ActionKind.SWITCH)] == ["editor", "terminal", "editor"]


def test_a_secret_title_is_not_in_its_row(rules: Rules) -> None:
    out = run(focused([], title="ssn 219-09-9999"), rules)
    assert [row.text for row in out.marks()] in ([], [""])
    assert b"219" not in b"".join(out.bodies)


def test_keys_that_are_down_are_named_once_a_second(rules: Rules) -> None:
    held = [("key", "ctrl_l"), ("key", "shift"), ("key", "page_down", CONTROL | SHIFT), ("wait", 2_000)]
    out = run(focused([*held, ("release", "shift"), ("release", "page_down"), ("release", "ctrl_l"), ("wait", 2_000)]), rules)
    assert [row.keys for row in out.marks(ActionKind.HELD)] == [("ctrl", "shift", "page_down")]
    assert {row.start_ms % 1_000 for row in out.marks(ActionKind.HELD)} == {0}
    assert run(focused([("key", "ctrl_l"), ("wait", 40_000)]), rules).marks(ActionKind.HELD) == []  # its release was lost


def test_no_mark_stands_inside_a_stretch_that_is_held(rules: Rules) -> None:
    scene = ["mail ", ("key", "shift"), ("wait", 5_000), "ann@example.com", ("release", "shift"), "\n"]
    assert run(focused(scene), rules).marks(ActionKind.HELD) == []


def test_missing_events_leave_a_gap_that_a_reader_sees(rules: Rules) -> None:
    state, rows = EndpointState(), Rows()
    feed(state, batch_of(focused([]), 0, START_MS), rules)
    batch = batch_of([PointerEvent(4, START_MS + 4_000, Kind.MOVE, 1, 1)], 4, START_MS + 4_000)
    batch = replace(batch, header=replace(batch.header, gap=3))
    feed(state, batch, rules, rows)
    [row] = rows.actions[1]
    assert (row.kind, row.start_ms, row.end_ms) == (ActionKind.GAP, START_MS, START_MS + 4_000)
    assert (row.first, row.last) == (1, 3)


def test_a_row_knows_its_events_in_memory_only(rules: Rules) -> None:
    rows = Rows()
    events = focused(["ask ann@example.com not", "\b", ("paste", "w or x@y.example"), "\n", ("key", "s", CONTROL)])
    batches = feed(EndpointState(), batch_of(events, 0, events[-1].at_ms, boundary=Boundary.END), rules, rows)
    typed_row = next(row for found in rows.actions.values() for row in found if row.kind is ActionKind.TYPE)
    paste = next(event.seq for event in events if event.kind is Kind.PASTE)
    assert (typed_row.first, typed_row.last) == (1, paste)
    assert typed_row.clear == (1, 2, 3, 21, 22, paste)
    hotkey = next(row for found in rows.actions.values() for row in found if row.kind is ActionKind.HOTKEY)
    assert (hotkey.first, hotkey.clear) == (events[-1].seq, (events[-1].seq,))
    for batch in batches:
        if batch.header.content is Content.ACTIONS:
            record = codec.decode_body("sanitized_actions", batch.body)
            assert {name for row in record["rows"] for name in row}.isdisjoint({"first", "last", "clear"})
