"""What is said of a click's target and of a stated task: what any text may say, and nothing else changes (P5, ruling 27)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from typed_sessions import START_MS, focused, run, window

from byleave.core.batches import Content
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, PointerEvent
from byleave.core.rows import ActionKind
from byleave.core.targets import Target
from byleave.processors.session import Rules

SAVE = Target("button", 1, 2, 30, 40, "Save")


def clicked(*targets: Target | None, gap_ms: int = 1_000, title: str = "") -> list[Event]:
    """A click on each, in an editor."""
    events: list[Event] = [FocusEvent(0, START_MS, window(title=title))]
    for n, target in enumerate(targets):
        at_ms, seq = START_MS + 1_000 + n * gap_ms, 1 + 2 * n
        events.append(PointerEvent(seq, at_ms, Kind.BUTTON_DOWN, 100, 50, 1, target=target))
        events.append(PointerEvent(seq + 1, at_ms + 50, Kind.BUTTON_UP, 100, 50, 1))
    return events


def said(events: Sequence[Event], rules: Rules, *levels: int) -> list[Target | None]:
    """The targets of the actions, the same however the input is cut and the state is stored in between."""
    whole = run(events, rules)
    assert run(events, rules, range(len(events)), reload=True).rows == whole.rows
    return [row.target for row in whole.actions(*levels)]


def test_a_label_of_everyday_words_stays_and_is_of_the_level_of_text(rules: Rules) -> None:
    assert said(clicked(SAVE), rules, 2) == [SAVE]


def test_a_click_on_something_unknown_is_of_the_level_that_it_had(rules: Rules) -> None:
    assert said(clicked(Target(), None), rules, 1) == [Target(), None]


@pytest.mark.parametrize(
    ("label", "left"),
    [("Write to ann.smith@example.com", "Write to <EMAIL>"), ("Page 3", "Page 3"), ("", "")],
)
def test_a_label_passes_the_gate_as_any_text_does(rules: Rules, label: str, left: str) -> None:
    [target] = said(clicked(replace(SAVE, label=label)), rules)
    assert target is not None
    assert target.label == left
    assert target.box == SAVE.box


def test_of_a_secret_label_only_role_and_place_are_left(rules: Rules) -> None:
    out = run(clicked(replace(SAVE, label="ssn 219-09-9999")), rules)
    [row] = out.actions()
    assert row.target == replace(SAVE, label="")
    assert b"219" not in b"".join(out.bodies)


def test_a_label_about_people_takes_its_click_to_review(rules: Rules) -> None:
    out = run(clicked(replace(SAVE, label="Salary review of Ann Smith, 84,000 a year")), rules)
    assert out.actions(1, 2) == []
    assert (out.account.reviewed, out.account.held) == (len(out.actions(3)), 0)


def test_clicks_that_join_are_on_what_the_first_was_on(rules: Rules) -> None:
    [row] = run(clicked(SAVE, Target("link", label="Open"), gap_ms=200), rules).actions()
    assert (row.kind, row.target) == (ActionKind.DOUBLE_CLICK, SAVE)


def test_with_targets_taken_away_the_rows_are_those_without(rules: Rules) -> None:
    events = clicked(Target(), Target("button", 5, 6, 7, 8), Target(), gap_ms=300)
    bare = [replace(event, target=None) if isinstance(event, PointerEvent) else event for event in events]
    assert [replace(row, target=None) for row in run(events, rules).actions()] == run(bare, rules).actions()
    assert run(events, rules).rows[Content.EVENTS, 1] == run(bare, rules).rows[Content.EVENTS, 1]


def stated(*tasks: str) -> list[Event]:
    events = focused(["good morning "])
    for task in tasks:
        events.append(KeyEvent(len(events), events[-1].at_ms + 500, Kind.TASK, task))
    return events


def test_a_stated_task_begins_an_episode_and_its_end_is_said(rules: Rules) -> None:
    out = run(stated("file an expense for ann.smith@example.com", ""), rules)
    [begun], [done] = out.marks(ActionKind.TASK), out.marks(ActionKind.TASK_DONE)
    assert (begun.text, begun.app, begun.redactions) == ("file an expense for <EMAIL>", "", ("EMAIL",))
    assert (done.kind, done.text) == (ActionKind.TASK_DONE, "")
    assert out.account.labels == {"EMAIL": 1}
    assert out.account.held == 0
    events = stated("file an expense", "")
    assert run(events, rules, range(len(events)), reload=True).rows == run(events, rules).rows


def test_a_task_with_a_secret_in_it_begins_an_episode_without_words(rules: Rules) -> None:
    out = run(stated("enter ssn 219-09-9999"), rules)
    assert [row.text for row in out.marks(ActionKind.TASK)] == [""]
    assert b"219" not in b"".join(out.bodies)


def test_a_task_may_be_stated_where_nothing_is_known_of_the_window(rules: Rules) -> None:
    out = run([FocusEvent(0, START_MS, window("no-such-app")), KeyEvent(1, START_MS + 1, Kind.TASK, "file an expense")], rules)
    assert [row.text for row in out.marks(ActionKind.TASK)] == ["file an expense"]
