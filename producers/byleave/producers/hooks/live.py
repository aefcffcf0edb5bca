"""Edge: live capture. Starts the capture process, reads its frames, kills and reaps it (P2).

X11 only in this version. Wayland has no way for one program to see another's input, and that is right: it is refused. On macOS
and Windows nothing tells yet which application has the focus, and without that nothing may be captured.

Two hooks stand behind it. `x11` knows layouts, groups and remapped keys, and has the server's time of each event; `pynput` is
what other systems will have, and takes no text where it cannot know which was typed.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from byleave.core.clock import boot_ms
from byleave.core.errors import Forged, Refused
from byleave.core.events import Screen
from byleave.producers.browser import BrowserSites
from byleave.producers.hooks import frames
from byleave.producers.hooks.source import FOCUS_HOLD_MS, POLL_EVENTS_MAX, Observed

PIPE_BYTES = 1 << 20
"""Size of the queue between the processes: some 15,000 events."""
SILENCE_MS_MAX = 3_000
"""A worker that pulses every second and a half, or more often, is not alive when it is silent for this long. One that ends is
known at once."""
START_MS_MAX = 10_000
REAP_S_MAX = 1.0
WORKERS = {"x11": "byleave.producers.hooks.record_worker", "pynput": "byleave.producers.hooks.pynput_worker"}
_ELSEWHERE = {
    "darwin": "macOS: a hook there needs the person's yes under Privacy & Security, Input Monitoring and Accessibility",
    "win32": "Windows",
}
_READ_BYTES = 1 << 16
_F_SETPIPE_SZ = 1031


def check_display(environment: Mapping[str, str], platform: str = sys.platform) -> None:
    """Raises Refused, in one sentence, where this machine cannot be captured from."""
    if platform != "linux":
        raise Refused(
            f"live capture works on X11 only in this version, not on {_ELSEWHERE.get(platform, platform)}. Nothing tells "
            "it yet which application has the focus here, and without that nothing may be captured",
            reason="platform",
        )
    session = environment.get("XDG_SESSION_TYPE")  # a DISPLAY beside Wayland is its emulation, which sees only some programs
    if session == "wayland" or (environment.get("WAYLAND_DISPLAY") and session != "x11"):
        raise Refused("a Wayland session lets no program see another's input: log in to an X11 session to capture",
                      reason="wayland")  # fmt: skip
    if not environment.get("DISPLAY"):
        raise Refused("no X display: set DISPLAY, or use a replayed recording", reason="no-display")


class LiveSource:
    """`Source` by a child process. Between `start` and `stop` there is exactly one."""

    def __init__(self, environment: Mapping[str, str], hook: str = "x11") -> None:
        """`hook`: a name in WORKERS."""
        self._environment, self._program = dict(environment), WORKERS[hook]
        self._worker: subprocess.Popen[bytes] | None = None
        self._pause: tuple[str, ...] = ()
        self._pipe = -1
        self._frames = frames.Frames()
        self._screen = Screen(0, 0)
        self._heard_ms, self._grace_ms = 0, START_MS_MAX
        self._now_ms = 0
        self._open = False
        self._lost = self._settled_ms = 0
        self.sites = BrowserSites()

    @property
    def screen(self) -> Screen:
        return self._screen

    @property
    def alive(self) -> bool:
        return self._open and self._now_ms - self._heard_ms <= self._grace_ms

    @property
    def ended(self) -> bool:
        """Whether the capture process is gone, as the system knows it; `alive` tells after the next `poll`."""
        return self._worker is not None and self._worker.poll() is not None

    @property
    def exhausted(self) -> bool:
        return False

    @property
    def settled_ms(self) -> int:
        return self.sites.settled(self._settled_ms)

    @property
    def focus_hold_ms(self) -> int:
        return FOCUS_HOLD_MS

    @property
    def pid(self) -> int | None:
        """The capture process, while there is one."""
        return self._worker.pid if self._worker else None

    def start(self, now_ms: int, *, titles: bool, targets: bool = False) -> None:
        check_display(self._environment)
        command = [sys.executable, "-m", self._program, str(os.getpid()), str(titles + 2 * targets), *self._pause]
        self._worker = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self._environment
        )
        if self._pause and os.path.exists(self._pause[1]):  # made while there was no process yet that `kill` could have ended
            raise Refused("paused while the capture process was being started", reason="paused")
        if self._worker.stdout is None:
            raise Refused("the capture process has no pipe", reason="no-pipe")
        self._pipe = self._worker.stdout.fileno()
        import fcntl  # not on Windows, where start has refused

        with contextlib.suppress(OSError):  # a smaller queue is still a queue
            fcntl.fcntl(self._pipe, _F_SETPIPE_SZ, PIPE_BYTES)
        self._frames, self._screen, self._open = frames.Frames(), Screen(0, 0), True
        self._heard_ms = self._now_ms = now_ms
        self._settled_ms = 0
        self._grace_ms = START_MS_MAX
        self.sites.open(window=True)

    def poll(self, now_ms: int, timeout_s: float) -> Sequence[Observed]:
        self._now_ms = now_ms
        found: list[Observed] = []
        if not self._open:
            return found
        while len(found) < POLL_EVENTS_MAX and select.select([self._pipe], [], [], 0 if found else timeout_s)[0]:
            chunk = os.read(self._pipe, _READ_BYTES)
            if not chunk or not self._take(chunk, now_ms, found):
                self._open = False
                break
            timeout_s = 0
        return self.sites.place(found, self._settled_ms, now_ms)

    def pause_by(self, keys: str, path: str) -> None:
        """From the next `start` on, the capture process makes the file `path` and ends when these keys are pressed."""
        self._pause = (keys, path)

    def kill(self) -> None:
        """From any thread: no capture process runs any more. The next `poll` finds it ended."""
        worker = self._worker
        if worker is not None:
            worker.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(REAP_S_MAX)

    def take_lost(self) -> int:
        lost, self._lost = self._lost, 0
        return lost

    def hear(self, said: dict[str, Any]) -> dict[str, Any]:
        """Takes in what a browser's native host says. Any thread. Raises Forged."""
        return self.sites.hear(said, boot_ms())

    def stop(self) -> bool:
        """SIGKILL and reap: the process may be stopped, blocked or busy, it ends all the same."""
        worker = self._worker
        self._open = False
        self.sites.open(window=False)
        if worker is None:
            return True
        worker.kill()
        try:
            worker.wait(REAP_S_MAX)
        except subprocess.TimeoutExpired:
            return False
        if worker.stdout is not None:
            worker.stdout.close()  # what is left in the pipe is never read
        self._worker, self._lost = None, 0
        return True

    def _take(self, chunk: bytes, now_ms: int, found: list[Observed]) -> bool:
        """Whether the chunk was what a worker of ours writes."""
        try:
            for frame in self._frames.feed(chunk):
                event = frames.observed(frame)
                if event is not None:
                    found.append(event)
                elif frame[0] == frames.LOST:
                    self._lost += int(frame[1])
                elif frame[0] == frames.ALIVE:
                    self._settled_ms = int(frame[1])
                elif frame[0] == frames.READY:
                    self._screen, self._grace_ms = Screen(int(frame[1]), int(frame[2])), SILENCE_MS_MAX
        except (Forged, IndexError, ValueError, TypeError):
            return False
        self._heard_ms = now_ms
        return True
