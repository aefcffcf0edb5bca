"""A recording played back as if it happened now. Reads the DuckTrack/OpenCUA form, which is the project's own too.

A recording is a folder: `events.jsonl` (`time_stamp` in seconds of a monotonic clock, `action` move, click, scroll, press or
release), and where there are, `metadata.json` (screen size, layout) and `top_window.jsonl` (what had the focus, over time).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from byleave.core import recordings
from byleave.core.errors import Forged, Misconfigured
from byleave.core.events import Kind, Screen, Window, held_modifiers
from byleave.producers import never
from byleave.producers.hooks.source import FOCUS_HOLD_MS, POLL_EVENTS_MAX, Observed

EVENTS_MAX = 2_000_000
_FOR_EVER_MS = 1 << 62


class Timeline:
    """A list of events played at `speed`, behind `replay` and `canary`. Stopped, it stands still; started, it goes on.

    Nothing outlives `stop`: an event whose moment had not come before it comes after the next `start`.
    """

    def __init__(self, events: Sequence[Observed], screen: Screen, speed: float = 1.0) -> None:
        if not 0 < speed <= 10_000:
            raise Misconfigured(f"speed {speed} must be above 0 and at most 10000")
        self._events, self._speed = list(events), speed
        self._screens = [(0, screen)]
        self._next = 0
        self._origin: tuple[int, int] | None = None
        self._focus: Observed | None = None
        self._told, self._titles = True, False
        self._settled_ms = 0

    def append(self, events: Sequence[Observed], screen: Screen) -> None:
        """Another recording after this one, a second later, with windows and a screen of its own."""
        after_ms = self._events[-1].at_ms + 1000 if self._events else 0
        handles = 1 + max((event.window.handle for event in self._events if event.window), default=-1)
        self._screens.append((len(self._events), screen))
        for event in events:
            window = replace(event.window, handle=event.window.handle + handles) if event.window else None
            self._events.append(replace(event, at_ms=event.at_ms + after_ms, window=window))

    @property
    def screen(self) -> Screen:
        return next(screen for first, screen in reversed(self._screens) if first < max(1, self._next))

    @property
    def alive(self) -> bool:
        return self._origin is not None

    @property
    def exhausted(self) -> bool:
        return self._next >= len(self._events)

    @property
    def settled_ms(self) -> int:
        return _FOR_EVER_MS if self.exhausted else self._settled_ms

    @property
    def focus_hold_ms(self) -> int:
        return max(1, round(FOCUS_HOLD_MS / self._speed))

    def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
        del targets  # a recording has those it has; the scope takes them out
        self._titles = titles
        first = self._events[self._next].at_ms if not self.exhausted else 0
        self._origin = (now_ms, first)
        self._told = self._focus is None

    def poll(self, now_ms: int, timeout_s: float) -> Sequence[Observed]:
        if self._origin is None:
            return ()
        started_ms, first = self._origin
        found: list[Observed] = []
        if not self._told and self._focus is not None:  # a new window must hear what has the focus, as from a real hook
            found.append(self._told_at(self._focus, started_ms))
            self._told = True
        while not self.exhausted and len(found) < POLL_EVENTS_MAX:
            event = self._events[self._next]
            due = started_ms + int((event.at_ms - first) / self._speed)
            if due > now_ms:
                break
            if event.kind is Kind.FOCUS:
                self._focus = event
            found.append(self._told_at(event, due))
            self._next += 1
        if len(found) < POLL_EVENTS_MAX:
            self._settled_ms = now_ms
        if not found:
            time.sleep(timeout_s)
        return found

    def _told_at(self, event: Observed, at_ms: int) -> Observed:
        """As a hook tells it: where titles are not wanted, only the part of never.toml that the window falls under."""
        window = event.window
        if window is not None and window.title and not self._titles:
            part = never.category(window)
            window = replace(window, title=part or "", secure=part is not None)
        return replace(event, at_ms=at_ms, window=window)

    def take_lost(self) -> int:
        return 0

    def stop(self) -> bool:
        self._origin = None
        return True


def replay(names: str, speed: float = 1.0) -> Timeline:
    """The recording in a folder, or one that ships with the project, by name; several, one after another, with commas between.

    Raises Misconfigured.
    """
    first, *others = [load_recording(_folder(name)) for name in names.split(",")]
    timeline = Timeline(*first, speed)
    for other in others:
        timeline.append(*other)
    return timeline


def _folder(name: str) -> Path:
    shipped = resources.files("byleave.producers").joinpath("recordings", name)
    if Path(name).is_dir():
        return Path(name)
    if "/" not in name and shipped.is_dir():
        return Path(str(shipped))
    raise Misconfigured(f"no recording {name}: give a folder with events.jsonl, or one of {', '.join(shipped_recordings())}")


def shipped_recordings() -> list[str]:
    """Names of the recordings that ship with the project."""
    root = resources.files("byleave.producers").joinpath("recordings")
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []


def load_recording(folder: Path) -> tuple[list[Observed], Screen]:
    """All events of a recording, at_ms from 0, with the focus changes among them. Raises Misconfigured.

    A recording without `top_window.jsonl` counts as one window of application `recording:<folder name>`.
    """
    try:
        metadata = json.loads((folder / "metadata.json").read_text("utf-8")) if (folder / "metadata.json").is_file() else {}
        rows = _rows(folder / "events.jsonl")
        tops = _rows(folder / "top_window.jsonl") if (folder / "top_window.jsonl").is_file() else []
        origin = float(rows[0]["time_stamp"]) if rows else 0.0
        tops = tops or [{"time_stamp": origin, "top_window_name": f"recording:{folder.name}"}]
        layout = str(metadata.get("layout", "us"))
        windows = {name: n for n, name in enumerate(dict.fromkeys(str(row["top_window_name"]) for row in tops))}
        merged = [*((float(row["time_stamp"]), 0, row) for row in tops), *((float(row["time_stamp"]), 1, row) for row in rows)]
        merged.sort(key=lambda item: item[:2])
        held: set[str] = set()
        events = [_observed(row, max(0, round((at - origin) * 1000)), held, windows, layout) for at, _, row in merged]
        return events, recordings.screen_of(metadata)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, Forged) as error:
        raise Misconfigured(f"recording {folder} cannot be read ({type(error).__name__})") from None


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as stream:
        rows = [row for _, row, _ in islice(recordings.read_objects(stream), EVENTS_MAX + 1)]
    if len(rows) > EVENTS_MAX:
        raise ValueError
    return rows


def _observed(row: Mapping[str, Any], at_ms: int, held: set[str], windows: Mapping[str, int], layout: str) -> Observed:
    if "top_window_name" in row:
        name = str(row["top_window_name"])
        window = Window(windows[name], name.lower(), title=str(row.get("title", "")), layout=layout)
        return Observed(at_ms, Kind.FOCUS, window=window)
    told = recordings.told(row)
    if "key" not in told:
        return Observed(at_ms, **told)
    modifiers = held_modifiers(held)
    (held.add if told["kind"] is Kind.PRESS else held.discard)(told["key"])
    return Observed(at_ms, **told, modifiers=modifiers)
