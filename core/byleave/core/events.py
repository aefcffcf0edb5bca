"""Input events as rows, and the columns that travel instead of them (rulings 21, 22).

Rows exist only at the edges: what a hook reports, what the reassembler reads. Between them an event is one place in a few
little-endian columns, 8 to 9 bytes, in two groups of different sensitivity: `pointer` and `text` (keys, titles).

Sequence numbers are not carried: an event's number is the batch's `seq0` plus its place. Both groups name places, so that the
order across groups survives and each place is taken exactly once.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum, IntFlag
from sys import byteorder

from byleave.core.codec import Record
from byleave.core.errors import Broken, Forged
from byleave.core.targets import LABEL_CHARS_MAX, Target, load_targets

EVENTS_MAX = 250
"""Most events in a batch (ruling 22): a place fits one byte."""
KEY_CHARS_MAX = 4096
"""Longest pasted text that an event carries; longer pastes arrive as a paste of unknown text."""
TITLE_CHARS_MAX = 512
KEY_TIME_STEP_MS = 20
"""Key times are rounded to this inside the sealed columns; the header's permit times are not (ruling 21)."""
SCROLL_STEPS_MAX = 7


class Kind(IntEnum):
    """Kinds of event; pointer kinds below 10. The numbers are those of the columns, keys shifted by 10."""

    MOVE = 0
    BUTTON_DOWN = 1
    BUTTON_UP = 2
    SCROLL = 3
    PRESS = 10
    RELEASE = 11
    PASTE = 12
    FOCUS = 13
    TASK = 14
    TARGET = 20
    """No event: what a click that was told already was on. It is put to that click at the endpoint, and never travels."""


_TEXT_KIND = 10


class Modifiers(IntFlag):
    """Modifier bits held when a key event was seen."""

    NONE = 0
    SHIFT = 1
    CONTROL = 2
    ALT = 4
    META = 8
    ALTGR = 16
    CAPS = 32


BUTTONS = {"left": 1, "middle": 2, "right": 3}
"""Numbers of buttons by pynput's names."""
MODIFIER_BITS = {
    "shift": Modifiers.SHIFT, "shift_l": Modifiers.SHIFT, "shift_r": Modifiers.SHIFT, "ctrl": Modifiers.CONTROL,
    "ctrl_l": Modifiers.CONTROL, "ctrl_r": Modifiers.CONTROL, "alt": Modifiers.ALT, "alt_l": Modifiers.ALT,
    "alt_r": Modifiers.ALT, "alt_gr": Modifiers.ALTGR, "cmd": Modifiers.META, "cmd_l": Modifiers.META, "cmd_r": Modifiers.META,
    "caps_lock": Modifiers.CAPS, "num_lock": Modifiers.NONE, "scroll_lock": Modifiers.NONE,
}  # fmt: skip
"""Keys that put no text and change what others do, by pynput's names."""


def held_modifiers(down: Iterable[str]) -> Modifiers:
    """Modifier bits of the keys that are down, by pynput's names. A lock is none of them: it holds when its key is up, too."""
    found = Modifiers.NONE
    for name in down:
        found |= MODIFIER_BITS.get(name, Modifiers.NONE)
    return found & ~Modifiers.CAPS


