"""Collected is not promised: the endpoint measures what it is about to seal, and stops (P1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from byleave.control.promised import FIELDS, fields_of
from byleave.core import metrics
from byleave.core.batches import Boundary
from byleave.core.events import FocusEvent, KeyEvent, Kind, Modifiers, PointerEvent, Screen, Window
from byleave.producers.gate import Answer
from byleave.producers.hooks.replay import Timeline
from byleave.producers.hooks.source import Observed
from byleave.producers.scope import Scope

EDITOR, TITLE = Window(7, "editor", layout="us"), "Diagnosis of Anna Kowalczyk"


class Gossip(Timeline):
    """A source that tells titles though it was told not to."""

    def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:  # noqa: ARG002 - that is its fault
        super().start(now_ms, titles=True, targets=targets)


def typed(at_ms: int, text: str) -> list[Observed]:
    return [Observed(at_ms + 100 * n, Kind.PRESS, key=char) for n, char in enumerate(text)]


def talk(second: Window) -> list[Observed]:
    return [
        Observed(0, Kind.FOCUS, window=EDITOR), *typed(500, "fine"), Observed(4_000, Kind.FOCUS, window=second),
        *typed(4_500, "zanquavel"), Observed(9_000, Kind.FOCUS, window=EDITOR), *typed(9_500, "after"),
    ]  # fmt: skip


def found() -> float:
    return metrics.DRIFT.labels("endpoint")._value.get()


def texts(published) -> str:
    return "".join(e.key for _, events in published for e in events if isinstance(e, KeyEvent))


def stopped(b, world, folder: Path, part: str) -> None:
    """Off, in one sentence; the session is closed in order, and nothing of what was found stands anywhere."""
    report = b.agent.report()
    assert (report["capturing"], report["answer"], report["drift"]) == (False, Answer.DRIFT.value, part)
    assert not b.source.alive
    assert report["sessions"] == 1
    published = world.published()
    assert texts(published) == "fine"
    assert published[-1][0].boundary is Boundary.END
    told = sum(len(events) for _, events in published) + sum(header.gap for header, _ in published)
    assert told == report["captured"] == published[-1][0].seq_end, "every number arrived or is a declared gap"
    for secret in (TITLE.encode(), b"zanquavel", b"payroll"):
        assert not [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
        assert secret.decode() not in repr((report, b.agent))


def test_a_source_that_suddenly_tells_titles_ends_capture_and_no_title_is_sealed(world, bench, tmp_path: Path) -> None:
    before = found()
    b = bench(Gossip(talk(replace(EDITOR, title=TITLE)), Screen(800, 600)))
    b.run(40_000)
    stopped(b, world, tmp_path, "title")
    assert found() == before + 1


def test_a_filter_that_lets_more_through_than_was_promised_is_found_out_by_what_it_let_through(
    world, bench, tmp_path: Path
) -> None:
    b = bench(Timeline(talk(Window(8, "payroll", layout="us")), Screen(800, 600)))
    b.run(2_000)
    b.agent._books.scope = Scope(replace(world.manifest, applications=("editor", "payroll")))
    b.agent._books.scope.admit(Observed(0, Kind.FOCUS, window=EDITOR))
    b.run(40_000)
    stopped(b, world, tmp_path, "application")


def test_after_a_finding_only_a_new_manifest_or_a_new_process_captures(world, bench) -> None:
    b = bench(Gossip(talk(replace(EDITOR, title=TITLE)), Screen(800, 600)))
    b.run(30_000)
    assert b.agent.report()["answer"] == Answer.DRIFT.value
    again = bench(Timeline([Observed(0, Kind.FOCUS, window=EDITOR)], Screen(1, 1)))
    again.run(3_000)
    assert again.agent.capturing
    world.manifest = replace(world.manifest, title="another", kinds=("key", "window", "title"))
    b.tell(world.allow())
    b.run(3_000)
    assert b.agent.report()["answer"] == Answer.NO_CONSENT.value, "it is another promise, and nobody has agreed to it"
    world.consent()
    b.run(3_000)
    assert b.agent.capturing


FULL = [
    Observed(0, Kind.FOCUS, window=replace(EDITOR, title="a title", site="wiki.example")),
    Observed(600, Kind.MOVE, 10, 20), Observed(700, Kind.BUTTON_DOWN, 10, 20, 3),
    Observed(800, Kind.SCROLL, 10, 20, dx=1, dy=2),
    Observed(900, Kind.PRESS, key="A", modifiers=Modifiers.SHIFT),
]  # fmt: skip
WHERE = {"window": FocusEvent, "title": FocusEvent, "pointer": PointerEvent, "key": KeyEvent}


@pytest.mark.parametrize("field", [name for name in FIELDS if name.partition(".")[0] in WHERE])
def test_a_field_that_the_manifest_leaves_out_leaves_the_endpoint_blank(world, bench, field: str) -> None:
    """Each field left out by itself: every event of its kind comes, without it."""
    kinds = ("pointer", "key", "window", "title")
    named = tuple(name for name in fields_of(kinds) if name != field)
    world.manifest = replace(world.manifest, kinds=kinds, fields=named, dpia_sha256="0" * 64, sites=("wiki.example",))
    b = bench(Timeline(FULL, Screen(800, 600)))
    b.tell(world.allow())
    world.now += 1
    world.consent()
    b.run(4_000)
    assert b.agent.capturing, b.agent.report()["answer"]
    b.agent.finish()
    b.run(100)
    events = [event for _, events in world.published() for event in events]
    assert [event.kind for event in events] == [event.kind for event in FULL]
    told = {name for event in events for name in tells(event)}
    for name, parts in FIELDS.items():
        if name.partition(".")[0] in WHERE:
            expected = "blank" if name == field else "told"
            assert ("blank" if not told & parts.keys() else "told") == expected or name == "window.number", name


def tells(event) -> list[str]:
    owner = event.window if isinstance(event, FocusEvent) else event
    return [name for name in owner.__dataclass_fields__ if getattr(owner, name)]
