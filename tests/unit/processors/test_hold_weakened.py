"""Each rule of the hold, taken away: some check must see it. A check that passes on a weakened hold proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keystrokes
import pytest
from typed_sessions import EDITOR, TERMINAL, focused, run, typed

from byleave.core.batches import Boundary, Content
from byleave.core.events import KeyEvent, PointerEvent
from byleave.core.rows import KEY_ROW
from byleave.processors import hold, session
from byleave.processors.hold import Hold
from byleave.processors.reassemble import Field, Item, Outcome
from byleave.processors.reduce import Rows
from byleave.processors.session import Rules
from byleave.processors.waiting import Waiting

Patch = Callable[[pytest.MonkeyPatch], None]
ADDRESS = "anna.kowalczyk@example.org"


def overlapping_keys_are_one_text(rules: Rules) -> None:
    events = typed(keystrokes.simulate(f"mail {ADDRESS} now\n", (), 3, keystrokes.CLEAN))
    assert run(events, rules).texts() == ["mail <EMAIL> now"]


def a_pause_is_no_boundary(rules: Rules) -> None:
    assert run(focused(["mail anna", ("wait", 8_000), ".kowalczyk@example.org now\n"]), rules).texts() == ["mail <EMAIL> now"]


def a_token_is_judged_with_what_stood_before_it(rules: Rules) -> None:
    scene: list[object] = ["my number is 219-0", ("focus", TERMINAL, 2), "ls\n", ("focus", EDITOR, 1), "9 9999\n"]
    assert not any("9999" in text for text in run(focused(scene), rules).texts())


def deleted_text_never_leaves(rules: Rules) -> None:
    out = run(focused(["good plan", "\b" * 4, "morning\n"]), rules)
    assert out.texts() == ["good morning"]


def cuts_change_nothing(rules: Rules) -> None:
    events = typed(keystrokes.simulate(f"mail {ADDRESS} now\n", (), 3, keystrokes.NORMAL))
    whole = run(events, rules)
    for cut in range(1, len(events), 7):
        assert run(events, rules, [cut]).rows == whole.rows


def a_level_only_rises(rules: Rules) -> None:
    assert run(focused(["my ssn is 219-09-9999\n", "good morning\n"]), rules).texts() == []


def what_comes_later_leaves_later(rules: Rules) -> None:
    out = run(focused(["good ", ("move", 5, 6), "morning"]), rules, end=Boundary.NONE)
    assert out.rows.get((Content.EVENTS, 1)) is None
    whole = run(focused(["good ", ("move", 5, 6), "morning\n"]), rules)
    kinds = [row.kind for (content, _), rows in whole.rows.items() if content is Content.EVENTS for row in rows]
    assert kinds.count(KEY_ROW) == len("good morning") + 1


def a_lost_caret_keeps_the_token_in_doubt(rules: Rules) -> None:
    scene: list[object] = ["mail wkow", ("click", 5, 5), "ski now\n"]
    assert not any("ski" in text for text in run(focused(scene), rules).texts())


def a_deletion_keeps_the_hold_alive(rules: Rules) -> None:
    scene: list[object] = ["good plan"]
    for _ in range(4):
        scene += [("wait", 9_000), "\b"]
    assert "".join(run(focused([*scene, "the team\n"]), rules).texts()) == "good the team"


def flush_when_no_key_is_down(patch: pytest.MonkeyPatch) -> None:
    original = Hold.key

    def key(self: Hold, event: KeyEvent, rules: Rules, rows: Rows) -> None:
        original(self, event, rules, rows)
        if not self.down:
            self.decide(rules, rows)

    patch.setattr(Hold, "key", key)


def flush_after_a_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(hold, "HOLD_MS", 5_000)


def carry_nothing_over(patch: pytest.MonkeyPatch) -> None:
    def remember(*_: object, **__: object) -> None:
        """Nothing."""

    patch.setattr(Field, "remember", remember)


def forget_a_deletion(patch: pytest.MonkeyPatch) -> None:
    def erase(self: Field, low: int, high: int) -> None:
        self.caret = high

    patch.setattr(Field, "_erase", erase)


def decide_each_batch(patch: pytest.MonkeyPatch) -> None:
    original = session._apply

    def apply(state: Any, batch: Any, rules: Rules, rows: Rows) -> None:
        original(state, batch, rules, rows)
        state.hold.decide(rules, rows)

    patch.setattr(session, "_apply", apply)


def let_the_level_fall(patch: pytest.MonkeyPatch) -> None:
    original = Hold._decide

    def decide(self: Hold, *args: Any) -> None:
        self.piece.level = 0
        original(self, *args)

    patch.setattr(Hold, "_decide", decide)


def drop_the_order(patch: pytest.MonkeyPatch) -> None:
    def settle(self: Waiting, rows: Rows) -> None:
        ready = [item for item in self.items if item.outcome is not Outcome.PENDING]
        self.items = [item for item in self.items if item.outcome is Outcome.PENDING]
        for item in ready:
            self._leave(item, rows)

    def take(self: Waiting, item: Item, rows: Rows) -> None:
        self._leave(item, rows)

    patch.setattr(Waiting, "settle", settle)
    patch.setattr(Waiting, "take", take)


def trust_the_caret_after_a_click(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Field, "lose_caret", lambda self: self.remember(" "))


def take_deleting_for_silence(patch: pytest.MonkeyPatch) -> None:
    original = Hold._withheld

    def withheld(self: Hold, event: KeyEvent | PointerEvent) -> None:
        newest_ms = self.piece.newest_ms
        original(self, event)  # type: ignore[arg-type]
        self.piece.newest_ms = newest_ms

    patch.setattr(Hold, "_withheld", withheld)


WEAKENED: list[tuple[Patch, Callable[[Rules], None]]] = [
    (flush_when_no_key_is_down, overlapping_keys_are_one_text),
    (flush_after_a_pause, a_pause_is_no_boundary),
    (carry_nothing_over, a_token_is_judged_with_what_stood_before_it),
    (forget_a_deletion, deleted_text_never_leaves),
    (decide_each_batch, cuts_change_nothing),
    (let_the_level_fall, a_level_only_rises),
    (drop_the_order, what_comes_later_leaves_later),
    (trust_the_caret_after_a_click, a_lost_caret_keeps_the_token_in_doubt),
    (take_deleting_for_silence, a_deletion_keeps_the_hold_alive),
]


@pytest.mark.parametrize(("weaken", "check"), WEAKENED, ids=[weaken.__name__ for weaken, _ in WEAKENED])
def test_a_weakened_hold_is_caught(
    rules: Rules, monkeypatch: pytest.MonkeyPatch, weaken: Patch, check: Callable[[Rules], None]
) -> None:
    check(rules)
    weaken(monkeypatch)
    with pytest.raises(AssertionError):
        check(rules)
