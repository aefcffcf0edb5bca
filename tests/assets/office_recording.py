"""Makes the recording `office` that ships with the project: `python tests/assets/office_recording.py`. Same bytes each time.

A made-up worker writes a mail, a note and two commands with made-up personal data in them, with the slips, rollover and
corrections of human typing, and between them moves, clicks, drags and scrolls with the mouse.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byleave.core.events import Kind, Window
from byleave.producers.hooks.source import Observed
from demo.strokes import strokes
from demo.typist import Profile, type_out

WIDTH, HEIGHT = 1920, 1080
_PACE = Profile(typo=0.05, pause=0.0, speed=0.42, word_delete=0.1, arrow_fix=0.1)
_SCRIPT = (
    ("editor", "Hi team, the new release is ready for review.\nPlease call Dana Whitlock at 555-0142 before noon.\n"),
    ("terminal", "git commit -m 'fix the login page'\nssh deploy@10.20.30.40\n"),
    ("solitaire", "hello there"),
    ("editor", "Invoice goes to lena.okafor@example.com, card 4539 1488 0343 6467.\nThanks for the quick fix!\n"),
)
"""Application and text; the third is in no manifest and must not be captured."""
_BUTTONS = {1: "left", 2: "middle", 3: "right"}
_START_S = 5000.0
SHIPPED = Path(__file__).resolve().parents[2] / "producers" / "byleave" / "producers" / "recordings" / "office"


def compose(folder: Path) -> None:
    """Writes events.jsonl, top_window.jsonl and metadata.json into `folder`."""
    events = sorted(_events(), key=lambda event: event.at_ms)
    folder.mkdir(parents=True, exist_ok=True)
    tops = [event for event in events if event.kind is Kind.FOCUS]
    _write(folder / "events.jsonl", (_row(event) for event in events if event.kind is not Kind.FOCUS))
    _write(
        folder / "top_window.jsonl", ({"time_stamp": _seconds(e), "top_window_name": e.window.app} for e in tops if e.window)
    )
    metadata = {"layout": "us", "scroll_direction": -1, "screen_width": WIDTH, "screen_height": HEIGHT, "system": "composed"}
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=1) + "\n", "utf-8", newline="\n")


def _events() -> Iterator[Observed]:
    rng = random.Random("office-1")
    windows = {app: Window(n, app, layout="us") for n, app in enumerate(dict.fromkeys(app for app, _ in _SCRIPT))}
    clock, place = 0, (960, 540)
    for n, (app, text) in enumerate(_SCRIPT):
        yield Observed(clock, Kind.FOCUS, window=windows[app])
        target = (rng.randint(200, 1700), rng.randint(150, 900))
        path = list(_stroke(clock + 40, place, target, 700, rng))
        yield from path
        clock, place = path[-1].at_ms + 60, target
        yield from _click(clock, place, 1)
        if n % 2 == 1:
            yield from _click(clock + 160, place, 1)
        typed = strokes(type_out(text, n, _PACE), windows, rng, clock + 350)
        yield from typed
        clock = typed[-1].at_ms + 250
        yield from (Observed(clock + 45 * i, Kind.SCROLL, *place, dy=-1) for i in range(8))
        clock += 500
        drag = list(_stroke(clock + 20, place, (place[0] + 180, place[1] + 40), 450, rng))
        yield Observed(clock, Kind.BUTTON_DOWN, *place, button=1)
        yield from drag
        clock, place = drag[-1].at_ms + 30, (drag[-1].x, drag[-1].y)
        yield Observed(clock, Kind.BUTTON_UP, *place, button=1)
        clock += 300
    yield from _click(clock, place, 3)


def _stroke(at: int, start: tuple[int, int], end: tuple[int, int], duration_ms: int, rng: random.Random) -> Iterator[Observed]:
    """A move of the hand at 200 Hz: slow, fast, slow (minimum jerk), and not quite straight."""
    bow = rng.uniform(-60, 60)
    for step in range(0, duration_ms + 1, 5):
        t = step / duration_ms
        ease = t**3 * (10 - 15 * t + 6 * t * t)
        aside = bow * math.sin(math.pi * t)
        x, y = (round(a + (b - a) * ease + aside * sign) for a, b, sign in zip(start, end, (0.3, 1.0), strict=True))
        yield Observed(at + step, Kind.MOVE, min(WIDTH - 1, max(0, x)), min(HEIGHT - 1, max(0, y)))


def _click(at: int, place: tuple[int, int], button: int) -> Iterator[Observed]:
    yield Observed(at, Kind.BUTTON_DOWN, *place, button=button)
    yield Observed(at + 85, Kind.BUTTON_UP, *place, button=button)


def _row(event: Observed) -> dict[str, Any]:
    row: dict[str, Any] = {"time_stamp": _seconds(event)}
    if event.kind in (Kind.PRESS, Kind.RELEASE):
        return row | {"action": "press" if event.kind is Kind.PRESS else "release", "name": event.key}
    place = {"x": event.x, "y": event.y}
    if event.kind is Kind.MOVE:
        return row | {"action": "move"} | place
    if event.kind is Kind.SCROLL:
        return row | {"action": "scroll"} | place | {"dx": event.dx, "dy": event.dy}
    return row | {"action": "click"} | place | {"button": _BUTTONS[event.button], "pressed": event.kind is Kind.BUTTON_DOWN}


def _seconds(event: Observed) -> float:
    return round(_START_S + event.at_ms / 1000, 3)


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), "utf-8", newline="\n")


if __name__ == "__main__":
    compose(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
