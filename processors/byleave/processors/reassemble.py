"""Key events to the text of a field: a plain text-field model with an owner for each character.

Promises  a character that was deleted while held is marked as withheld and is in no later text; where the model cannot know
          what the field holds, it says so (returns False) instead of guessing, and the caller ends the stretch there.

A *field* is what one window shows under the caret since the last tab, click or (where enter submits) enter. Its *piece* is the
text typed since the last boundary: held, and still changeable. Its `context` is the tail of what became final before the piece,
or before the caret was lost; it is read by the detectors, never written again. In it a blank stands for a lost caret, or an
unknown character if what was removed there may go on; a tab for a new field.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from byleave.core.levels import Level

UNKNOWN_CHAR = "\ufffd"
"""Stands for a key that is not known: the token around it is never released."""
CONTEXT_CHARS_MAX = 120
PASTED, REDACTED = "pasted", "redacted"
"""`data` of text items that are no single key with a row of its own."""


_LAST_WORD, _LAST_LINE = re.compile(r"\S*\s*\Z"), re.compile(r"[^\n]*\Z")


class Outcome(IntEnum):
    """What became of an event; the counters of the account. PENDING is the account's `held`."""

    PENDING = 0
    KEPT = 1
    REVIEWED = 2
    LEVEL4 = 3
    DROPPED = 4
    WITHHELD = 5

    @classmethod
    def of(cls, level: int) -> Outcome:
        """What becomes of an event of this level."""
        return cls.KEPT if level <= Level.INTERNAL else cls.REVIEWED if level == Level.PEOPLE else cls.LEVEL4


@dataclass(slots=True, eq=False)
class Item:
    """One place in a session's sequence: an event that waits for its turn, with those that share its fate.

    `count` is 0 once the item is settled. `data` is what it becomes: a pointer event, a key's name, or for text None. `seq` is
    the event's number.
    """

    kind: int
    at_ms: int
    app: str
    level: int
    outcome: Outcome = Outcome.PENDING
    count: int = 1
    data: Any = field(default=None, repr=False)
    seq: int = -1

    @property
    def replaced(self) -> bool:
        """Whether it went on as a part of a placeholder: its text is gone."""
        return self.kind == TEXT and self.data == REDACTED and self.outcome in (Outcome.KEPT, Outcome.REVIEWED)


TEXT, POINTER, KEY, TYPED = range(4)
"""Kinds of item. TYPED is a decided stretch: `data` is its action row."""


