"""Events to actions: clicks, drags and scrolls by the endpoint's own stamps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from row_columns import MARKS
from typed_sessions import START_MS, focused, run, window

from byleave.core.batches import Boundary, Content
from byleave.core.events import Event, FocusEvent, Kind, PointerEvent, Screen
from byleave.core.recordings import read_objects
from byleave.core.rows import ActionKind, ActionRow
from byleave.processors.preview import batch_of
from byleave.processors.preview_text import named_window
from byleave.processors.recording import Reader, screen_of
from byleave.processors.reduce import Rows
from byleave.processors.render import pyautogui
from byleave.processors.session import EndpointState, Rules, feed

SCREEN = Screen(1000, 500)
OPENCUA = Path(__file__).parents[3].parent / "shared/data/recordings/opencua-windows"
DESK = Path(__file__).parents[2] / "assets/recordings/desk"


def pointer(*acts: tuple[int, str, int, int]) -> list[Event]:
    """(ms, what, x, y) behind a focus; "d" and "u" are the left button, "s" one notch down, "m" a move."""
    events: list[Event] = [FocusEvent(0, START_MS, window())]
    for seq, (at, what, x, y) in enumerate(acts, 1):
        kind = {"d": Kind.BUTTON_DOWN, "u": Kind.BUTTON_UP, "s": Kind.SCROLL, "m": Kind.MOVE}[what]
        events.append(PointerEvent(seq, START_MS + at, kind, x, y, 0 if what in "ms" else 1, 0, -1 if what == "s" else 0))
    return events


def actions(rules: Rules, *acts: tuple[int, str, int, int]) -> list[ActionRow]:
    events = pointer(*acts)
    whole = run(events, rules, screen=SCREEN)
    assert run(events, rules, range(len(events)), screen=SCREEN, reload=True).rows == whole.rows
    return whole.actions()


def clicks(*starts: int, x: int = 100) -> list[tuple[int, str, int, int]]:
    return [act for at in starts for act in ((at, "d", x, 50), (at + 60, "u", x, 50))]


@pytest.mark.parametrize(
    ("starts", "kinds"),
    [
        ([0], ["CLICK"]),
        ([0, 300], ["DOUBLE_CLICK"]),
        ([0, 300, 600], ["TRIPLE_CLICK"]),
        ([0, 600], ["CLICK", "CLICK"]),
        ([0, 300, 600, 900], ["TRIPLE_CLICK", "CLICK"]),
        ([0, 300, 900], ["DOUBLE_CLICK", "CLICK"]),
    ],
)
def test_clicks_join_within_half_a_second(rules: Rules, starts: list[int], kinds: list[str]) -> None:
    found = actions(rules, *clicks(*starts))
    assert [row.kind for row in found] == kinds
    assert (found[0].x, found[0].y) == pytest.approx((0.1, 0.1))
    assert found[0].button == "left"


def test_clicks_at_two_places_are_two(rules: Rules) -> None:
    assert [row.kind for row in actions(rules, *clicks(0), *clicks(300, x=120))] == ["CLICK", "CLICK"]


def test_moving_while_down_is_a_drag(rules: Rules) -> None:
    [row] = actions(rules, (0, "d", 100, 50), (50, "m", 140, 60), (90, "u", 200, 100))
    assert row.kind is ActionKind.DRAG
    assert (row.x, row.y, row.to_x, row.to_y) == pytest.approx((0.1, 0.1, 0.2, 0.2))


def test_notches_join_within_a_second(rules: Rules) -> None:
    found = actions(rules, (0, "s", 5, 5), (900, "s", 5, 5), (1_800, "s", 5, 5), (3_000, "s", 5, 5))
    assert [(row.kind, row.dy) for row in found] == [(ActionKind.SCROLL, -3), (ActionKind.SCROLL, -1)]


def test_a_button_whose_release_was_lost_is_a_click(rules: Rules) -> None:
    found = actions(rules, (0, "d", 100, 50), (2_000, "d", 300, 50), (2_050, "u", 300, 50))
    assert [(row.kind, round(row.x, 3)) for row in found] == [(ActionKind.CLICK, 0.1), (ActionKind.CLICK, 0.3)]


def test_actions_stand_in_the_order_in_which_they_were_done(rules: Rules) -> None:
    scene = [("click", 1, 1), "good morning\n", ("scroll", 1), ("key", "f5"), ("click", 2, 2)]
    kinds = [(row.kind, row.keys) for row in run(focused(scene), rules).actions(1)]
    assert kinds == [("CLICK", ()), ("PRESS", ("enter",)), ("SCROLL", ()), ("PRESS", ("f5",)), ("CLICK", ())]


def test_pointer_rows_keep_path_and_time(rules: Rules) -> None:
    out = run(pointer((0, "m", 1, 2), (7, "m", 3, 4), (9, "s", 3, 4)), rules, screen=SCREEN)
    rows = out.rows[Content.EVENTS, 1]
    assert [(r.at_ms - START_MS, r.kind, r.x, r.y, r.dy) for r in rows] == [(0, 0, 1, 2, 0), (7, 0, 3, 4, 0), (9, 3, 3, 4, -1)]  # type: ignore[union-attr]


Essence = tuple[str, int, str, tuple[int, int] | None, list[tuple[int, ...]], str]
"""Action, start index, button, place in pixels, trace, pyautogui string: what ruling 27 names."""


def reduced(folder: Path, rules: Rules) -> list[Essence]:
    """The actions of a recording, replayed unthinned through the stream's own code."""
    screen = screen_of("", folder / "events.jsonl")
    reader = Reader(lambda name, handle: named_window(name, handle, {}, rules))
    with (folder / "events.jsonl").open("rb") as stream:
        numbered = [pair for number, row, _ in read_objects(stream) for pair in reader.pynput(number, row)]
    events, places = [event for _, event in numbered], [place for place, _ in numbered]
    rows = Rows()
    feed(EndpointState(), batch_of(events, 0, events[-1].at_ms, boundary=Boundary.END, screen=screen), rules, rows)
    done = sorted((row for some in rows.actions.values() for row in some if row.kind not in MARKS), key=lambda row: row.first)
    return [_essence(row, places, events, screen) for row in done]


