"""What a day came to, as numbers: minutes and events by application and kind, and what was never recorded (P7).

Pure. Kept for DAYS_MAX days in one file of the endpoint's folder, readable by its account alone: names of applications that the
manifest names, categories of `never.toml`, and numbers. Nothing of it leaves the machine. It is not sealed: a key would lie
beside it, and who reads this folder reads the device's key as well.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from byleave.core.events import Kind, Window
from byleave.producers import never
from byleave.producers.hooks.source import Observed

FILE, DAY = "days.json", "%Y-%m-%d"
DAYS_MAX = 31
APPLICATIONS_MAX = 100
"""Applications of one day; what comes beyond counts as "other"."""
STILL_MS_MAX = 60_000
"""Between two events of an application that are further apart, nobody worked in it."""
KINDS = {Kind.PRESS: "keys", Kind.PASTE: "pastes", Kind.BUTTON_DOWN: "clicks", Kind.SCROLL: "scrolls", Kind.MOVE: "moves"}
PARTS = ("ms", "counts", "never", "numbers")
NUMBERS = ("captured", "gaps", "near_focus")
"""Sequence numbers given out, those of them that were declared lost, and focus changes at which something was dropped."""


class Days:
    """Sums by day. `turn_to` says which day it is."""

    def __init__(self, kept: bytes = b"{}") -> None:
        """`kept`: what `dump` gave. What is damaged is no loss of anything but itself: it begins anew."""
        self._days: dict[str, dict[str, Counter[str]]] = {}
        self._last, self._last_ms = "", 0
        self._forbidden: tuple[int, str] | None = None
        try:
            for day, parts in dict(json.loads(kept)).items():
                self._days[str(day)] = {part: Counter({str(k): int(v) for k, v in parts[part].items()}) for part in PARTS}
        except (ValueError, TypeError, KeyError, AttributeError):
            self._days.clear()
        self.turn_to("")

    def turn_to(self, day: str) -> None:
        """`day`: YYYY-MM-DD, where the person is."""
        self._today = self._days.setdefault(day, _nothing()) if day else _nothing()
        for old in sorted(self._days)[:-DAYS_MAX]:
            del self._days[old]

    def take(self, event: Observed, app: str) -> None:
        """An event that was taken while `app` had the focus."""
        minutes = self._today["ms"]
        app = app if app in minutes or len(minutes) < APPLICATIONS_MAX else "other"
        between_ms = event.at_ms - self._last_ms if app == self._last else 0
        minutes[app] += between_ms if 0 <= between_ms <= STILL_MS_MAX else 0
        self._last, self._last_ms = app, event.at_ms
        self._today["numbers"]["captured"] += 1
        if event.kind in KINDS:
            self._today["counts"][KINDS[event.kind]] += 1

    def see(self, window: Window | None) -> None:
        """The focus went there: where nothing may be recorded, that is counted once, by its category."""
        category = never.category(window) if window is not None else None
        found = (window.handle, category) if window is not None and category else None
        if found is not None and found != self._forbidden:
            self._today["never"][found[1]] += 1
        self._forbidden = found

    def add(self, **numbers: int) -> None:
        """More of NUMBERS."""
        self._today["numbers"].update(numbers)

    def clear(self) -> None:
        """Erases all of them."""
        self._days.clear()
        self._today = _nothing()

    def known(self) -> list[str]:
        return sorted(self._days)

    def dump(self) -> bytes:
        return json.dumps(self._days, sort_keys=True).encode()

    def report(self, day: str) -> dict[str, Any]:
        """One day for people: `minutes` by application, `counts` by kind, `never` by category, and numbers."""
        parts = self._days.get(day, _nothing())
        minutes = {app: round(ms / 60_000, 1) for app, ms in parts["ms"].most_common()}
        numbers = {name: parts["numbers"][name] for name in NUMBERS}
        return {"day": day, "minutes": minutes, "counts": dict(parts["counts"]), "never": dict(parts["never"]), **numbers}


def _nothing() -> dict[str, Counter[str]]:
    return {part: Counter() for part in PARTS}