@dataclass(frozen=True, slots=True)
class PointerEvent:
    """A move, button or wheel event. Places in pixels; `button` 1 left, 2 middle, 3 right; wheel steps -7 to 7.

    `target`: what a BUTTON_DOWN was on; None where the manifest does not name that.
    """

    seq: int
    at_ms: int
    kind: Kind
    x: int
    y: int
    button: int = 0
    dx: int = 0
    dy: int = 0
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A key press, release or paste, or a task that the person stated.

    `key` is the character that the layout produced (one character), the name of a key (two or more: "enter", "backspace",
    "ctrl_l", as pynput names them), a combining accent for a dead key, the pasted text for PASTE, or empty when unknown. Of
    TASK it is what was said, empty when that is done.
    """

    seq: int
    at_ms: int
    kind: Kind
    key: str = field(repr=False)
    modifiers: Modifiers = Modifiers.NONE


@dataclass(frozen=True, slots=True)
class Window:
    """What has the focus. `layout` empty: unknown, so no text is taken. `secure`: a password prompt or field."""

    handle: int
    app: str
    site: str = ""
    title: str = field(default="", repr=False)
    layout: str = ""
    secure: bool = False


@dataclass(frozen=True, slots=True)
class FocusEvent:
    """The focus went to `window`. A session's first text is preceded by one."""

    seq: int
    at_ms: int
    window: Window
    kind: Kind = Kind.FOCUS


Event = PointerEvent | KeyEvent | FocusEvent


@dataclass(frozen=True, slots=True)
class Screen:
    """Size in pixels, needed to make places comparable across machines."""

    width: int
    height: int


def pack_pointer(events: Sequence[Event], hi_min: int, screen: Screen) -> Record | None:
    """The pointer columns of a batch, or None if it has no pointer event. `events` in order, at most EVENTS_MAX."""
    index, kind, at, x, y, arg = bytearray(), bytearray(), array("H"), array("h"), array("h"), bytearray()
    for place, event in enumerate(events):
        if not isinstance(event, PointerEvent):
            continue
        index.append(place)
        kind.append(event.kind)
        at.append(_since(event.at_ms, hi_min))
        x.append(max(-32768, min(32767, event.x)))
        y.append(max(-32768, min(32767, event.y)))
        arg.append(pack_steps(event.dx, event.dy) if event.kind is Kind.SCROLL else event.button)
    if not index:
        return None
    return {"screen_width": screen.width, "screen_height": screen.height, "index": bytes(index), "kind": bytes(kind),
            "at": _little(at), "x": _little(x), "y": _little(y), "arg": bytes(arg)}  # fmt: skip


