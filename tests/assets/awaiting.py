"""Waits for what a test awaits, and fails loudly when the bound is over."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], within_s: float = 20.0, what: str = "the condition") -> float:
    """Asks every 5 ms; how long it took, in seconds."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, f"not in time: {what}"
        time.sleep(0.005)
    return time.monotonic() - began_s
