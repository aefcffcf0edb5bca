"""What would leave: typed keys through exactly the code of the stream, with nothing stored or sent (P5).

A preview is a session of its own: each key becomes an admitted batch of one event and goes to `session.feed`. It needs no
broker, no key and no display.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from byleave.core import codec, rows
from byleave.core.batches import AdmittedBatch, Boundary, Content, Origin, RawHeader, SanitizedBatch, body_schema
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Screen, Window
from byleave.core.levels import Level
from byleave.core.rows import ActionKind
from byleave.processors.lexicon import load_labels
from byleave.processors.redact import find_spans, sanitized_text
from byleave.processors.session import EndpointState, Rules, feed

KEY_MS = 160
"""Time between two keys of a text that is typed by the preview itself."""
START_MS = 1_000_000_000_000
SHOWN_MAX = 200
SCREEN = Screen(1920, 1080)
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
    """A row that would leave, or that nothing would (`kind` NOTHING, level 4). `why` says it in words, one for each label."""

    level: int
    kind: str
    text: str = field(repr=False)
    keys: tuple[str, ...]
    redactions: tuple[str, ...]

    @property
    def why(self) -> tuple[str, ...]:
        return tuple(f"{label}: {WHY[label]}" for label in dict.fromkeys(self.redactions))


@dataclass(slots=True)
class Preview:
    """A session that is only looked at."""

    rules: Rules
    app: str
    now_ms: int = START_MS
    seq: int = 0
    state: EndpointState = field(default_factory=EndpointState, repr=False)
    left: list[Left] = field(default_factory=list, repr=False)
    key_rows: int = 0

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
        """How what is held would read if it ended now; empty if nothing is held."""
        piece = self.state.hold.piece
        text = "".join(piece.chars)
        return sanitized_text(text, find_spans(piece.context, text, self.rules, open_left=piece.open_left))

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
            "key_rows": self.key_rows,
            "account": asdict(self.state.account),
        }

    def _feed(self, events: list[Event], boundary: Boundary = Boundary.NONE) -> None:
        batch = batch_of(events, self.seq, self.now_ms, boundary=boundary)
        self.seq += len(events)
        secret, found = self.state.account.level4, dict(self.state.account.labels)
        out = feed(self.state, batch, self.rules)
        self.key_rows += sum(sanitized.header.rows for sanitized in out if sanitized.header.content is Content.EVENTS)
        new = read_actions(out)
        if self.state.account.level4 > secret:
            labels = tuple(name for name, count in self.state.account.labels.items() if count > found.get(name, 0))
            nothing = Left(int(Level.SECRET), "NOTHING", "", (), labels)
            new = [nothing, *new] if not self.left or self.left[-1] != nothing else new
        self.left = [*self.left, *new][-SHOWN_MAX:]


def read_actions(batches: Iterable[SanitizedBatch]) -> list[Left]:
    """The action rows of sanitized batches, in the order in which they were done."""
    found = [
        (row.start_ms, row.kind is not ActionKind.TYPE, int(batch.header.level), row)
        for batch in batches
        if batch.header.content is Content.ACTIONS
        for row in rows.unpack_actions(codec.decode_body(body_schema(Content.ACTIONS), batch.body))
    ]
    found.sort(key=lambda entry: entry[:2])
    return [Left(level, row.kind.value, row.text, row.keys, row.redactions) for _, _, level, row in found]


def preview_text(text: str, app: str, rules: Rules) -> Preview:
    """Types `text` into `app`, backspace as "\\b"; presses enter if it does not end with it, and ends the session."""
    preview = Preview(rules, app)
    preview.begin()
    for key in text if text.endswith("\n") else text + "\n":
        preview.press(key)
    preview.end()
    return preview


def level_words(level: int) -> str:
    """A level in words that need no table."""
    return {
        Level.SHAPE: "1 shape", Level.INTERNAL: "2 internal", Level.PEOPLE: "3 to review", Level.SECRET: "4 written nowhere",
    }[Level(level)]  # fmt: skip
