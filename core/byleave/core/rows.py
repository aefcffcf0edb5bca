"""Sanitized rows: what is left of events and actions after the redactor, and the columns that carry the events.

No row holds a sequence number of the input, a key's time finer than 100 ms, or text outside `ActionRow.text` and its target's
label: from the numbers of two neighbours the length of what was removed between them could be read (P5).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum

from byleave.core.codec import Record
from byleave.core.errors import Broken
from byleave.core.events import Kind, Screen, pack_steps
from byleave.core.targets import Target

ROW_TIME_STEP_MS = 100
KEY_ROW = 4
"""Kind of a key row; 0 to 3 are the pointer kinds of `events.Kind`."""
APPS_MAX = 256


class KeyClass(IntEnum):
    """All that an event row says about a key."""

    NONE = 0
    CHAR = 1
    SPACE = 2
    ENTER = 3
    TAB = 4
    EDIT = 5
    NAVIGATION = 6
    MODIFIER = 7
    FUNCTION = 8


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event without text. `kind` is a pointer `Kind` or KEY_ROW; `app` is the application's category, not its title."""

    at_ms: int
    kind: int
    app: str
    x: int = 0
    y: int = 0
    button: int = 0
    dx: int = 0
    dy: int = 0
    key_class: KeyClass = KeyClass.NONE


class ActionKind(StrEnum):
    """What the person did. The last five say where the reader is: another window, keys that are down, missing events, and what
    the person said that what follows is for."""

    CLICK = "CLICK"
    DOUBLE_CLICK = "DOUBLE_CLICK"
    TRIPLE_CLICK = "TRIPLE_CLICK"
    DRAG = "DRAG"
    SCROLL = "SCROLL"
    TYPE = "TYPE"
    PRESS = "PRESS"
    HOTKEY = "HOTKEY"
    SWITCH = "SWITCH"
    HELD = "HELD"
    GAP = "GAP"
    TASK = "TASK"
    TASK_DONE = "TASK_DONE"


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action; places are fractions of the screen, -1 for none. `text` is redacted, with typed placeholders, and so is the
    label of `target`, what a click or drag was on.

    `first` to `last` are the numbers of the events that it was made of, `clear` of those whose letters or digits stand in it.
    They exist for the preview, in memory: no record holds them (docs/adr/0003).
    """

    kind: ActionKind
    start_ms: int
    end_ms: int
    app: str
    button: str = ""
    x: float = -1.0
    y: float = -1.0
    to_x: float = -1.0
    to_y: float = -1.0
    dx: int = 0
    dy: int = 0
    text: str = field(default="", repr=False)
    keys: tuple[str, ...] = ()
    redactions: tuple[str, ...] = ()
    target: Target | None = None
    first: int = field(default=-1, repr=False, compare=False)
    last: int = field(default=-1, repr=False, compare=False)
    clear: tuple[int, ...] = field(default=(), repr=False, compare=False)


_WRITTEN = tuple(item.name for item in fields(ActionRow) if item.compare and item.name != "target")


def pack_events(rows: Sequence[EventRow], screen: Screen) -> Record:
    """The columns of `sanitized_events`. Key times are rounded here, whatever the caller did. Rows must span < 49 days."""
    base_ms = min((row.at_ms for row in rows), default=0) // ROW_TIME_STEP_MS * ROW_TIME_STEP_MS
    apps: dict[str, int] = {}
    at, x, y = array("I"), array("h"), array("h")
    kind, arg, key_class, app = bytearray(), bytearray(), bytearray(), bytearray()
    for row in rows:
        step = ROW_TIME_STEP_MS if row.kind == KEY_ROW else 1
        at.append(row.at_ms // step * step - base_ms)
        x.append(max(-32768, min(32767, row.x)))
        y.append(max(-32768, min(32767, row.y)))
        kind.append(row.kind)
        arg.append(pack_steps(row.dx, row.dy) if row.kind == Kind.SCROLL else row.button)
        key_class.append(row.key_class)
        app.append(apps.setdefault(row.app, len(apps)))
    if len(apps) > APPS_MAX:
        raise Broken(f"{len(apps)} application categories in one record, at most {APPS_MAX}")
    count = len(rows)
    return {
        "base_ms": base_ms, "screen_width": screen.width, "screen_height": screen.height, "apps": list(apps),
        "kind": bytes(kind), "at": struct.pack(f"<{count}I", *at), "x": struct.pack(f"<{count}h", *x),
        "y": struct.pack(f"<{count}h", *y), "arg": bytes(arg), "key_class": bytes(key_class), "app": bytes(app),
    }  # fmt: skip


def pack_actions(rows: Sequence[ActionRow]) -> Record:
    """The record of `sanitized_actions`."""
    targets = [row.target.record(place) for place, row in enumerate(rows) if row.target is not None]
    return {"rows": [_action_record(row) for row in rows], "targets": targets}


def _action_record(row: ActionRow) -> Record:
    written = {name: getattr(row, name) for name in _WRITTEN}
    return written | {"kind": row.kind.value, "keys": [*row.keys], "redactions": [*row.redactions]}
