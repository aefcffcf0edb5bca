"""Recordings as DuckTrack and OpenCUA write them, and so does this project: read by the replay and by the preview.

    events.jsonl    a line an event: `time_stamp` in seconds of a monotonic clock, `action` move, click, scroll, press, release
    metadata.json   where there is one, the screen's size

Promises  what is read is bounded in length by line; a line that is not of the form is refused by its number, never by its text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from byleave.core.errors import Forged
from byleave.core.events import BUTTONS, KEY_CHARS_MAX, Kind, Screen

LINE_BYTES_MAX = 4 << 20
SCREEN_MAX = 32_767
PLACE_MAX = 1 << 20


def read_objects(stream: BinaryIO) -> Iterator[tuple[int, dict[str, Any], int]]:
    """(number from 1, object, bytes) of each line of JSON Lines that is not blank. Raises Forged."""
    number = 0
    while line := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > LINE_BYTES_MAX:
            raise Forged(f"line {number} is longer than {LINE_BYTES_MAX} bytes", reason="oversized")
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            raise Forged(f"line {number} is not JSON in UTF-8", reason="malformed") from None
        if not isinstance(found, dict):
            raise Forged(f"line {number} is not a JSON object", reason="malformed")
        yield number, found, len(line)


def screen_of(metadata: Mapping[str, Any]) -> Screen:
    """The screen that metadata.json tells, 0x0 if none. Raises ValueError, TypeError, OverflowError: no size of a screen."""
    width, height = int(metadata.get("screen_width", 0)), int(metadata.get("screen_height", 0))
    if not (0 <= width <= SCREEN_MAX and 0 <= height <= SCREEN_MAX):
        raise ValueError
    return Screen(width, height)


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a line tells of its event, by the names of fields: `kind`, and `key` or x, y and what goes with them.

    Raises ValueError, TypeError, KeyError, OverflowError: the line is not of the form.
    """
    action = row["action"]
    if action in ("press", "release"):
        key = str(row["name"])
        if not key or len(key) > KEY_CHARS_MAX:
            raise ValueError
        return {"kind": Kind.PRESS if action == "press" else Kind.RELEASE, "key": key}
    place = {name: _pixel(row[name]) for name in ("x", "y")}
    if action == "move":
        return {"kind": Kind.MOVE, **place}
    if action == "scroll":
        return {"kind": Kind.SCROLL, **place, "dx": _pixel(row["dx"]), "dy": _pixel(row["dy"])}
    if action == "click":
        kind = Kind.BUTTON_DOWN if row["pressed"] else Kind.BUTTON_UP
        return {"kind": kind, **place, "button": BUTTONS.get(row["button"], 0)}
    raise ValueError


def _pixel(value: object) -> int:
    if not isinstance(value, int | float) or abs(value) > PLACE_MAX:
        raise ValueError
    return round(value)