def pack_text(events: Sequence[Event], hi_min: int) -> Record | None:
    """The text columns of a batch, or None if it has no key, focus or target. Key times are rounded here."""
    index, kind, at, name, modifiers = bytearray(), bytearray(), array("H"), bytearray(), bytearray()
    names: dict[str, int] = {}
    windows: dict[Window, int] = {}
    targets: list[Record] = []
    for place, event in enumerate(events):
        if isinstance(event, PointerEvent):
            if event.target is not None:
                targets.append(replace(event.target, label=event.target.label[:LABEL_CHARS_MAX]).record(place))
            continue
        index.append(place)
        kind.append(event.kind - _TEXT_KIND)
        if isinstance(event, FocusEvent):
            at.append(_since(event.at_ms, hi_min))
            name.append(windows.setdefault(event.window, len(windows)))
            modifiers.append(0)
        else:
            at.append(_since(event.at_ms, hi_min) // KEY_TIME_STEP_MS * KEY_TIME_STEP_MS)
            name.append(names.setdefault(event.key[:KEY_CHARS_MAX], len(names)))
            modifiers.append(event.modifiers)
    if not index and not targets:
        return None
    table = [asdict(window) | {"title": window.title[:TITLE_CHARS_MAX]} for window in windows]
    return {"names": list(names), "windows": table, "index": bytes(index), "kind": bytes(kind), "at": _little(at),
            "name": bytes(name), "modifiers": bytes(modifiers), "targets": targets}  # fmt: skip


def unpack(seq0: int, count: int, hi_min: int, pointer: Record | None, text: Record | None) -> list[Event]:
    """The rows of a batch, in order.

    Raises Forged unless the columns are of equal length, each of the `count` places is taken once, and every kind, name and
    window exists: a batch whose counts do not match is not read in part.
    """
    events: list[Event | None] = [None] * count
    if pointer is not None:
        _unpack_pointer(events, seq0, hi_min, pointer)
    if text is not None:
        _unpack_text(events, seq0, hi_min, text)
    whole = [event for event in events if event is not None]
    if len(whole) != count:
        raise Forged(f"columns hold {len(whole)} events, the header says {count}", reason="count-mismatch")
    return whole


def _unpack_pointer(events: list[Event | None], seq0: int, hi_min: int, columns: Record) -> None:
    kinds, args, index = columns["kind"], columns["arg"], columns["index"]
    at, x, y = (_column(columns[name], code, len(index)) for name, code in (("at", "H"), ("x", "h"), ("y", "h")))
    if not len(index) == len(kinds) == len(args):
        raise Forged("pointer columns differ in length", reason="count-mismatch")
    for n, place in enumerate(index):
        _claim(events, place)
        if kinds[n] > Kind.SCROLL:
            raise Forged(f"pointer kind {kinds[n]} is unknown", reason="malformed")
        kind = Kind(kinds[n])
        dx, dy = unpack_steps(args[n]) if kind is Kind.SCROLL else (0, 0)
        button = 0 if kind is Kind.SCROLL else args[n]
        events[place] = PointerEvent(seq0 + place, hi_min + at[n], kind, x[n], y[n], button, dx, dy)


def _unpack_text(events: list[Event | None], seq0: int, hi_min: int, columns: Record) -> None:
    index, kinds, names, modifiers = columns["index"], columns["kind"], columns["name"], columns["modifiers"]
    at = _column(columns["at"], "H", len(index))
    if not len(index) == len(kinds) == len(names) == len(modifiers):
        raise Forged("text columns differ in length", reason="count-mismatch")
    windows = [Window(**record) for record in columns["windows"]]
    table: list[str] = columns["names"]
    for n, place in enumerate(index):
        _claim(events, place)
        if kinds[n] > Kind.TASK - _TEXT_KIND or names[n] >= (len(windows) if kinds[n] == 3 else len(table)):
            raise Forged("a text column points outside its table", reason="malformed")
        kind = Kind(kinds[n] + _TEXT_KIND)
        if kind is Kind.FOCUS:
            events[place] = FocusEvent(seq0 + place, hi_min + at[n], windows[names[n]])
        else:
            events[place] = KeyEvent(seq0 + place, hi_min + at[n], kind, table[names[n]], Modifiers(modifiers[n] & 63))
    for place, target in load_targets(columns["targets"]).items():
        click = events[place] if 0 <= place < len(events) else None
        if not isinstance(click, PointerEvent) or click.kind is not Kind.BUTTON_DOWN:
            raise Forged("a target is of no click of its batch", reason="malformed")
        events[place] = replace(click, target=target)


def pack_steps(dx: int, dy: int) -> int:
    """Wheel steps in one byte: two nibbles, each biased by 8; beyond seven steps is cut (an event is one notch or a few)."""
    return _nibble(dx) << 4 | _nibble(dy)


def unpack_steps(packed: int) -> tuple[int, int]:
    return (packed >> 4) - 8, (packed & 15) - 8


def _nibble(steps: int) -> int:
    return max(-SCROLL_STEPS_MAX, min(SCROLL_STEPS_MAX, steps)) + 8


def _claim(events: list[Event | None], place: int) -> None:
    if place >= len(events) or events[place] is not None:
        raise Forged("a place in the batch is taken twice or lies outside it", reason="count-mismatch")


def _since(at_ms: int, hi_min: int) -> int:
    if not 0 <= at_ms - hi_min <= 0xFFFF:
        raise Broken("an event lies outside its batch's 65 seconds")
    return at_ms - hi_min


def _little(column: array[int]) -> bytes:
    if byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _column(raw: bytes, code: str, count: int) -> Sequence[int]:
    try:
        return struct.unpack(f"<{count}{code}", raw)
    except struct.error:
        raise Forged("a column's size is not its count", reason="count-mismatch") from None
