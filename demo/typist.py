"""A typing hand: rhythm, slips and their repair, as a keyboard hook would see them. Pure; same arguments and seed, same events.

Timing and correction rates are fitted to aggregates of the Aalto "136M keystrokes" data (400 participants, 6,000 sentences,
282,871 keys: backspace 5.8 % of keys; run length 1/2/3/4/5+ = 54/26/10/5/5 %; inter-key interval p25/p50/p75/p95/p99 =
120/171/265/715/1297 ms; arrows 0.09 %). Nothing of that data is in here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("char", "enter", "tab", "paste", "backspace", "delete", "ctrl_backspace", "left", "right", "home", "end", "shift",
         "caps_lock", "click", "focus")  # fmt: skip
"""``char``, ``enter``, ``tab`` and ``paste`` put text into the field, ``focus`` changes the window."""

_ROWS = ("`1234567890-=", "qwertyuiop[]\\", "asdfghjkl;'", "zxcvbnm,./")
_SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./", strict=True))
_UNSHIFTED = {v: k for k, v in _SHIFTED.items()}
_RUN_LENGTHS = ((1, 538), (2, 256), (3, 105), (4, 52), (5, 22), (6, 11), (7, 8), (8, 8))


def _neighbours() -> dict[str, str]:
    near: dict[str, str] = {}
    for y, row in enumerate(_ROWS):
        for x, key in enumerate(row):
            around = [row[i] for i in (x - 1, x + 1) if 0 <= i < len(row)]
            for other in (y - 1, y + 1):
                if 0 <= other < len(_ROWS):
                    line = _ROWS[other]
                    around += [line[i] for i in (x, x + 1 if other < y else x - 1) if 0 <= i < len(line)]
            near[key] = "".join(around)
    return near


_NEAR = _neighbours()


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """One key-down (or paste, click, focus) as the hook reports it. No ground truth in here."""

    index: int
    t_ms: int
    kind: str
    text: str = ""
    window: str = "w0"


@dataclass(frozen=True, slots=True)
class Profile:
    """How the person types. Rates are per character meant, unless said otherwise."""

    typo: float = 0.035
    """Slips; with the run lengths this gives about 5.8 % backspaces."""
    uncorrected: float = 0.0
    """Share of slips that stay in the text."""
    arrow_fix: float = 0.03
    """Share of slips repaired by moving left and back, not by backspacing."""
    click_fix: float = 0.0
    """Share of slips repaired by clicking there and back (caret unknown to the hook)."""
    word_delete: float = 0.0
    """Share of slips repaired by ctrl+backspace."""
    pause: float = 0.012
    """Thinking pauses of 1.5 to 9 s."""
    caps_lock: float = 0.2
    """Share of upper-case runs (3 letters or more) typed with caps lock."""
    speed: float = 1.0
    """Factor on all intervals."""


CLEAN = Profile(typo=0.0, pause=0.0, caps_lock=0.0)
NORMAL = Profile()
MESSY = Profile(typo=0.07, uncorrected=0.05, arrow_fix=0.12, click_fix=0.06, word_delete=0.08, pause=0.03)


@dataclass(slots=True)
class Cell:
    """A character in the field: ``meant`` is its place in the text that was meant, None for a slip."""

    char: str
    event: int
    meant: int | None
    label: str | None


@dataclass(slots=True)
class Fact:
    """What is true of an event when it is typed: for tests, which look at what became of it."""

    label: str | None
    typo: bool
    inner: tuple[tuple[int, int, str], ...]
    caret: int = 0


def type_out(
    text: str, seed: int | str = 0, profile: Profile = NORMAL, pastes: Sequence[tuple[int, int]] = ()
) -> list[KeyEvent]:
    """The key-downs of a person who types `text`; `pastes` (start, end) are the parts of it that arrive as one paste each."""
    typist = Typist(random.Random(f"keystrokes-1:{seed}"), profile, 0, "w0")  # noqa: S311 - a simulation
    typist.type_text(text, [None] * len(text), (), pastes)
    return typist.events


class Typist:
    """Types into one field; `events`, `facts` and `cells` grow as it does."""

    def __init__(self, rng: random.Random, profile: Profile, start_ms: int, window: str) -> None:
        self.rng, self.profile, self.t, self.window = rng, profile, start_ms, window
        self.cells: list[Cell] = []
        self.caret = 0
        self.events: list[KeyEvent] = []
        self.facts: list[Fact] = []
        self.caps = False
        self.shift_held = False

    def emit(
        self,
        kind: str,
        text: str = "",
        label: str | None = None,
        typo: bool = False,
        inner: tuple[tuple[int, int, str], ...] = (),
    ) -> int:
        """One event after a human interval; gives its index."""
        rng = self.rng
        gap = rng.lognormvariate(5.06, 0.48) if rng.random() < 0.88 else rng.lognormvariate(6.25, 0.55)
        if kind in ("shift", "caps_lock"):
            gap *= 0.5
        self.t += max(8, int(gap * self.profile.speed))
        index = len(self.events)
        self.events.append(KeyEvent(index, self.t, kind, text, self.window))
        self.facts.append(Fact(label, typo, inner))
        return index

    def done(self) -> None:
        self.facts[-1].caret = self.caret

    def put(self, char: str, meant: int | None, label: str | None, typo: bool = False) -> None:
        kind = {"\n": "enter", "\t": "tab"}.get(char, "char")
        if kind == "char":
            shifted = char in _SHIFTED or (char.isupper() != (self.caps and char.isalpha()) and char.isalpha())
            if shifted and not self.shift_held:
                self.emit("shift")
                self.done()
            self.shift_held = shifted
        index = self.emit(kind, char, label, typo)
        self.cells.insert(self.caret, Cell(char, index, meant, label))
        self.caret += 1
        self.done()

    def paste(self, chunk: str, meant: int, labels: Sequence[str | None]) -> None:
        inner: list[tuple[int, int, str]] = []
        start = 0
        for i in range(1, len(chunk) + 1):
            if i == len(chunk) or labels[i] != labels[start]:
                label = labels[start]
                if label is not None:
                    inner.append((start, i, label))
                start = i
        index = self.emit("paste", chunk, inner[0][2] if inner else None, inner=tuple(inner))
        self.cells[self.caret : self.caret] = [Cell(c, index, meant + i, labels[i]) for i, c in enumerate(chunk)]
        self.caret += len(chunk)
        self.done()

    def backspace(self, times: int = 1) -> None:
        for _ in range(times):
            self.emit("backspace")
            if self.caret:
                del self.cells[self.caret - 1]
                self.caret -= 1
            self.done()

    def ctrl_backspace(self) -> None:
        """Deletes blanks and then non-blanks before the caret."""
        self.emit("ctrl_backspace")
        start = word_start([cell.char for cell in self.cells], self.caret)
        del self.cells[start : self.caret]
        self.caret = start
        self.done()

    def move(self, to: int, by_click: bool = False) -> None:
        if by_click:
            self.t += int(self.rng.uniform(500, 1600))
            self.emit("click")
            self.caret = to
            self.done()
            return
        while self.caret != to:
            ahead = self.cells[self.caret :]
            if to == len(self.cells) and len(ahead) > 4 and not any(c.char == "\n" for c in ahead):
                self.emit("end")
                self.caret = to
            else:
                step = -1 if to < self.caret else 1
                self.emit("left" if step < 0 else "right")
                self.caret += step
            self.done()

    def type_text(
        self,
        text: str,
        labels: Sequence[str | None],
        abandoned: Sequence[tuple[int, str, str]],
        pastes: Sequence[tuple[int, int]],
    ) -> None:
        """Types the whole of `text`, with what is abandoned and pasted on the way."""
        rng, profile = self.rng, self.profile
        i, n = 0, len(text)
        while i < n:
            for _, secret, label in (a for a in abandoned if a[0] == i):
                self._abandon(secret, label)
            abandoned = [a for a in abandoned if a[0] != i]
            pasted = next((e for s, e in pastes if s == i), 0)
            if pasted > i:
                self.paste(text[i:pasted], i, labels[i:pasted])
                i = pasted
                continue
            if rng.random() < profile.pause:
                self.t += int(rng.uniform(1500, 9000))
            self._mind_caps(text, i)
            if rng.random() >= profile.typo:
                self.put(text[i], i, labels[i])
                i += 1
                continue
            limit = min([n - i] + [s - i for s, _ in pastes if s > i] + [a[0] - i for a in abandoned if a[0] > i])
            i += self.slip(text, labels, i, max(1, limit))

    def _abandon(self, secret: str, label: str) -> None:
        for char in secret:
            self.put(char, None, label)
        self.t += int(self.rng.uniform(400, 2500))
        self.backspace(len(secret))

    def _mind_caps(self, text: str, i: int) -> None:
        run = 0
        while i + run < len(text) and text[i + run].isalpha() and text[i + run].isupper():
            run += 1
        if self.caps and not run and text[i].isalpha():
            self.emit("caps_lock")
            self.done()
            self.caps = False
        elif not self.caps and run >= 3 and self.rng.random() < self.profile.caps_lock:
            self.emit("caps_lock")
            self.done()
            self.caps = True

    def slip(self, text: str, labels: Sequence[str | None], i: int, room: int) -> int:
        """Types something wrong at ``text[i]`` and repairs it; says how many characters are done after that."""
        rng, profile = self.rng, self.profile
        kind = rng.choices(("other", "twice", "omit", "swap"), (50, 15, 20, 15))[0]
        if kind in ("omit", "swap") and room < 2:
            kind = "other"
        if rng.random() < profile.uncorrected:
            return self._leave(kind, text, labels, i)
        lag = rng.choices([k for k, _ in _RUN_LENGTHS], [w for _, w in _RUN_LENGTHS])[0]
        start = self.caret
        done, typed = (self._omit if kind == "omit" else self._mistype)(kind, text, labels, i, room, lag)
        if done:
            return done
        if rng.random() < profile.word_delete:
            self._delete_word(text, labels, i, start)
        else:
            self.backspace(typed)
        return 0

    def _leave(self, kind: str, text: str, labels: Sequence[str | None], i: int) -> int:
        """A slip that stays."""
        if kind == "omit":
            return 1
        if kind == "swap":
            self.put(text[i + 1], i + 1, labels[i + 1], True)
            self.put(text[i], i, labels[i], True)
            return 2
        self.put(_slip_of(text[i], self.rng), i, labels[i], True)
        if kind == "twice":
            self.put(text[i], i, labels[i])
        return 1

    def _omit(self, _: str, text: str, labels: Sequence[str | None], i: int, room: int, lag: int) -> tuple[int, int]:
        """Leaves a character out and types on; (characters done, 0) when repaired by moving there, else (0, typed)."""
        start, typed = self.caret, min(lag, room - 1)
        for k in range(i + 1, i + 1 + typed):
            self.put(text[k], k, labels[k])
        way = self.rng.random()
        if way >= self.profile.arrow_fix + self.profile.click_fix:
            return 0, typed
        click = way >= self.profile.arrow_fix
        self.move(start, by_click=click)
        self.put(text[i], i, labels[i])
        self.move(start + typed + 1, by_click=click)
        return typed + 1, 0

    def _mistype(self, kind: str, text: str, labels: Sequence[str | None], i: int, room: int, lag: int) -> tuple[int, int]:
        """Another character, one twice, or two swapped; results as `_omit`."""
        start = self.caret
        if kind == "other":
            wrong = [(_slip_of(text[i], self.rng), i)]
        elif kind == "twice":
            wrong = [(text[i], i), (text[i], i)]
        else:
            wrong = [(text[i + 1], i), (text[i], i)]
        for char, at in wrong:
            self.put(char, None, labels[at], typo=True)
        first = 2 if kind == "swap" else 1
        after = min(max(0, min(lag - len(wrong), room - len(wrong))), room - first)
        for k in range(i + first, i + first + after):
            self.put(text[k], k, labels[k])
        way = self.rng.random()
        if way >= self.profile.arrow_fix + self.profile.click_fix or kind == "swap":
            return 0, len(wrong) + after
        click = way >= self.profile.arrow_fix
        self.move(start + len(wrong), by_click=click)
        self.backspace(len(wrong))
        self.put(text[i], i, labels[i])
        self.move(start + 1 + after, by_click=click)
        return 1 + after, 0

    def _delete_word(self, text: str, labels: Sequence[str | None], i: int, start: int) -> None:
        meant_before = self.cells[: self.caret]
        self.ctrl_backspace()
        gone = meant_before[self.caret :]
        # everything meant that went with the word has to be typed again
        for at in sorted({c.meant for c in gone if c.meant is not None and c.meant < i}):
            self.put(text[at], at, labels[at])
        if self.caret > start:  # the word ended after the slip began: take the rest back by hand
            self.backspace(self.caret - start)


def word_start(chars: Sequence[str], caret: int) -> int:
    """Where ctrl+backspace deletes to: over blanks, then over non-blanks."""
    to = caret
    while to and chars[to - 1].isspace():
        to -= 1
    while to and not chars[to - 1].isspace():
        to -= 1
    return to


def _slip_of(char: str, rng: random.Random) -> str:
    near = _NEAR.get(_SHIFTED.get(char, char.lower()))
    if not near:
        return rng.choice("etaoin")
    wrong = rng.choice(near)
    if char.isupper():
        return wrong.upper()
    return _UNSHIFTED.get(wrong, wrong) if char in _SHIFTED else wrong
