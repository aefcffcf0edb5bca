"""What a source of events is, and what it reports. One file per source beside this one.

A source belongs to one run window at a time: `start`, `poll` until told otherwise, `stop`. After `stop` nothing of that window
is ever returned: what a stopped hook still holds dies with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from byleave.core.events import Kind, Modifiers, Screen, Window
from byleave.core.targets import Target

FOCUS_HOLD_MS = 200
POLL_EVENTS_MAX = 2_000
"""Most events that one poll returns; the rest waits for the next."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One event as a hook saw it. `at_ms` is this machine's boot clock (`core.clock.boot_ms`), not permit time.

    Pointer kinds use x, y, button, dx, dy, target as `PointerEvent`; TARGET the target of the BUTTON_DOWN of that time; key
    kinds `key` and `modifiers` as `KeyEvent`; FOCUS `window`, None when what has the focus is unknown.
    """

    at_ms: int
    kind: Kind
    x: int = 0
    y: int = 0
    button: int = 0
    dx: int = 0
    dy: int = 0
    key: str = field(default="", repr=False)
    modifiers: Modifiers = Modifiers.NONE
    window: Window | None = field(default=None, repr=False)
    target: Target | None = None


class Source(Protocol):
    """Where events come from."""

    @property
    def screen(self) -> Screen:
        """Size of the screen that places refer to; known once the first event was returned."""

    @property
    def alive(self) -> bool:
        """Whether events of this window can still come: a worker that died or fell silent is not alive."""

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing more to come, ever. A live hook never is."""

    @property
    def settled_ms(self) -> int:
        """Up to this moment everything that was seen has been returned, also a focus that changed without an event."""

    @property
    def focus_hold_ms(self) -> int:
        """How long before and after a focus change it is in doubt for which window an event was meant."""

    def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
        """Opens a run window. Raises Refused or Misconfigured, in one sentence, where this machine cannot be captured from.

        `titles`: whether the manifest names window titles; otherwise they are looked at to tell what is on `never.toml`, and
        stay in the capture process. `targets`: whether it names what is clicked on; otherwise nobody is asked for that.
        """

    def poll(self, now_ms: int, timeout_s: float) -> Sequence[Observed]:
        """Events up to `now_ms` in order, at most POLL_EVENTS_MAX; empty after `timeout_s`."""

    def take_lost(self) -> int:
        """How many events were lost since the last call because a bounded queue was full."""

    def stop(self) -> bool:
        """Ends the window at once and whole. True when nothing of it runs any more (reaped)."""
