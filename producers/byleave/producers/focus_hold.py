"""Events are held for a moment around each focus change; if the focus changed, both sides are dropped (P1).

A person types on for a moment after a window has come in between, and a hook may see a key before it sees that the focus has
gone. Whose keys these were is not known, so they are nobody's: what happened within `hold_ms` before or after a change is
dropped, before it had a number, and only the changes at which something was dropped are counted, never the keys.

Pure: time is that of the events, and of what the source says it has told everything up to.
Promises  an event passes only where the focus it is told under held from `hold_ms` before it until `hold_ms` after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from byleave.core.events import Kind, Window
from byleave.core.targets import PASSWORD
from byleave.producers.hooks.source import Observed

HELD_MAX = 8_192
"""Events held at once: 200 ms at 40,000 a second, twice what a hook can tell. Beyond, all of them are dropped."""


class FocusHold:
    """One session's hold. `drops`: how often something was dropped, however much it was."""

    def __init__(self, hold_ms: int) -> None:
        self._hold_ms = hold_ms
        self._held: deque[Observed] = deque()
        self._window: Window | None = None
        self._told = self._counted = False
        self._until_ms = 0
        self.drops = 0

    def feed(self, event: Observed) -> Iterator[Observed]:
        """What is certain once `event` is seen. The first focus of a session counts as a change: from what, nobody knows."""
        yield from self.settle(event.at_ms)
        if event.kind is Kind.TARGET:
            self._attach(event)
        elif event.kind is Kind.FOCUS and self._changes(event.window):
            self._counted = False
            self.drop()
            self._until_ms = max(self._until_ms, event.at_ms + self._hold_ms)
            yield event
        elif event.kind is not Kind.FOCUS and event.at_ms < self._until_ms:
            self._count()
        else:
            self._held.append(event)
            if len(self._held) > HELD_MAX:
                self.lose()

    def settle(self, told_ms: int) -> Iterator[Observed]:
        """What is certain now that everything up to `told_ms` has been told."""
        while self._held and self._held[0].at_ms + self._hold_ms <= told_ms:
            yield self._held.popleft()

    def drop(self) -> None:
        """What is held was not decided in time, which is doubt."""
        if self._held:
            self._count()
        self._held.clear()

    def lose(self) -> None:
        """A focus may be among what was lost: what is held is dropped, and the next focus is a change."""
        self.drop()
        self._told = False

    def _attach(self, answer: Observed) -> None:
        """What a held click was on. An answer that comes after the hold is of no click any more; of two clicks in one moment it
        may be either's, so that only a password counts, and for both."""
        clicks = [n for n, held in enumerate(self._held) if held.kind is Kind.BUTTON_DOWN and held.at_ms == answer.at_ms]
        if len(clicks) == 1 or (answer.target is not None and answer.target.role == PASSWORD):
            for place in clicks:
                self._held[place] = replace(self._held[place], target=answer.target)

    def _changes(self, window: Window | None) -> bool:
        """Another layout in the same window is no change."""
        now = replace(window, layout="") if window else None
        told, before = self._told, self._window
        self._told, self._window = True, now
        return not told or now != before

    def _count(self) -> None:
        self.drops += not self._counted
        self._counted = True
