"""Fewer moves than the hand made: at most one in `step_ms` (20 a second by default), minimisation at the source (P1).

The first and the last move of a stroke stay, and the last before a click, drag or scroll, so that places remain exact where
something was acted on. Nothing but moves is ever thinned.
"""

from __future__ import annotations

from collections.abc import Iterator

from byleave.core.events import Kind
from byleave.producers.hooks.source import Observed

MOVE_STEP_MS = 50


class Thinner:
    """One session's thinning; holds at most one move. `thinned` counts the moves left out."""

    def __init__(self, step_ms: int = MOVE_STEP_MS) -> None:
        self._step_ms = step_ms
        self._last_ms = -step_ms
        self._held: Observed | None = None
        self.thinned = 0

    def feed(self, event: Observed) -> Iterator[Observed]:
        """What goes on when `event` is seen: a held move first, where it matters."""
        if event.kind is Kind.MOVE:
            if self._held is not None and event.at_ms - self._held.at_ms >= self._step_ms:
                yield from self.flush()  # the hand rested: that was the end of a stroke
            if event.at_ms - self._last_ms >= self._step_ms:
                self._drop_held()
                self._last_ms = event.at_ms
                yield event
            else:
                self._drop_held()
                self._held = event
        else:
            yield from self.flush()
            yield event

    def rest(self, now_ms: int) -> Iterator[Observed]:
        """The held move, once the hand has rested for a step."""
        if self._held is not None and now_ms - self._held.at_ms >= self._step_ms:
            yield from self.flush()

    def flush(self) -> Iterator[Observed]:
        """The held move, if any."""
        if self._held is not None:
            held, self._held = self._held, None
            self._last_ms = held.at_ms
            yield held

    def _drop_held(self) -> None:
        self.thinned += self._held is not None
        self._held = None