def trace(row: ActionRow, events: list[Event]) -> list[tuple[int, int, int, int]]:
    """(x, y, dx, dy) of a drag's moves or a scroll's notches, from the events that the row knows in memory."""
    kind = Kind.MOVE if row.kind is ActionKind.DRAG else Kind.SCROLL
    return [
        (event.x, event.y, event.dx, event.dy)
        for event in events
        if isinstance(event, PointerEvent) and event.kind is kind and row.first <= event.seq <= row.last
    ]


def _essence(row: ActionRow, places: list[int], events: list[Event], screen: Screen) -> Essence:
    place = (round(row.x * screen.width), round(row.y * screen.height)) if row.x >= 0 else None
    path = trace(row, events) if row.kind in (ActionKind.DRAG, ActionKind.SCROLL) else []
    steps = [step if row.kind is ActionKind.SCROLL else step[:2] for step in path]
    return row.kind.value.lower(), places[row.first], row.button, place, steps, pyautogui(row)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_recording_of_our_own_gives_its_gold_actions(rules: Rules) -> None:
    gold = [
        (row["action"], row["event_start_idx"], row["button"], tuple(row["coordinate"]) if row["coordinate"] else None,
         [tuple(step) for step in row["trace"]], row["code"])
        for row in lines(DESK / "gold.jsonl")
    ]  # fmt: skip
    assert reduced(DESK, rules) == gold


@pytest.mark.skipif(not OPENCUA.is_dir(), reason="the public recordings lie beside the project and are not here")
def test_a_public_recording_gives_its_own_gold_actions(rules: Rules) -> None:
    wanted = [
        _gold(row, code["code"])
        for row, code in zip(lines(OPENCUA / "gold_reduced.jsonl"), lines(OPENCUA / "gold_pyautogui.jsonl"), strict=True)
    ]
    assert len(wanted) == 7
    assert reduced(OPENCUA, rules) == wanted


def _gold(row: dict[str, Any], code: str) -> Essence:
    steps: list[tuple[int, ...]] = [tuple(step) for step in row.get("drag_trace", [])]
    place = row.get("coordinate")
    if row["action"] == "scroll":
        steps, place = [tuple(step[name] for name in ("x", "y", "dx", "dy")) for step in row["trace"]], row["trace"][0]
    return row["action"], row["event_start_idx"], row.get("button", ""), (place["x"], place["y"]), steps, code


def test_what_has_no_place_is_no_call() -> None:
    assert pyautogui(ActionRow(ActionKind.CLICK, 0, 0, "editor", "left")) == ""
    assert pyautogui(ActionRow(ActionKind.SWITCH, 0, 0, "editor", text="a title")) == ""
    middle = ActionRow(ActionKind.DOUBLE_CLICK, 0, 0, "editor", "middle", 0.5, 0.25)
    assert pyautogui(middle) == "pyautogui.doubleClick(x=0.5, y=0.25, button='middle')"
    assert pyautogui(ActionRow(ActionKind.HOTKEY, 0, 0, "editor", keys=("cmd", "page_up"))) == (
        "pyautogui.hotkey(keys=['command', 'pageup'])"
    )
