"""Events to actions: clicks, drags and scrolls by the endpoint's own stamps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typed_sessions import START_MS, focused, run, window

from byleave.core.batches import Content
from byleave.core.events import Event, FocusEvent, Kind, PointerEvent, Screen
from byleave.core.rows import ActionKind, ActionRow
from byleave.processors.session import Rules

SCREEN = Screen(1000, 500)
OPENCUA = Path(__file__).parents[3].parent / "shared/data/recordings/opencua-windows"


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


@pytest.mark.skipif(not OPENCUA.is_dir(), reason="the public recordings lie beside the project and are not here")
def test_a_public_recording_gives_its_own_gold_actions(rules: Rules) -> None:
    events: list[Event] = [FocusEvent(0, START_MS, window("explorer"))]
    for line in (OPENCUA / "events.jsonl").read_text("utf-8").splitlines():
        seen = json.loads(line)
        at = START_MS + round(1000 * (seen["time_stamp"] - 30_679.0))
        place = (round(seen["x"]), round(seen["y"])) if "x" in seen else (0, 0)
        if seen["action"] == "move":
            events.append(PointerEvent(len(events), at, Kind.MOVE, *place))
        elif seen["action"] == "click":
            kind = Kind.BUTTON_DOWN if seen["pressed"] else Kind.BUTTON_UP
            events.append(PointerEvent(len(events), at, kind, *place, {"left": 1, "middle": 2, "right": 3}[seen["button"]]))
        elif seen["action"] == "scroll":
            events.append(PointerEvent(len(events), at, Kind.SCROLL, *place, 0, int(seen["dx"]), int(seen["dy"])))
    found = run(events, rules, range(0, len(events), 250), screen=Screen(1366, 768)).actions()
    gold = [json.loads(line) for line in (OPENCUA / "gold_reduced.jsonl").read_text("utf-8").splitlines()]
    assert [_essence(row) for row in found] == [_gold(row) for row in gold]


def _essence(row: ActionRow) -> tuple[object, ...]:
    place = (round(row.x * 1366), round(row.y * 768))
    return (row.kind.value.lower(), row.button, place) if row.kind is not ActionKind.SCROLL else ("scroll", place, row.dy)


def _gold(row: dict[str, object]) -> tuple[object, ...]:
    if row["action"] == "scroll":
        trace: list[dict[str, int]] = row["trace"]  # type: ignore[assignment]
        return ("scroll", (trace[0]["x"], trace[0]["y"]), sum(step["dy"] for step in trace))
    place: dict[str, int] = row["coordinate"]  # type: ignore[assignment]
    return (row["action"], row["button"], (place["x"], place["y"]))
