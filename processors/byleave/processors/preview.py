"""What would leave: keys and recordings through exactly the code of the stream, with nothing stored or sent (P5).

A preview is a session of its own: its events become admitted batches and go to `session.feed`. It needs no broker, no key and
no display. What it shows are the rows that `feed` packed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from byleave.core.batches import AdmittedBatch, Boundary, Origin, RawHeader
from byleave.core.events import EVENTS_MAX, Event, FocusEvent, KeyEvent, Kind, Screen, Window
from byleave.core.levels import Level
from byleave.core.rows import ActionRow
from byleave.processors.lexicon import load_labels
from byleave.processors.recording import START_MS, Numbered
from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.reduce import Rows
from byleave.processors.render import pyautogui
from byleave.processors.session import EndpointState, Rules, feed

KEY_MS = 160
"""Time between two keys of a text that is typed by the preview itself."""
BATCH_MS_MAX = 1_000
"""An endpoint closes a batch after this long, or when it is full."""
SHOWN_MAX = 200
SCREEN = Screen(1920, 1080)
NOTHING = "NOTHING"
_KEYS = {"\n": "enter", "\t": "tab", " ": "space", "\b": "backspace", "\x7f": "backspace"}

WHY = load_labels()


def batch_of(
    events: Iterable[Event], seq0: int, hi_ms: int, *, boundary: Boundary = Boundary.NONE, session: bytes = b"\0" * 16,
    screen: Screen = SCREEN, offset: int | None = None,
) -> AdmittedBatch:  # fmt: skip
    """Events as a batch that the fence admitted. Times up to `hi_ms`; `offset` defaults to `seq0`."""
    rows_in = tuple(events)
    lo_ms = rows_in[0].at_ms if rows_in else hi_ms
    header = RawHeader("preview", session, 0, 0, seq0, len(rows_in), 0, lo_ms, hi_ms, b"\0" * 32, "", b"", boundary)
    place = Origin("preview", 0, seq0 if offset is None else offset, hi_ms)
    return AdmittedBatch(header, "you", place, hi_ms, rows_in, screen)


@dataclass(frozen=True, slots=True)
class Left:
    """A row that would leave, or that nothing would (`kind` NOTHING, level 4). `why` says it in words, one for each label.

    `first`, `last` and `clear` are as in `ActionRow`; `code` is the row as trainers write it.
    """

    level: int
    kind: str
    text: str = field(repr=False)
    keys: tuple[str, ...] = ()
    redactions: tuple[str, ...] = ()
    at_ms: int = field(default=0, compare=False)
    first: int = field(default=-1, compare=False)
    last: int = field(default=-1, compare=False)
    clear: tuple[int, ...] = field(default=(), compare=False)
    code: str = field(default="", compare=False, repr=False)

    def record(self) -> dict[str, Any]:
        """What `preview recording --json` prints."""
        return {
            "level": int(self.level), "kind": self.kind, "text": self.text, "clear": [*self.clear],
            "events": [self.first, self.last], "redactions": [*self.redactions], "keys": [*self.keys], "code": self.code,
        }  # fmt: skip

    @property
    def why(self) -> tuple[str, ...]:
        return tuple(f"{label}: {WHY[label]}" for label in dict.fromkeys(self.redactions))


def left_of(rows: Rows) -> list[Left]:
    """The action rows of a batch and the runs of events that nothing left of, in the order in which they were done."""
    found = [_left(level, row) for level, some in rows.actions.items() for row in some]
    found += [Left(Level.SECRET, NOTHING, "", (), labels, at, first, last) for at, first, last, labels in rows.hidden]
    return sorted(found, key=lambda left: (left.first if left.first >= 0 else _next(found, left.at_ms), left.at_ms))


def _left(level: int, row: ActionRow) -> Left:
    return Left(
        level, row.kind.value, row.text, row.keys, row.redactions, row.start_ms, row.first, row.last, row.clear, pyautogui(row)
    )


def _next(found: list[Left], at_ms: int) -> int:
    """Where a row stands that is of no event: before the first that is later."""
    return min((left.first for left in found if left.first >= 0 and left.at_ms >= at_ms), default=1 << 53)


@dataclass(slots=True)
class Preview:
    """A session that is only looked at."""

    rules: Rules
    app: str
    now_ms: int = START_MS
    seq: int = 0
    state: EndpointState = field(default_factory=EndpointState, repr=False)
    left: list[Left] = field(default_factory=list, repr=False)

    def begin(self) -> None:
        """Puts the focus on the application."""
        self._feed([FocusEvent(self.seq, self.now_ms, Window(1, self.app, layout="preview"))])

    def press(self, key: str, now_ms: int | None = None) -> None:
        """One key, by its character or pynput name, at `now_ms` or a little after the last."""
        self.now_ms = max(self.now_ms + 1, now_ms if now_ms is not None else self.now_ms + KEY_MS)
        self._feed([KeyEvent(self.seq, self.now_ms, Kind.PRESS, _KEYS.get(key, key))])

    def wait(self, now_ms: int) -> None:
        """Nothing was typed up to `now_ms`: a batch of no events, as an endpoint sends them."""
        self.now_ms = max(self.now_ms, now_ms)
        self._feed([])

    def end(self) -> None:
        """The session is over."""
        self._feed([], Boundary.END)

    def held(self) -> str:
        """How what is held would read if it ended now; empty if nothing is held, NOTHING if it would be written nowhere."""
        hold, piece = self.state.hold, self.state.hold.piece
        text = "".join(piece.chars)
        spans = find_spans(piece.context, text, self.rules, open_left=piece.open_left)
        secret = text and hold.level_of(text, spans, self.rules) == Level.SECRET
        return NOTHING if secret else sanitized_text(text, spans)

    def report(self) -> dict[str, Any]:
        """What `--json` prints: rows with text or keys, what each label means, and the account."""
        context = self.state.hold.context
        labels = sorted(self.state.account.labels)
        return {
            "app": self.app,
            "category": context.app,
            "level": int(context.text_level),
            "rows": [asdict(row) for row in self.left],
            "why": {label: WHY[label] for label in labels},
            "account": asdict(self.state.account),
        }

    def _feed(self, events: list[Event], boundary: Boundary = Boundary.NONE) -> None:
        batch, rows = batch_of(events, self.seq, self.now_ms, boundary=boundary), Rows()
        self.seq += len(events)
        feed(self.state, batch, self.rules, rows)
        for row in left_of(rows):
            if row.kind != NOTHING or not self.left or self.left[-1] != row:
                self.left.append(row)
        del self.left[:-SHOWN_MAX]


def preview_text(text: str, app: str, rules: Rules) -> Preview:
    """Types `text` into `app`, backspace as "\\b"; presses enter if it does not end with it, and ends the session."""
    preview = Preview(rules, app)
    preview.begin()
    for key in text if text.endswith("\n") else text + "\n":
        preview.press(key)
    preview.end()
    return preview


def preview_recording(numbered: Iterable[Numbered], rules: Rules, screen: Screen) -> Iterator[Left]:
    """What would leave of a recording, as it is decided; `first`, `last` and `clear` are places in the source.

    Raises what the source raises, and Refused if its times are none.
    """
    before: Left | None = None
    for left in _decided(numbered, rules, screen):
        if before is not None and left == before and left.kind == NOTHING and not left.redactions:
            before = replace(before, last=left.last)  # nothing leaves of what follows either
            continue
        if before is not None:
            yield before
        before = left
    if before is not None:
        yield before


def _decided(numbered: Iterable[Numbered], rules: Rules, screen: Screen) -> Iterator[Left]:
    state, places = EndpointState(), array("q")
    for events, boundary in _cut(numbered, places):
        rows, hi_ms = Rows(), events[-1].at_ms if events else state.hold.now_ms
        feed(state, batch_of(events, len(places) - len(events), hi_ms, boundary=boundary, screen=screen), rules, rows)
        for left in left_of(rows):
            first, last = left.first, left.last
            if first < 0:
                first = last = next((event.seq for event in events if event.at_ms >= left.at_ms), len(places) - 1)
            clear = tuple(sorted({places[seq] for seq in left.clear}))
            yield replace(left, first=places[first], last=places[last], clear=clear)


def _cut(numbered: Iterable[Numbered], places: array[int]) -> Iterator[tuple[list[Event], Boundary]]:
    """Batches as an endpoint cuts them: full, a second old, or before another window; at last one that ends the session."""
    events: list[Event] = []
    for place, event in numbered:
        focus = isinstance(event, FocusEvent)
        if events and (focus or len(events) == EVENTS_MAX or event.at_ms - events[0].at_ms >= BATCH_MS_MAX):
            yield events, Boundary.FOCUS if focus else Boundary.NONE
            events = []
        places.append(place)
        events.append(event)
    yield events, Boundary.END
