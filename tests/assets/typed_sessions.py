"""Sessions for tests of the redactor's pure half: what a person does as events, and what comes out however it is cut."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from keystrokes import Simulation
from row_columns import MARKS, unpack_actions, unpack_events

from byleave.core import codec, rows
from byleave.core.batches import AdmittedBatch, Boundary, Content, SanitizedBatch, body_schema
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind, Modifiers, PointerEvent, Screen, Window
from byleave.core.rows import ActionRow, EventRow
from byleave.processors import snapshot
from byleave.processors.preview import batch_of
from byleave.processors.session import Account, EndpointState, Rules, feed
from byleave.producers.hooks.source import Observed
from demo.strokes import strokes

START_MS = 1_790_000_000_000
EDITOR, TERMINAL = "code", "xterm"
SCREEN = Screen(1000, 500)


@dataclass
class Output:
    """What left: rows by content and level in order, the bodies as bytes, the account, the state behind it."""

    rows: dict[tuple[Content, int], list[EventRow | ActionRow]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    batches: list[list[SanitizedBatch]] = field(default_factory=list)
    state: EndpointState = field(default_factory=EndpointState)

    @property
    def account(self) -> Account:
        return self.state.account

    def actions(self, *levels: int) -> list[ActionRow]:
        found = [row for (content, level), some in self.rows.items() for row in some if content is Content.ACTIONS
                 and (not levels or level in levels)]  # fmt: skip
        return [row for row in found if isinstance(row, ActionRow) and row.kind not in MARKS]

    def marks(self, *kinds: rows.ActionKind) -> list[ActionRow]:
        found = [row for (content, _), some in self.rows.items() for row in some if content is Content.ACTIONS]
        return [row for row in found if isinstance(row, ActionRow) and row.kind in (kinds or MARKS)]

    def texts(self, *levels: int) -> list[str]:
        return [row.text for row in self.actions(*levels) if row.text]

    def key_rows(self) -> list[EventRow]:
        return [row for (content, _), some in self.rows.items() if content is Content.EVENTS for row in some
                if isinstance(row, EventRow) and row.kind == rows.KEY_ROW]  # fmt: skip

    def add(self, out: list[SanitizedBatch]) -> None:
        self.batches.append(out)
        seen = set()
        for batch in out:
            key = (batch.header.content, int(batch.header.level))
            assert key not in seen, "two batches of one content and level from one input batch"
            seen.add(key)
            known = self.rows.setdefault(key, [])
            assert batch.header.row0 == len(known), "rows are not numbered without gaps"
            record = codec.decode_body(body_schema(batch.header.content), batch.body)
            got = unpack_events(record)[0] if key[0] is Content.EVENTS else unpack_actions(record)
            assert batch.header.rows == len(got) > 0
            known.extend(got)
            self.bodies.append(batch.body)


def run(
    events: Sequence[Event], rules: Rules, cuts: Iterable[int] = (), *, end: Boundary = Boundary.END, reload: bool = False,
    screen: Screen = SCREEN, hi_ms: int | None = None,
) -> Output:  # fmt: skip
    """Feeds `events`, cut at `cuts`, and closes with `end`. `reload`: the state is dumped and loaded after each batch."""
    out = Output()
    places = [0, *sorted(set(cuts) - {0, len(events)}), len(events)]
    for start, stop in pairwise(places):
        last = stop == len(events)
        some = tuple(events[start:stop])
        at_ms = hi_ms if last and hi_ms else (some[-1].at_ms if some else START_MS)
        out.add(feed(out.state, batch_of(some, start, at_ms, boundary=end if last else Boundary.NONE, screen=screen), rules))
        balanced(out.account)
        if reload:
            out.state = snapshot.load(snapshot.dump(out.state))
    return out


def balanced(account: Account) -> None:
    decided = account.kept + account.reviewed + account.level4 + account.dropped + account.withheld
    assert account.admitted == decided + account.held, account
    assert min(account.held, account.withheld, account.kept, account.level4, account.reviewed, account.dropped) >= 0, account


def window(app: str = EDITOR, handle: int = 1, **more: object) -> Window:
    return replace(Window(handle, app, layout="us"), **more)  # type: ignore[arg-type]


def focused(keys: Iterable[object], app: str = EDITOR, *, gap_ms: int = 120, **more: object) -> list[Event]:
    """A focus, then what `keys` say. A string is typed; see `act` for the rest."""
    events: list[Event] = [FocusEvent(0, START_MS, window(app, **more))]
    for key in keys:
        act(events, key, gap_ms)
    return events


_NAMES = {"\n": "enter", "\t": "tab", " ": "space", "\b": "backspace"}


def act(events: list[Event], what: object, gap_ms: int = 120) -> None:
    """Appends: a str is typed; ("key", name, modifiers) pressed; ("paste", text); ("click", x, y, button); ("wait", ms);
    ("focus", app, handle); ("move", x, y); ("scroll", dy)."""
    at, seq = events[-1].at_ms + gap_ms, len(events)
    if isinstance(what, str):
        for char in what:
            events.append(KeyEvent(len(events), events[-1].at_ms + gap_ms, Kind.PRESS, _NAMES.get(char, char)))
        return
    name, *args = what  # type: ignore[misc]
    if name == "key":
        events.append(KeyEvent(seq, at, Kind.PRESS, args[0], args[1] if len(args) > 1 else Modifiers.NONE))
    elif name == "release":
        events.append(KeyEvent(seq, at, Kind.RELEASE, args[0]))
    elif name == "paste":
        events.append(KeyEvent(seq, at, Kind.PASTE, args[0]))
    elif name == "wait":
        events[-1] = replace(events[-1], at_ms=events[-1].at_ms)
        events.append(PointerEvent(seq, events[-1].at_ms + args[0], Kind.MOVE, 5, 5))
    elif name == "focus":
        events.append(FocusEvent(seq, at, window(args[0], args[1])))
    elif name == "move":
        events.append(PointerEvent(seq, at, Kind.MOVE, *args))
    elif name == "scroll":
        events.append(PointerEvent(seq, at, Kind.SCROLL, 5, 5, 0, 0, args[0]))
    else:
        x, y, button = (*args, 1)[:3]
        events.append(PointerEvent(seq, at, Kind.BUTTON_DOWN, x, y, button))
        events.append(PointerEvent(seq + 1, at + 60, Kind.BUTTON_UP, x, y, button))


def numbered(observed: Iterable[Observed]) -> list[Event]:
    """What a hook saw, as events in order."""
    out: list[Event] = []
    for seq, seen in enumerate(observed):
        if seen.window is not None:
            out.append(FocusEvent(seq, seen.at_ms, seen.window))
        elif seen.kind < Kind.PRESS:
            out.append(PointerEvent(seq, seen.at_ms, seen.kind, seen.x, seen.y, seen.button, seen.dx, seen.dy))
        else:
            out.append(KeyEvent(seq, seen.at_ms, seen.kind, seen.key, seen.modifiers))
    return out


def typed(simulation: Simulation, app: str = EDITOR, seed: int = 0) -> list[Event]:
    """A simulated typist's stream as a hook reports it, with dwell times and rollover, in one window."""
    here = window(app)
    seen = strokes(simulation.events, {"w0": here}, random.Random(seed), START_MS)
    return numbered([Observed(START_MS, Kind.FOCUS, window=here), *seen])


def admitted(events: Sequence[Event], seq0: int, boundary: Boundary = Boundary.NONE) -> AdmittedBatch:
    """One batch of `events`."""
    return batch_of(events, seq0, events[-1].at_ms if events else START_MS, boundary=boundary)
