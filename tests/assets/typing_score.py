"""What of typed secrets gets out of the redactor: labelled records, typed by the simulator, through the stream's own code.

Pure: the same records, profile and seeds give the same figures. Counting is by event number: a key event is *out* if a letter
or digit that it put into the text stands in a row that left, at whatever level. Nothing here looks at how a rule decided.

    sensitive  keys (or pastes) that put part of a span of tier 1 into the field, also those that were deleted again
    deleted    keys whose character was removed again while nothing made it final (no click, enter or tab; 30 s) in between
    late       keys whose character was removed after that: nobody can call them back (docs/promises.md P5)
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keystrokes
from keystrokes import CLEAN, MESSY, NORMAL, Profile, Simulation
from redaction_score import TIER1
from typed_sessions import EDITOR, START_MS, typed

from byleave.core.batches import Boundary
from byleave.core.events import Event, Kind
from byleave.processors.deciding import HOLD_MS
from byleave.processors.preview import batch_of
from byleave.processors.reduce import Rows
from byleave.processors.session import EndpointState, Rules, feed

__all__ = ["PROFILES", "Figures", "abandoning", "score", "simulations"]

Record = Mapping[str, Any]
PROFILES: dict[str, Profile] = {"clean": CLEAN, "normal": NORMAL, "messy": MESSY, "abandoned": NORMAL}
BATCH_EVENTS = 250
_ENDS = frozenset(("click", "enter", "tab", "focus"))
_TEXT = frozenset(("char", "paste"))


@dataclass(slots=True)
class Figures:
    """Counts over all records. `labels`: sensitive events out, by label; `records`: ids of the records that they are of."""

    sensitive: int = 0
    sensitive_out: int = 0
    deleted: int = 0
    deleted_out: int = 0
    late: int = 0
    late_out: int = 0
    harmless: int = 0
    harmless_out: int = 0
    events: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)

    @property
    def leak(self) -> float:
        """Share of sensitive key events whose text gets out."""
        return self.sensitive_out / max(1, self.sensitive)

    @property
    def lost(self) -> float:
        """Share of harmless letters and digits in the final text that do not get out."""
        return 1 - self.harmless_out / max(1, self.harmless)


def score(
    records: Sequence[Record], profile: str, rules: Rules, seeds: Iterable[int] = (0,), *, app: str = EDITOR
) -> Figures:  # fmt: skip
    """Types each record once a seed, in a session of its own, and counts. `profile` is a key of PROFILES."""
    figures = Figures()
    for seed in seeds:
        for ident, simulation in simulations(records, profile, seed):
            events = typed(simulation, app, seed)
            _count(figures, ident, simulation, events, clear_numbers(events, rules))
    return figures


def simulations(records: Sequence[Record], profile: str, seed: int) -> Iterator[tuple[str, Simulation]]:
    """Every record, typed; for "abandoned", every record with its secrets typed into another one and deleted again."""
    rng = random.Random(f"typing-1:{seed}")
    for record in records:
        spans = [span for span in record["spans"] if span["end"] > span["start"]]
        how = PROFILES[profile]
        if profile != "abandoned":
            pastes = [(s["start"], s["end"]) for s in spans if record.get("channel") == "clipboard"]
            yield record["id"], keystrokes.simulate(record["text"], spans, f"{seed}/{record['id']}", how, pastes=pastes)
        elif spans:
            yield record["id"], abandoning(record, rng, how)


def abandoning(record: Record, rng: random.Random, profile: Profile) -> Simulation:
    """Types "please review the change …" with each secret of the record at a blank somewhere in it, and deletes it."""
    host = "please review the change today and send the notes to the team when it is done\n"
    places = [n + 1 for n, char in enumerate(host) if char == " "]
    secrets = [(" ".join(record["text"][span["start"] : span["end"]].split()), span["label"]) for span in record["spans"]]
    abandoned = [(rng.choice(places), secret, label) for secret, label in secrets if secret]
    return keystrokes.simulate(host, (), f"{rng.random()}", profile, abandoned=abandoned)


def clear_numbers(events: Sequence[Event], rules: Rules) -> set[int]:
    """Numbers of the events whose text stands in the output of a session of `events`, cut as an endpoint cuts them."""
    state, found = EndpointState(), set[int]()
    for start in range(0, len(events), BATCH_EVENTS):
        some, rows = events[start : start + BATCH_EVENTS], Rows()
        last = start + BATCH_EVENTS >= len(events)
        end = Boundary.END if last else Boundary.NONE
        feed(state, batch_of(some, start, some[-1].at_ms, boundary=end), rules, rows)
        found.update(number for level in rows.actions.values() for row in level for number in row.clear)
    return found


def numbers_of(simulation: Simulation, events: Sequence[Event]) -> list[int]:
    """For each event of the simulation the number of the event that a hook reports for it."""
    seen = [n for n, event in enumerate(events) if event.at_ms > START_MS and (
        event.kind in (Kind.PASTE, Kind.BUTTON_DOWN, Kind.FOCUS) or (event.kind is Kind.PRESS and event.key != "ctrl_l"))]  # type: ignore[union-attr]  # fmt: skip
    if len(seen) != len(simulation.events):
        raise ValueError(f"{len(simulation.events)} key-downs, {len(seen)} reported")
    return seen


def _count(figures: Figures, ident: str, simulation: Simulation, events: Sequence[Event], clear: set[int]) -> None:
    late = _deleted_late(simulation)
    figures.events += len(events)
    for number, event, truth in zip(numbers_of(simulation, events), simulation.events, simulation.truth, strict=True):
        if event.kind not in _TEXT or not any(char.isalnum() for char in event.text):
            continue
        out = number in clear
        if truth.label in TIER1:
            figures.sensitive += 1
            figures.sensitive_out += out
            if out:
                figures.labels[str(truth.label)] += 1
                figures.records[ident] += 1
        elif not truth.sensitive and not truth.deleted:
            figures.harmless += 1
            figures.harmless_out += out
        if truth.deleted and event.index in late:
            figures.late += 1
            figures.late_out += out
        elif truth.deleted:
            figures.deleted += 1
            figures.deleted_out += out


def _deleted_late(simulation: Simulation) -> set[int]:
    """Indices of the events whose text was final, by a boundary or by its age, when it was deleted."""
    late: set[int] = set()
    owner: list[int] = []
    caret, ended, newest = 0, -1, 0
    for event, truth in zip(simulation.events, simulation.truth, strict=True):
        if event.t_ms - newest >= HOLD_MS:
            ended = event.index - 1
        newest = event.t_ms
        if event.kind in _TEXT or event.kind in ("enter", "tab"):
            owner[caret:caret] = [event.index] * len(event.text)
        elif event.kind in ("backspace", "delete", "ctrl_backspace"):
            low, high = (caret, caret + 1) if event.kind == "delete" else (truth.caret, caret)
            late.update(n for n in owner[low:high] if n <= ended or event.t_ms - simulation.events[n].t_ms > HOLD_MS)
            del owner[low:high]
        if event.kind in _ENDS:
            ended = event.index
        caret = truth.caret
    return late
