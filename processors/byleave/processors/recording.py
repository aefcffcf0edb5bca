"""Recordings in the two forms that are read, as numbered events of a session, each with its place in the source.

    keys     JSON Lines {index, t_ms, kind, text, window}: a keystroke a line, as the simulator writes them
    pynput   JSON Lines {time_stamp, action, ...}: events.jsonl of DuckTrack and OpenCUA; a place is `event_idx` or the line

Promises  a line that is not of the form is refused by its number, never by its text.
Refuses   (Forged, `malformed`) bytes that are no JSON object, unknown kinds, values out of range.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byleave.core import recordings
from byleave.core.errors import Forged, Misconfigured
from byleave.core.events import (
    KEY_CHARS_MAX,
    MODIFIER_BITS,
    Event,
    FocusEvent,
    KeyEvent,
    Kind,
    Modifiers,
    PointerEvent,
    Screen,
    Window,
    held_modifiers,
)

SPAN_MS_MAX = 366 * 86_400_000
"""Longest recording: times further from the first than this are no times."""
WINDOWS_MAX = 65_536
START_MS = 1_000_000_000_000
_SHIFTED = frozenset('~!@#$%^&*()_+{}|:"<>?')
_NAMES = {"\n": "enter", "\t": "tab", " ": "space"}
_KEY_KINDS = frozenset(("enter", "tab", "backspace", "delete", "left", "right", "home", "end"))

Numbered = tuple[int, Event]
"""An event, and the place in the source that it came from."""


def screen_of(option: str, file: Path | None) -> Screen:
    """The screen as given ("1366x768"), or as metadata.json beside the file says; 0x0, so no places, if nothing does.

    Raises Misconfigured.
    """
    beside = file.with_name("metadata.json") if file else None
    try:
        if option:
            width, height = option.lower().split("x")
            return recordings.screen_of({"screen_width": width, "screen_height": height})
        return recordings.screen_of(json.loads(beside.read_text("utf-8")) if beside and beside.is_file() else {})
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise Misconfigured("the screen must be WIDTHxHEIGHT in pixels, in --screen or in metadata.json") from None


@dataclass(slots=True)
class Reader:
    """What has to be known of the lines before: numbers, times, modifiers that are down. `window_of` says what a name is."""

    window_of: Callable[[str, int], Window]
    seq: int = 0
    origin_ms: float | None = None
    now_ms: int = START_MS
    held: set[str] = field(default_factory=set)
    caps: bool = False
    windows: dict[str, int] = field(default_factory=dict)
    window: str | None = None

    def keys(self, number: int, row: dict[str, Any]) -> Iterator[Numbered]:
        """The events of a line of the keys form. Keys come up at once, shift before the next key that needs none."""
        try:
            index, kind, text = _whole(row["index"]), row["kind"], row.get("text")
            if not isinstance(text, str | None):
                raise TypeError
            self._clock(float(row["t_ms"]))
            yield from ((index, event) for event in self._key_line(kind, text or "", str(row.get("window", ""))))
        except (ValueError, TypeError, KeyError, OverflowError):
            raise Forged(f"line {number} is not of the keys form", reason="malformed") from None

    def pynput(self, number: int, row: dict[str, Any]) -> Iterator[Numbered]:
        """The events of a line of the pynput form; the window of the first is what nothing is known of."""
        try:
            self._clock(float(row["time_stamp"]) * 1000)
            index = _whole(row["event_idx"]) if "event_idx" in row else number - 1
            if self.window is None:
                yield index, self._focus("")
            yield index, self._observed(row)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise Forged(f"line {number} is not of the pynput form", reason="malformed") from None

    def _clock(self, at_ms: float) -> None:
        if self.origin_ms is None:
            self.origin_ms = at_ms
        since = round(at_ms - self.origin_ms)
        if abs(since) > SPAN_MS_MAX:
            raise ValueError
        self.now_ms = max(self.now_ms, START_MS + since)

    def _number(self) -> int:
        self.seq += 1
        return self.seq - 1

    def _key_line(self, kind: str, text: str, window: str) -> Iterator[Event]:
        if window != self.window:
            yield self._focus(window)
        if self.held and not (kind == "char" and (text.isupper() or text in _SHIFTED)):
            self.held.clear()
            yield self._key("shift", Kind.RELEASE)
        if kind == "char" and len(text) == 1:
            yield self._key(_NAMES.get(text, text))
        elif kind == "paste" and text:
            yield self._key(text if len(text) <= KEY_CHARS_MAX else "", Kind.PASTE)
        elif kind == "ctrl_backspace":
            yield self._key("ctrl_l")
            yield self._key("backspace", Kind.PRESS, Modifiers.CONTROL)
            yield self._key("backspace", Kind.RELEASE, Modifiers.CONTROL)
            yield self._key("ctrl_l", Kind.RELEASE)
        elif kind == "shift":
            self.held.add("shift")
            yield self._key("shift")
        elif kind == "click":
            for what in (Kind.BUTTON_DOWN, Kind.BUTTON_UP):
                yield PointerEvent(self._number(), self.now_ms, what, 0, 0, 1)
        elif kind in _KEY_KINDS or kind == "caps_lock":
            self.caps ^= kind == "caps_lock"
            yield self._key(kind)
            yield self._key(kind, Kind.RELEASE)
        elif kind != "focus":
            raise ValueError

    def _observed(self, row: dict[str, Any]) -> Event:
        told = recordings.told(row)
        if "key" not in told:
            return PointerEvent(self._number(), self.now_ms, **told)
        name = told["key"]
        if told["kind"] is Kind.RELEASE:
            self.held.discard(name)
            return self._key(name, Kind.RELEASE)
        event = self._key(name)
        if name == "caps_lock":
            self.caps = not self.caps
        elif MODIFIER_BITS.get(name):
            self.held.add(name)
        return event

    def _focus(self, window: str) -> Event:
        if len(self.windows) > WINDOWS_MAX:
            raise ValueError
        self.window = window
        handle = self.windows.setdefault(window, len(self.windows))
        return FocusEvent(self._number(), self.now_ms, self.window_of(window, handle))

    def _key(self, key: str, kind: Kind = Kind.PRESS, extra: Modifiers = Modifiers.NONE) -> Event:
        caps = Modifiers.CAPS if self.caps else Modifiers.NONE
        return KeyEvent(self._number(), self.now_ms, kind, key, extra | caps | held_modifiers(self.held))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError
    return value
