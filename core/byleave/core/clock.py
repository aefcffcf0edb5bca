"""Edge: the machine's clocks. Rules take times as arguments; only `main` modules call these.

`boot_ms` counts while the machine sleeps (ruling 10): a laptop's night must age its lease. `time.monotonic` does not.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

from byleave.core.errors import Misconfigured


def boot_ms() -> int:
    """Milliseconds on a clock that never runs back and counts sleep; its zero is some boot. Raises Misconfigured elsewhere."""
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    if sys.platform == "darwin":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) // 1_000_000
    if sys.platform == "win32":
        ticks = ctypes.WinDLL("kernel32").GetTickCount64
        ticks.restype = ctypes.c_uint64
        return int(ticks())
    raise Misconfigured(f"no clock that counts sleep is known on {sys.platform}: this machine cannot hold a lease")


def anchored(wall: Callable[[], int], boot: Callable[[], int]) -> Callable[[], int]:
    """The wall clock as it is now, counted on by the boot clock: a wall clock that is set later no longer moves it."""
    began_ms, at_ms = wall(), boot()
    return lambda: began_ms + boot() - at_ms


def wall_ms() -> int:
    """Milliseconds since 1970 by the wall clock: for file names and people, and the beacon service's own T. Never decides."""
    return time.time_ns() // 1_000_000
