"""What was taken in the last minutes, for the eyes of the person alone: in memory only, never on disk (P7).

Pure: times come as arguments, on the boot clock. It holds what was really taken, behind scope and hold; an order to stop
empties it, and so does the end of the process. A pause does not: the person may look at what was taken before.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from byleave.core.events import Kind
from byleave.producers.hooks.source import Observed

AGE_MS_MAX = 300_000
EVENTS_MAX = 20_000
LINE_MS_MAX = 30_000
"""A line of text ends with an enter, another application, or after so long."""
_WORDS = {Kind.MOVE: "", Kind.BUTTON_DOWN: "[click]", Kind.SCROLL: "[scroll]"}
_KEYS = {"space": " ", "enter": "\n"}


@dataclass(slots=True)
class Line:
    """What was done in one application; `at_ms` of its first event."""

    at_ms: int
    app: str = field(repr=False)
    text: str = field(default="", repr=False)
    moves: int = 0


class Ring:
    """At most EVENTS_MAX events of at most AGE_MS_MAX."""

    def __init__(self) -> None:
        self._held: deque[tuple[Observed, str]] = deque(maxlen=EVENTS_MAX)

    def take(self, event: Observed, app: str) -> None:
        self._held.append((event, app))

    def forget(self, now_ms: int) -> None:
        """What is too old goes, whether or not anything comes."""
        while self._held and self._held[0][0].at_ms < now_ms - AGE_MS_MAX:
            self._held.popleft()

    def clear(self) -> None:
        self._held.clear()

    def lines(self, since_ms: int) -> Iterator[Line]:
        """What was taken since then, as the person did it: text as typed, other keys and clicks in brackets, moves counted."""
        line = Line(0, "")
        for event, app in self._held:
            if event.at_ms < since_ms:
                continue
            if (app, True) != (line.app, event.at_ms - line.at_ms < LINE_MS_MAX) or line.text.endswith("\n"):
                if line.text or line.moves:
                    yield line
                line = Line(event.at_ms, app)
            line.moves += event.kind is Kind.MOVE
            line.text += _told(event)
        if line.text or line.moves:
            yield line


def told(line: Line, now_ms: int, wall_s: float) -> str:
    """One line of text; `wall_s` is the time of day at `now_ms`."""
    at = time.strftime("%H:%M:%S", time.localtime(wall_s - (now_ms - line.at_ms) / 1000))
    moved = f"  ({line.moves} moves)" if line.moves else ""
    return f"{at}  {line.app}  {line.text.rstrip()}{moved}"


def _told(event: Observed) -> str:
    if event.kind in (Kind.PRESS, Kind.PASTE):
        return event.key if len(event.key) == 1 else _KEYS.get(event.key, f"[{event.key or 'a key unknown'}]")
    if event.kind is Kind.TASK:
        return f"[task: {event.key or 'done'}]"
    return _WORDS.get(event.kind, "")