@dataclass(slots=True, eq=False)
class Field:
    """The text field under the caret.

    `anchored`: the text before the piece is `context` and nothing else, so that home and ctrl+a are known.
    `open_left`: the piece may continue a token that was never seen (after a click).
    `torn`: what was decided last was removed up to the caret or around it, and may go on.
    `disturbed`: something was withheld from the piece, so that its times would tell how much.
    """

    app: str = ""
    level: int = 0
    context: str = field(default="", repr=False)
    anchored: bool = True
    open_left: bool = False
    torn: bool = False
    disturbed: bool = False
    chars: list[str] = field(default_factory=list, repr=False)
    owners: list[Item] = field(default_factory=list, repr=False)
    caret: int = 0
    anchor: int = -1
    newest_ms: int = 0
    check_chars: int = 0
    check_ms: int = 0

    def insert(self, text: str, owner: Item) -> None:
        """Puts `text` at the caret, over the selection if there is one."""
        if self.anchor >= 0:
            self.erase_selection()
        if self.caret == len(self.chars):
            if len(text) == 1:
                self.chars.append(text)
                self.owners.append(owner)
            else:
                self.chars.extend(text)
                self.owners.extend([owner] * len(text))
        else:
            self.chars[self.caret : self.caret] = text
            self.owners[self.caret : self.caret] = [owner] * len(text)
        self.caret += len(text)
        self.newest_ms = owner.at_ms

    def backspace(self, word: bool = False, line: bool = False) -> bool:
        """False if the deletion reached text that is final or unknown; what of it was held is gone all the same."""
        if self.anchor >= 0:
            return self.erase_selection() or self.backspace(word, line)
        to = self._line_start() if line else self._word_start() if word else self.caret - 1
        beyond = to < 0 or ((word or line) and to == 0 and not self._starts_line())
        if self.caret > 0:
            self._erase(max(to, 0), self.caret)
        if beyond and not self.open_left:
            before = self.context
            self.context = _LAST_LINE.sub("", before) if line else _LAST_WORD.sub("", before) if word else before[:-1]
        return not beyond

    def delete(self, word: bool = False) -> bool:
        """Deletes to the right. At the end of the piece nothing is known to stand there, so nothing is deleted."""
        if self.anchor >= 0:
            return self.erase_selection() or self.delete(word)
        if self.caret == len(self.chars):
            return self.anchored
        self._erase(self.caret, self._word_end() if word else self.caret + 1)
        return True

    def delete_to_end(self) -> None:
        """Deletes to the end of the line."""
        self._erase(self.caret, self._line_end())

    def erase_selection(self) -> bool:
        """Whether a selection of some length was there; it is gone."""
        low, high = sorted((self.anchor, self.caret))
        self.anchor = -1
        self._erase(low, high)
        return high > low

    def move(self, key: str, select: bool, word: bool = False) -> bool:
        """Left, right, home or end. False: the caret left the piece, and nobody knows where it is."""
        if select and self.anchor < 0:
            self.anchor = self.caret
        elif not select and self.anchor >= 0:
            low, high = sorted((self.anchor, self.caret))
            self.anchor = -1
            if key in ("left", "right") and high > low:
                self.caret = low if key == "left" else high
                return True
        if key == "home":
            self.caret = self._line_start()
            return self.caret > 0 or self._starts_line()
        if key == "end":
            self.caret = self._line_end()
            return self.caret < len(self.chars) or self.anchored
        step = 1 if key == "right" else -1
        to = self.caret + step if not word else self._word_start() if key == "left" else self._word_end()
        if not 0 <= to <= len(self.chars):
            return False
        self.caret = to
        return True

    def select_all(self) -> bool:
        """Selects the piece. True if the piece is all that the field holds."""
        self.anchor, self.caret = 0, len(self.chars)
        return self.anchored and not self.context

    def clear(self) -> None:
        """Empties the piece without telling its owners: they were decided."""
        self.chars.clear()
        self.owners.clear()
        self.caret, self.anchor, self.disturbed = 0, -1, False
        self.check_chars = self.check_ms = 0

    def release(self, cut: int) -> None:
        """The first `cut` characters are final: they were decided."""
        self.remember("".join(self.chars[:cut]))
        del self.chars[:cut], self.owners[:cut]
        self.caret, self.anchor, self.open_left = self.caret - cut, -1, False

    def drop_open_token(self) -> None:
        """Drops the token that the piece ends in: its end never came."""
        first = next((to for to in range(len(self.chars), 0, -1) if self.chars[to - 1].isspace()), 0)
        for owner in self.owners[first:]:
            owner.outcome = Outcome.DROPPED
        del self.chars[first:], self.owners[first:]
        self.caret, self.anchor = min(self.caret, first), -1

    def withhold(self) -> None:
        """Marks the whole piece as withheld and empties it: nobody knows what is left of it (undo)."""
        self._erase(0, len(self.chars))
        self.anchor = -1

    def remember(self, text: str, *, torn: bool = False) -> None:
        """`text` became final before the caret."""
        self.context, self.torn = (self.context + text)[-CONTEXT_CHARS_MAX:], torn

    def lose_caret(self) -> None:
        """What follows may stand anywhere. What was typed before stays a cue, and a removed token may go on."""
        if self.context and self.context[-1] not in (" ", UNKNOWN_CHAR):
            self.remember(UNKNOWN_CHAR if self.torn else " ", torn=self.torn)
        self.anchored, self.open_left = False, True

    def restart(self) -> None:
        """A new field, whose level starts anew; what was typed before it, perhaps its name, stays a cue."""
        self.clear()
        self.remember("\t")
        self.level, self.anchored, self.open_left = 0, True, False

    def whole_before(self, cut: int) -> int:
        """`cut`, or where the first paste begins that stands on both sides of it: an event is decided once."""
        after = set(map(id, self.owners[cut:]))
        return next((place for place, owner in enumerate(self.owners[:cut]) if id(owner) in after), cut)

    def compose(self, char: str) -> Item | None:
        """The dead key before the caret, if it and `char` are one letter: it stands there now."""
        owner = self.owners[self.caret - 1] if self.caret and self.anchor < 0 else None
        if owner is None or not is_dead(owner.data):
            return None
        letter = unicodedata.normalize("NFC", char + owner.data)
        if len(letter) > 1:
            return None
        self.chars[self.caret - 1], owner.data = letter, None
        return owner

    def _line_start(self) -> int:
        return next((to for to in range(self.caret, 0, -1) if self.chars[to - 1] == "\n"), 0)

    def _line_end(self) -> int:
        return next((to for to in range(self.caret, len(self.chars)) if self.chars[to] == "\n"), len(self.chars))

    def _starts_line(self) -> bool:
        return self.anchored and (not self.context or self.context[-1] == "\n")

    def _word_start(self) -> int:
        to = self.caret
        while to and self.chars[to - 1].isspace():
            to -= 1
        while to and not self.chars[to - 1].isspace():
            to -= 1
        return to

    def _word_end(self) -> int:
        to, size = self.caret, len(self.chars)
        while to < size and self.chars[to].isspace():
            to += 1
        while to < size and not self.chars[to].isspace():
            to += 1
        return to

    def _erase(self, low: int, high: int) -> None:
        gone = self.owners[low:high]
        del self.chars[low:high], self.owners[low:high]
        self.caret = low
        self.disturbed = self.disturbed or bool(gone)
        for owner in dict.fromkeys(gone):
            # A paste is one owner of many characters: it is withheld once none of them is left.
            if owner.data is None or owner not in self.owners:
                owner.outcome = Outcome.WITHHELD


def is_dead(data: object) -> bool:
    """Whether an item's `data` is a dead key's accent, which waits for its letter."""
    return isinstance(data, str) and len(data) == 1 and unicodedata.combining(data) > 0
