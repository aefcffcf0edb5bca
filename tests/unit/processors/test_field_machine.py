"""A session against a plain text field, key by key: what stands in the field at a boundary is what is decided, and what was
deleted before it is in nothing that leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from typed_sessions import START_MS, balanced, window

from byleave.core.batches import Boundary
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Modifiers, PointerEvent
from byleave.core.rows import ActionKind, ActionRow
from byleave.processors.preview import batch_of
from byleave.processors.reduce import Rows
from byleave.processors.session import EndpointState, feed, load_rules

RULES = load_rules()
WORDS = ("good", "morning", "the", "plan", "team", "later")
CONTROL, SHIFT = Modifiers.CONTROL, Modifiers.SHIFT
Cell = tuple[str, int]
"""A character and the number of the event that put it there."""


@dataclass
class PlainField:
    """What was typed since the last boundary, as any text box has it. `start`: nothing stands before it but `before`, which is
    decided; `end`: nor behind."""

    cells: list[Cell] = field(default_factory=list)
    caret: int = 0
    anchor: int = 0
    start: bool = True
    end: bool = True
    before: str = ""

    @property
    def at_start(self) -> bool:
        """Whether home is known to lead to the first cell."""
        return self.start and self.before[-1:] in ("", "\n")

    @property
    def text(self) -> str:
        return "".join(char for char, _ in self.cells)

    def put(self, text: str, number: int) -> set[int]:
        gone = self.erase(*sorted((self.caret, self.anchor)))
        self.cells[self.caret : self.caret] = [(char, number) for char in text]
        self.caret = self.anchor = self.caret + len(text)
        return gone

    def erase(self, low: int, high: int) -> set[int]:
        touched = {number for _, number in self.cells[low:high]}
        del self.cells[low:high]
        self.caret = self.anchor = low
        return touched - {number for _, number in self.cells}

    def word(self, step: int) -> int:
        """Where a word step leads: over blanks, then over what is none."""
        at, text = self.caret, self.text
        for blank in (True, False):
            while 0 <= at - (step < 0) < len(text) and text[at - (step < 0)].isspace() is blank:
                at += step
        return at

    def delete(self, step: int, by_word: bool) -> set[int]:
        if self.caret != self.anchor:
            return self.erase(*sorted((self.caret, self.anchor)))
        to = self.word(step) if by_word else min(max(self.caret + step, 0), len(self.cells))
        if step < 0 and (self.caret == 0 if not by_word else to == 0 and not self.at_start):  # into what is decided
            self.before = re.sub(r"\S*\s*$", "", self.before) if by_word else self.before[:-1]
        return self.erase(*sorted((self.caret, to)))

    def move(self, key: str, select: bool, by_word: bool) -> bool:
        """False if the caret leaves what is known."""
        step = -1 if key in ("left", "home") else 1
        if not select and self.caret != self.anchor and key in ("left", "right"):
            self.caret = self.anchor = (min if step < 0 else max)(self.caret, self.anchor)
            return True
        if key in ("home", "end"):
            known = self.at_start if key == "home" else self.end
            to = 0 if key == "home" else len(self.cells)
        else:
            to = self.word(step) if by_word else self.caret + step
            known = 0 <= to <= len(self.cells)
        if known:
            self.caret = to
            self.anchor = self.anchor if select else to
        return known


class Typing(RuleBasedStateMachine):
    """Keys to both. `gone`: numbers of events whose text was deleted while it was held."""

    @initialize()
    def begin(self) -> None:
        self.state, self.plain, self.gone = EndpointState(), PlainField(), set[int]()
        self.seq, self.rows = 0, list[ActionRow]()
        self._feed(FocusEvent(0, START_MS, window()))

    def _feed(self, event: Event) -> list[ActionRow]:
        rows, self.seq = Rows(), self.seq + 1
        feed(self.state, batch_of([event], event.seq, event.at_ms), RULES, rows)
        balanced(self.state.account)
        found = [row for level in sorted(rows.actions) for row in rows.actions[level]]
        self.rows += found
        return found

    def _key(self, key: str, modifiers: Modifiers = Modifiers.NONE, kind: Kind = Kind.PRESS) -> list[ActionRow]:
        return self._feed(KeyEvent(self.seq, START_MS + 40 * self.seq, kind, key, modifiers))

    @rule(word=st.sampled_from(WORDS))
    def type_word(self, word: str) -> None:
        for char in f"{word} ":
            self.gone |= self.plain.put(char, self.seq)
            self._held(self._key("space" if char == " " else char))

    @rule(text=st.sampled_from(["good plan ", "team", "x"]))
    def paste(self, text: str) -> None:
        self.gone |= self.plain.put(text, self.seq)
        self._held(self._key(text, kind=Kind.PASTE))

    @rule(key=st.sampled_from(["backspace", "delete"]), by_word=st.booleans())
    def delete(self, key: str, by_word: bool) -> None:
        final = any(row.kind is not ActionKind.SWITCH for row in self.rows)
        final = final and key == "backspace" and self.plain.caret == self.plain.anchor == 0
        self.gone |= self.plain.delete(-1 if key == "backspace" else 1, by_word)
        self._held(self._key(key, CONTROL if by_word else Modifiers.NONE))

    @rule(key=st.sampled_from(["left", "right", "home", "end"]), select=st.booleans(), by_word=st.booleans())
    def move(self, key: str, select: bool, by_word: bool) -> None:
        by_word = by_word and key in ("left", "right")
        modifiers = (SHIFT if select else Modifiers.NONE) | (CONTROL if by_word else Modifiers.NONE)
        nothing = not self.plain.cells
        known = self.plain.move(key, select, by_word)
        found = self._key(key, modifiers)
        if nothing or not known:
            alone = nothing and key == "end" and self.plain.end
            self._decided(found, lost=not alone)

    @rule()
    def select_all(self) -> None:
        if self.plain.cells:
            self.plain.anchor, self.plain.caret = 0, len(self.plain.cells)
        else:
            self.plain.start = self.plain.end = False
        self._key("a", CONTROL)

    @rule()
    def cut(self) -> None:
        picked = self.plain.caret != self.plain.anchor
        if picked or self.state.hold.piece.anchor < 0:
            self.gone |= self.plain.erase(
                *(sorted((self.plain.caret, self.plain.anchor)) if picked else (0, len(self.plain.cells)))
            )
            self._key("x", CONTROL)
            if not picked:
                self._restart(lost=True)

    @rule()
    def undo(self) -> None:
        self.gone |= self.plain.erase(0, len(self.plain.cells))
        self._key("z", CONTROL)
        self._restart(lost=True)

    @rule()
    def click(self) -> None:
        self._decided(self._feed(PointerEvent(self.seq, START_MS + 40 * self.seq, Kind.BUTTON_DOWN, 5, 5, 1)), lost=True)

    @rule()
    def enter(self) -> None:
        middle = bool(self.plain.cells)
        self.gone |= self.plain.erase(*sorted((self.plain.caret, self.plain.anchor)))
        middle = middle and self.plain.caret < len(self.plain.cells)
        found = self._key("enter")
        ends = self.plain.end and not middle
        self._decided(found, lost=False)
        self.plain.start = self.plain.end = ends
        self.plain.before += "\n"

    def _held(self, found: list[ActionRow]) -> None:
        """No boundary: no text leaves."""
        assert not [row for row in found if row.kind is ActionKind.TYPE]

    def _decided(self, found: list[ActionRow], *, lost: bool) -> None:
        """A boundary: what stands in the field is what was decided."""
        alive, text = {number for _, number in self.plain.cells}, self.plain.text
        typed = [row for row in found if row.kind is ActionKind.TYPE]
        assert self.state.hold.piece.chars == []
        assert {number for row in typed for number in row.clear} <= alive
        if set(text.split()) <= set(WORDS) and (not text or (text.startswith(WORDS) and self.plain.at_start)):
            assert "".join(row.text for row in typed) == text
        self._restart(lost=lost)

    def _restart(self, *, lost: bool) -> None:
        known = self.plain
        self.plain = PlainField(start=not lost and known.start, end=not lost and known.end, before=known.before + known.text)

    @invariant()
    def the_piece_is_what_the_field_holds(self) -> None:
        piece = self.state.hold.piece
        assert "".join(piece.chars) == self.plain.text
        assert piece.caret == self.plain.caret
        assert [owner.seq for owner in piece.owners] == [number for _, number in self.plain.cells]

    @invariant()
    def nothing_deleted_is_in_what_left(self) -> None:
        assert not self.gone & {number for row in self.rows for number in row.clear}

    def teardown(self) -> None:
        if hasattr(self, "state"):
            rows = Rows()
            feed(self.state, batch_of([], self.seq, START_MS + 40 * self.seq, boundary=Boundary.END), RULES, rows)
            assert self.state.account.held == 0
            assert not self.gone & {number for level in rows.actions.values() for row in level for number in row.clear}


Typing.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestTyping = pytest.mark.slow(Typing.TestCase)
