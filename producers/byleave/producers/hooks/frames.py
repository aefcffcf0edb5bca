"""What the capture process says to its parent over a pipe: length-prefixed JSON, one frame a write, never a file.

A frame is at most PIPE_BUF bytes, so that writes of several threads stay whole (POSIX, write(2)) and a full pipe refuses one as
a whole: the pipe itself is the bounded queue, and what does not fit is counted and declared.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from byleave.core.errors import Forged
from byleave.core.events import Kind, Modifiers, Window
from byleave.core.targets import Target
from byleave.producers.hooks.source import Observed

FRAME_BYTES_MAX = 4096
READY, ALIVE, LOST, EVENT, FOCUS, TARGET = "r", "a", "l", "e", "f", "t"
_LENGTH = struct.Struct(">H")
_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def pack(tag: str, *parts: Any) -> bytes:
    """One frame. A focus frame that would be too long loses its title."""
    body = _ENCODE([tag, *parts]).encode()
    if len(body) > FRAME_BYTES_MAX - _LENGTH.size:
        return pack(tag, *("" if isinstance(part, str) and len(part) > 64 else part for part in parts))
    return _LENGTH.pack(len(body)) + body


def event_frame(event: Observed) -> bytes:
    """The frame of a pointer or key event."""
    return pack(
        EVENT, event.at_ms, int(event.kind), event.x, event.y, event.button, event.dx, event.dy, event.key, int(event.modifiers)
    )


def focus_frame(at_ms: int, window: Window | None) -> bytes:
    """The frame of a focus change; None: nobody knows what has the focus."""
    if window is None:
        return pack(FOCUS, at_ms)
    return pack(FOCUS, at_ms, window.handle, window.app, window.title, window.layout, window.secure)


def target_frame(at_ms: int, target: Target) -> bytes:
    """The frame of what the click of that moment was on."""
    return pack(TARGET, at_ms, target.role, *target.box, target.label)


class Frames:
    """Cuts a byte stream into frames. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[list[Any]]:
        """The whole frames in `chunk`. Raises Forged on what no worker of ours writes; its content is not quoted."""
        stream, at, found = self._rest + chunk, 0, []
        while len(stream) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(stream, at)
            if len(stream) - at - _LENGTH.size < size:
                break
            at += _LENGTH.size + size
            try:
                found.append(list(json.loads(stream[at - size : at])))
            except (ValueError, TypeError):
                raise Forged("the capture process wrote something that is not a frame", reason="malformed") from None
        self._rest = stream[at:]
        return found


def observed(frame: list[Any]) -> Observed | None:
    """The event in an EVENT, FOCUS or TARGET frame, None for others. Raises Forged."""
    try:
        if frame[0] == EVENT:
            at, kind, x, y, button, dx, dy, key, modifiers = frame[1:]
            return Observed(at, Kind(kind), x, y, button, dx, dy, key, Modifiers(modifiers))
        if frame[0] == FOCUS:
            window = Window(frame[2], frame[3], "", frame[4], frame[5], frame[6]) if len(frame) > 2 else None
            return Observed(frame[1], Kind.FOCUS, window=window)
        if frame[0] == TARGET:
            return Observed(frame[1], Kind.TARGET, target=Target(*frame[2:]))
    except (ValueError, IndexError, TypeError):
        raise Forged("a frame of the capture process has other fields", reason="malformed") from None
    return None
