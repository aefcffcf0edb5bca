"""Edge: the machine's clocks. Rules take times as arguments; only `main` modules call these.

`boot_ms` counts while the machine sleeps (ruling 10): a laptop's night must age its lease. `time.monotonic` does not.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


def anchored(kept: Path, boot_name: str, wall: Callable[[], int], boot: Callable[[], int]) -> Callable[[], int]:
    """The wall clock as it was when this was first asked in this boot, counted on by the boot clock.

    A wall clock that is set later no longer moves it, nor does a restart of the process: the difference of the two clocks is
    `kept` in a file, with the name of the boot. Where a boot has no name, each process begins anew.
    """
    from byleave.core.keys import replace_file  # with it comes the cryptography, which whoever asks for the time can do without

    try:
        found = json.loads(kept.read_bytes())
        ahead_ms = int(found["ahead_ms"]) if boot_name and found["boot"] == boot_name else None
    except (OSError, ValueError, KeyError, TypeError):
        ahead_ms = None
    if ahead_ms is None:
        ahead_ms = wall() - boot()
        replace_file(kept, json.dumps({"boot": boot_name, "ahead_ms": ahead_ms}).encode())
    return lambda: ahead_ms + boot()


def boot_name() -> str:
    """A name of this boot of the machine; empty where the system gives none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def wall_ms() -> int:
    """Milliseconds since 1970 by the wall clock: for file names and people, and the beacon service's own T. Never decides."""
    return time.time_ns() // 1_000_000
