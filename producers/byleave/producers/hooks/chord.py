"""The keys by which a person pauses, seen by the capture process itself before anything is reported.

Promises  the key that pauses is never captured, whatever has the focus; nothing that came after it is either.
Pure but for `end_here`.
"""

from __future__ import annotations

import os
from functools import reduce
from operator import or_
from typing import NoReturn

from byleave.core.errors import Misconfigured
from byleave.core.events import Kind, Modifiers
from byleave.producers.hooks.source import Observed

DEFAULT = "ctrl+alt+shift+esc"
"""On every keyboard and in every layout the same, and nobody's shortcut."""
_NAMES = {"ctrl": Modifiers.CONTROL, "alt": Modifiers.ALT, "shift": Modifiers.SHIFT, "meta": Modifiers.META}
Chord = tuple[Modifiers, str]


def chord(text: str) -> Chord:
    """What a text as DEFAULT names. Raises Misconfigured."""
    *held, key = text.lower().split("+")
    if len(held) < 2 or not key or not set(held) <= set(_NAMES):
        raise Misconfigured(f"the keys that pause must be two or more of {', '.join(_NAMES)} and a key, as {DEFAULT}")
    return _plain(reduce(or_, map(_NAMES.__getitem__, held))), key


def presses(event: Observed, wanted: Chord) -> bool:
    """Whether this event is that press."""
    return event.kind is Kind.PRESS and (_plain(event.modifiers), event.key.lower()) == wanted


def end_here(path: str, code: int) -> NoReturn:
    """Leaves the pause behind and ends this process at once; what it holds dies with it."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    finally:
        os._exit(code)


def _plain(held: Modifiers) -> Modifiers:
    """Caps lock changes nothing, and Alt under Shift is called Meta by many keyboard maps."""
    held &= ~Modifiers.CAPS
    return held & ~Modifiers.META | Modifiers.ALT if held & Modifiers.META and held & Modifiers.SHIFT else held
