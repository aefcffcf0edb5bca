"""Deterministic keystroke simulator with ground truth: what a person's typing looks like to a keyboard hook.

Turns a text with labelled sensitive spans into the stream of key-down events (a ``shift`` press, then the produced character),
and says for every event what it was part of.

    sim = simulate("my ssn is 219-09-9999", [{"start": 10, "end": 21, "label": "US_SSN"}], seed=7)
    sim.events   # list[KeyEvent]: what the pipeline sees
    sim.truth    # list[Truth], one per event: what only a test sees
    sim.text     # the text left in the field at the end; sim.spans are its labelled spans

What makes it a hard test:

* A character that was typed inside a sensitive span and deleted again is still an event, so it still counts
  (``Truth.label`` set, ``Truth.offset`` None). So does a whole secret typed into the wrong window and removed (``abandoned``).
* Corrections are backspace runs, ctrl+backspace, left-arrow edits, Home/End jumps and mouse clicks that move the caret without
  saying where to (``click``: the offset is known to ``Truth`` only).
* ``paste`` events carry many characters at once; ``session()`` interleaves windows with focus changes.

Rhythm and slips are `demo.typist`'s. Same arguments and seed, same stream, everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from demo.typist import CLEAN, MESSY, NORMAL, KeyEvent, Profile, Typist, word_start

__all__ = ["CLEAN", "MESSY", "NORMAL", "KeyEvent", "Profile", "Simulation", "Truth", "replay", "session", "simulate"]

Span = Mapping[str, Any]
"""{"start": int, "end": int, "label": str}: a sensitive part of a text."""
_CONTENT = frozenset(("char", "enter", "tab", "paste"))


@dataclass(frozen=True, slots=True)
class Truth:
    """What an event really was.

    ``label``   label of the sensitive span the event belongs to, or None.
    ``offset``  place of the event's (first) character in the final text; None if it is not in it any more, or never was.
    ``deleted`` the event put text into the field and that text was removed later.
    ``typo``    the character is not the one that was meant.
    ``caret``   place of the caret in the field after the event.
    ``inner``   for ``paste``: spans (start, end, label) inside the pasted text.
    """

    label: str | None = None
    offset: int | None = None
    deleted: bool = False
    typo: bool = False
    caret: int = 0
    inner: tuple[tuple[int, int, str], ...] = ()

    @property
    def sensitive(self) -> bool:
        return self.label is not None


@dataclass(slots=True)
class Simulation:
    """A typed text; ``origin`` names, for each character of ``text``, the event that it came from."""

    events: list[KeyEvent] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    text: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)

    def sensitive_events(self) -> list[int]:
        """Indices of the events that must not leave the pipeline with their text."""
        return [i for i, truth in enumerate(self.truth) if truth.sensitive]


def simulate(
    text: str,
    spans: Iterable[Span] = (),
    seed: int | str = 0,
    profile: Profile = NORMAL,
    *,
    abandoned: Iterable[tuple[int, str, str]] = (),
    pastes: Iterable[tuple[int, int]] = (),
    start_ms: int = 0,
    window: str = "w0",
) -> Simulation:
    """Types ``text``.

    ``spans``      the sensitive parts of ``text`` (must not overlap).
    ``abandoned``  (offset, secret, label): the secret is typed at that place and then removed again.
    ``pastes``     (start, end) ranges of ``text`` that arrive as one paste.
    """
    labels: list[str | None] = [None] * len(text)
    for span in spans:
        labels[span["start"] : span["end"]] = [span["label"]] * (span["end"] - span["start"])
    typist = Typist(random.Random(f"keystrokes-1:{seed}"), profile, start_ms, window)
    typist.type_text(text, labels, list(abandoned), list(pastes))
    cells = typist.cells
    sim = Simulation(typist.events, text="".join(c.char for c in cells), origin=[c.event for c in cells])
    first: dict[int, int] = {}
    for offset, cell in enumerate(cells):
        first.setdefault(cell.event, offset)
    for event, fact in zip(typist.events, typist.facts, strict=True):
        at = first.get(event.index)
        sim.truth.append(Truth(fact.label, at, event.kind in _CONTENT and at is None, fact.typo, fact.caret, fact.inner))
    start = 0
    for i in range(1, len(cells) + 1):
        if i == len(cells) or cells[i].label != cells[start].label:
            if cells[start].label is not None:
                sim.spans.append({"start": start, "end": i, "label": cells[start].label})
            start = i
    return sim


def replay(events: Iterable[KeyEvent], carets: Sequence[int] | None = None) -> tuple[str, list[int]]:
    """Reference reducer for one window: the final text and, for each character, the index of its event.

    ``carets`` (``[t.caret for t in sim.truth]``) is needed only where there are clicks: from the events alone nobody can know
    where a click put the caret.
    """
    chars: list[str] = []
    owner: list[int] = []
    caret = 0
    for n, e in enumerate(events):
        if e.kind in _CONTENT:
            chars[caret:caret] = e.text
            owner[caret:caret] = [e.index] * len(e.text)
            caret += len(e.text)
        elif e.kind == "click":
            caret = carets[n] if carets is not None else caret
        else:
            start, end, caret = _edit(e.kind, chars, caret)
            del chars[start:end], owner[start:end]
    return "".join(chars), owner


def _edit(kind: str, chars: Sequence[str], caret: int) -> tuple[int, int, int]:
    """What an editing key removes (start, end) and where it leaves the caret."""
    if kind == "backspace":
        return max(0, caret - 1), caret, max(0, caret - 1)
    if kind == "delete":
        return caret, caret + 1, caret
    if kind == "ctrl_backspace":
        to = word_start(chars, caret)
        return to, caret, to
    moved = {"left": max(0, caret - 1), "right": min(len(chars), caret + 1), "home": 0, "end": len(chars)}.get(kind, caret)
    return 0, 0, moved


def session(
    records: Sequence[Mapping[str, Any]],
    seed: int = 0,
    profile: Profile = NORMAL,
    *,
    switch: float = 0.01,
    open_windows: int = 3,
) -> tuple[list[KeyEvent], list[Truth], dict[str, Simulation]]:
    """Types several records ({id, text, spans}) into windows of their own, switching between them while typing.

    Before every key there is a chance of ``switch`` that the person goes to another open window; every change is a ``focus``
    event naming the window. Gives the merged events (re-indexed, time rising), the truth beside them and the single
    simulations by window, whose ``origin`` still counts that window's own events.
    """
    rng = random.Random(f"session-1:{seed}")
    sims = {r["id"]: simulate(r["text"], r.get("spans", ()), f"{seed}/{r['id']}", profile, window=r["id"]) for r in records}
    waiting: list[str] = [r["id"] for r in records][::-1]
    opened: list[str] = []
    at = dict.fromkeys(sims, 0)
    events: list[KeyEvent] = []
    truth: list[Truth] = []
    clock, now = 0, ""
    while waiting or opened:
        while waiting and len(opened) < open_windows:
            opened.append(waiting.pop())
        if now not in opened or rng.random() < switch:
            target = rng.choice([w for w in opened if w != now] or opened)
            if target != now:
                now = target
                clock += rng.randint(300, 2500)
                events.append(KeyEvent(len(events), clock, "focus", "", now))
                truth.append(Truth())
        sim, i = sims[now], at[now]
        if i < len(sim.events):
            e = sim.events[i]
            clock += e.t_ms - (sim.events[i - 1].t_ms if i else 0)
            events.append(KeyEvent(len(events), clock, e.kind, e.text, now))
            truth.append(sim.truth[i])
            at[now] = i + 1
        if at[now] >= len(sim.events):
            opened.remove(now)
    return events, truth, sims
