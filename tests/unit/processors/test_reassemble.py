"""The text-field model against a plain one, and against the simulator's truth."""

from __future__ import annotations

import keystrokes
from hypothesis import given, settings
from hypothesis import strategies as st

from byleave.core.events import Modifiers
from byleave.core.rows import KeyClass
from byleave.processors.keyboard import NAMED, is_command, plain_key
from byleave.processors.reassemble import PASTED, TEXT, Field, Item, Outcome


class PlainField:
    """A text field as every toolkit has one: the independent answer."""

    def __init__(self) -> None:
        self.text, self.caret, self.anchor = "", 0, 0

    def _replace(self, text: str, low: int | None = None, high: int | None = None) -> None:
        if low is None or high is None:
            low, high = sorted((self.caret, self.anchor))
        self.text = self.text[:low] + text + self.text[high:]
        self.caret = self.anchor = low + len(text)

    def do(self, act: str) -> None:
        picked = self.caret != self.anchor
        if act.startswith("type "):
            self._replace(act[5:])
        elif act == "backspace":
            self._replace("", *(() if picked else (max(0, self.caret - 1), self.caret)))
        elif act == "delete":
            self._replace("", *(() if picked else (self.caret, min(len(self.text), self.caret + 1))))
        elif act == "all":
            self.anchor, self.caret = 0, len(self.text)
        else:
            self._go(act.removeprefix("select "), act.startswith("select "), picked)

    def _go(self, key: str, select: bool, picked: bool) -> None:
        low, high = sorted((self.caret, self.anchor))
        if not select and picked and key in ("left", "right"):
            self.caret = self.anchor = low if key == "left" else high
            return
        step = {"left": self.caret - 1, "right": self.caret + 1, "home": 0, "end": len(self.text)}[key]
        self.caret = min(max(step, 0), len(self.text))
        if not select:
            self.anchor = self.caret


ACTS = ["type a", "type b", "type c", "type paste", "backspace", "delete", "all", *(f"{how}{key}" for how in ("", "select ")
        for key in ("left", "right", "home", "end"))]  # fmt: skip


def drive(field: Field, act: str, owners: list[Item]) -> bool:
    """Does `act`; False where the model says that it does not know."""
    if act.startswith("type "):
        text = act[5:]
        owners.append(Item(TEXT, len(owners), "", 2, data=PASTED if len(text) > 1 else None))
        field.insert(text, owners[-1])
        return True
    if act == "all":
        return field.select_all()
    if act in ("backspace", "delete"):
        return field.backspace() if act == "backspace" else field.delete()
    return field.move(act.removeprefix("select "), act.startswith("select "))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(ACTS), max_size=40))
def test_as_long_as_the_model_claims_to_know_it_is_a_plain_text_field(acts: list[str]) -> None:
    field, plain, owners = Field(), PlainField(), []
    for act in acts:
        known = drive(field, act, owners)
        if not known:
            break
        plain.do(act)
        assert "".join(field.chars) == plain.text
        assert field.caret == plain.caret
    kept = set(map(id, field.owners))
    for owner in owners:
        assert (owner.outcome is Outcome.WITHHELD) == (id(owner) not in kept), "withheld is what is gone, and nothing else"


def test_a_simulated_typists_final_text_is_rebuilt_with_its_origins() -> None:
    text = "Please send the notes to Ana Ruiz, not to me.\tThanks! NDA (call me)"
    names = {"backspace": "backspace", "left": "left", "right": "right", "home": "home", "end": "end", "delete": "delete"}
    for seed in range(60):
        simulation = keystrokes.simulate(text, (), seed, keystrokes.Profile(typo=0.2, arrow_fix=0.3, word_delete=0.2))
        field = Field()
        for event in simulation.events:
            if event.text:
                field.insert(event.text, Item(TEXT, event.index, "", 2))
            elif event.kind == "ctrl_backspace":
                field.backspace(word=True)
            elif event.kind in ("backspace", "delete"):
                assert field.backspace() if event.kind == "backspace" else field.delete()
            elif event.kind in names:
                assert field.move(event.kind, select=False)
        assert "".join(field.chars) == simulation.text
        assert [owner.at_ms for owner in field.owners] == simulation.origin


def test_a_partly_deleted_paste_stays_until_nothing_of_it_is_left() -> None:
    field, owner = Field(), Item(TEXT, 0, "", 2, data=PASTED)
    field.insert("ab", owner)
    assert field.backspace()
    assert owner.outcome is Outcome.PENDING
    assert field.backspace()
    assert owner.outcome is Outcome.WITHHELD


def test_deleting_beyond_the_piece_is_said() -> None:
    field = Field(context="final text")
    assert not field.backspace()
    assert field.context == "final tex"
    assert not field.backspace(word=True)


def test_the_caret_beyond_the_piece_is_unknown() -> None:
    after_click = Field(anchored=False, open_left=True)
    for key in ("left", "right", "home", "end"):
        after_click.insert("x", Item(TEXT, 0, "", 2))
        after_click.caret = 0 if key == "left" else 1
        assert not after_click.move(key, select=False)
        after_click.clear()


def test_alt_gr_and_the_option_key_put_text() -> None:
    for modifiers in (Modifiers.ALTGR, Modifiers.ALTGR | Modifiers.ALT, Modifiers.CONTROL | Modifiers.ALT):
        assert not is_command("@", modifiers)
    assert not is_command("é", Modifiers.ALT)
    assert is_command("f", Modifiers.ALT)
    assert is_command("v", Modifiers.CONTROL)
    assert is_command("f4", Modifiers.ALT)


def test_control_characters_are_read_as_their_letter_or_not_at_all() -> None:
    assert plain_key("\x03", Modifiers.CONTROL) == "c"
    assert plain_key("\x03", Modifiers.NONE) == ""
    assert plain_key("\r", Modifiers.NONE) == "enter"
    assert NAMED["left"] is KeyClass.NAVIGATION
