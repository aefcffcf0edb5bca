"""What the person says that they do, and what their clicks were on: sealed with the rest, only where it was agreed to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from byleave.core.errors import Refused
from byleave.core.events import KeyEvent, Kind, PointerEvent, Screen, Window
from byleave.core.targets import Target
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed
from byleave.producers.task import TEXT_CHARS_MAX, stated

SAVE = Target("button", 1, 2, 30, 40, "Save")
SCENE = [
    Observed(0, Kind.FOCUS, window=Window(7, "editor", layout="us")), Observed(1_000, Kind.BUTTON_DOWN, 3, 4, 1),
    Observed(1_050, Kind.BUTTON_UP, 3, 4, 1), Observed(1_000, Kind.TARGET, target=SAVE), Observed(6_000, Kind.MOVE, 5, 5),
]  # fmt: skip


def capturing(world, bench, *more: str):
    """An agent under a manifest of these kinds too, capturing."""
    world.manifest = replace(world.manifest, kinds=(*world.manifest.kinds, *more))
    made = bench(Timeline(sorted(SCENE, key=lambda event: event.at_ms), Screen(100, 100)))
    made.tell(world.allow())
    world.now += 1
    world.consent()
    made.run(500)
    assert made.agent.capturing
    return made


def events(world) -> list[object]:
    return [event for _, some in world.published() for event in some]


def test_a_task_is_sealed_among_the_events_and_so_is_its_end(world, bench) -> None:
    made = capturing(world, bench, "task")
    assert stated(made.agent, {"text": " file an\nexpense "}) == {"stated": True}
    made.run(3_000)
    assert stated(made.agent, {"text": ""}) == {"stated": False}
    made.run(2_000)
    tasks = [event.key for event in events(world) if isinstance(event, KeyEvent) and event.kind is Kind.TASK]
    assert tasks == ["file an expense", ""]


def test_a_task_is_refused_where_it_was_not_agreed_to_is_too_long_or_nothing_is_captured(world, bench) -> None:
    made = capturing(world, bench)
    with pytest.raises(Refused, match="does not name tasks"):
        stated(made.agent, {"text": "file an expense"})
    with pytest.raises(Refused, match="say it shorter"):
        stated(made.agent, {"text": "x" * (TEXT_CHARS_MAX + 1)})
    made.switches = replace(made.switches, paused=True)
    made.run(100)
    with pytest.raises(Refused, match="nothing is captured"):
        stated(made.agent, {"text": "file an expense"})
    assert not [event for event in events(world) if isinstance(event, KeyEvent)]


def test_a_task_whose_text_nobody_could_write_down_is_refused_and_capture_goes_on(world, bench) -> None:
    made = capturing(world, bench, "task")
    with pytest.raises(Refused, match="cannot be written down"):
        stated(made.agent, {"text": "file \udce9xpense"})
    made.run(3_000)
    assert made.agent.capturing


@pytest.mark.parametrize(("kinds", "target"), [(("target",), SAVE), ((), None)])
def test_a_click_is_sealed_with_what_it_was_on_if_that_was_agreed_to(world, bench, kinds, target: Target | None) -> None:
    capturing(world, bench, *kinds).run(4_000)
    clicks = [e for e in events(world) if isinstance(e, PointerEvent) and e.kind is Kind.BUTTON_DOWN]
    assert [click.target for click in clicks] == [target]
