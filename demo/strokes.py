"""The typist's key-downs as presses and releases of a real keyboard: dwell times, rollover, shift held over runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from byleave.core.events import Kind, Modifiers, Window
from byleave.producers.hooks.source import Observed
from demo.typist import KeyEvent

_NAMED = {"\n": "enter", "\t": "tab", " ": "space"}
_DWELL_MU, _DWELL_SIGMA = 4.5, 0.3
"""ln ms of a key's dwell: median 90 ms. Intervals are shorter at times, so the next key goes down first: rollover."""


def key_name(char: str) -> str:
    """The name under which a hook reports a character."""
    return _NAMED.get(char, char)


def strokes(events: Sequence[KeyEvent], windows: dict[str, Window], rng: random.Random, start_ms: int) -> list[Observed]:
    """Everything a hook would report of `events`, in order of time; their windows are looked up in `windows`."""
    found: list[Observed] = []
    shift_from: int | None = None
    for n, event in enumerate(events):
        at = start_ms + event.t_ms
        dwell = max(30, min(300, int(rng.lognormvariate(_DWELL_MU, _DWELL_SIGMA))))
        if event.kind == "shift":
            shift_from = at
            found.append(Observed(at, Kind.PRESS, key="shift"))
            continue
        held = Modifiers.SHIFT if shift_from is not None else Modifiers.NONE
        found.extend(_one(event, at, at + dwell, held, windows))
        after = events[n + 1] if n + 1 < len(events) else None
        if shift_from is not None and not (after and after.kind == "char" and _shifted(after.text)):
            gap = (after.t_ms - event.t_ms) if after else dwell
            found.append(Observed(at + max(1, min(dwell, gap - 1)), Kind.RELEASE, key="shift"))
            shift_from = None
    return sorted(found, key=lambda observed: observed.at_ms)  # stable: a press stays before its release


def _one(event: KeyEvent, at: int, until: int, held: Modifiers, windows: dict[str, Window]) -> Iterator[Observed]:
    if event.kind == "focus":
        yield Observed(at, Kind.FOCUS, window=windows[event.window])
    elif event.kind == "click":
        yield Observed(at, Kind.BUTTON_DOWN, x=400, y=300, button=1)
        yield Observed(until, Kind.BUTTON_UP, x=400, y=300, button=1)
    elif event.kind == "paste":
        yield Observed(at, Kind.PASTE, key=event.text)
    elif event.kind == "ctrl_backspace":
        yield Observed(at - 5, Kind.PRESS, key="ctrl_l")
        yield Observed(at, Kind.PRESS, key="backspace", modifiers=Modifiers.CONTROL)
        yield Observed(until, Kind.RELEASE, key="backspace", modifiers=Modifiers.CONTROL)
        yield Observed(until + 5, Kind.RELEASE, key="ctrl_l")
    else:
        name = key_name(event.text) if event.text else event.kind
        yield Observed(at, Kind.PRESS, key=name, modifiers=held)
        yield Observed(until, Kind.RELEASE, key=name, modifiers=held)


def _shifted(char: str) -> bool:
    return char.isupper() or char in '~!@#$%^&*()_+{}|:"<>?'
