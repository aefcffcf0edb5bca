"""What a capture process has to say, whichever hook it has: the focus before what happens in it, then the event, as frames.

A worker writes through one `Reporter`. What does not fit into the pipe is counted, and the count goes before the next frame;
a focus that was lost is told again before the next event.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from byleave.core.clock import boot_ms
from byleave.core.events import Kind, Screen
from byleave.producers.hooks import chord, frames
from byleave.producers.hooks.source import Observed
from byleave.producers.hooks.targets import Asker
from byleave.producers.hooks.x11 import Desktop, Looked

PULSE_S, REST_S = 0.5, 1.5
"""From one sign of life to the next, and to the one after that while nothing happens."""
KEY_MS, POINTER_MS = 10, 50
"""How old the known focus may be when an event is reported; asking costs a round trip to the X server."""
ENDED = 3
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


class Reporter:
    """The frames of one worker; one thread at a time."""

    def __init__(
        self, desktop: Desktop, out: int, pause_keys: str = "", pause_path: str = "", *, asker: Asker | None = None
    ) -> None:
        self._desktop, self._out, self._asker = desktop, out, asker
        self._pause, self._pause_path = chord.chord(pause_keys) if pause_keys else None, pause_path
        self._waiting, self._events, self._lost = bytearray(), 0, 0
        self._told: tuple[int, bool, str] | None = None
        self._looked_ms = 0
        self._password: bool | None = None
        self.looked = Looked(0, True, 0)

    def look(self, age_ms: int) -> bool:
        """Looks for the focus, unless that is known and at most `age_ms` old. Whether it looked."""
        now = boot_ms()
        if self._told is not None and now - self._looked_ms < age_ms:
            return False
        before, self._looked_ms, self.looked = self.looked.window, now, self._desktop.look()
        if self._asker is not None:
            if self.looked.window != before:
                self._asker.focus(self.looked.window, self._desktop.process())
            self._password = self._asker.password
            self.looked = self.looked._replace(secure=self.looked.secure or bool(self._password))
        return True

    def answered(self) -> None:
        """Tells what clicks were on, and looks anew: a password may be being written."""
        if self._asker is not None:
            for at_ms, target in self._asker.answers():
                self._say(frames.target_frame(at_ms, target))
            if self._asker.password is not self._password:
                self.forget()

    def forget(self) -> None:
        """The focus may have changed: it is looked for before the next event."""
        self._looked_ms = 0

    @property
    def forgotten(self) -> bool:
        return self._looked_ms == 0

    def focus(self, at_ms: int, layout: str) -> None:
        """Tells what has the focus, with the layout in use, if it is another than was told.

        Nothing while it is not known yet whether a password is being written: without a focus nothing is taken.
        """
        if self._asker is not None and self._asker.password is None:
            return
        window, secure, _ = self.looked
        if (window, secure, layout) != self._told:
            self._say(frames.focus_frame(at_ms, self._desktop.window(window, layout, secure=secure)))
            self._told = (window, secure, layout)

    def event(self, event: Observed) -> None:
        """After `focus`. Ends this process where it is the person's pause."""
        if self._pause and chord.presses(event, self._pause):
            chord.end_here(self._pause_path, ENDED)
        self._say(frames.event_frame(event), counts=1)
        if self._asker is not None and self._asker.targets and event.kind is Kind.BUTTON_DOWN:
            self._asker.clicked(event.at_ms, event.x, event.y)

    def alive(self) -> None:
        """With the moment at which the focus was last looked for."""
        self._say(frames.pack(frames.ALIVE, self._looked_ms))
        self.flush()

    def ready(self) -> None:
        screen: Screen = self._desktop.screen
        self._say(frames.pack(frames.READY, screen.width, screen.height))
        self.flush()

    def flush(self) -> bool:
        """Writes what waits, whole or not at all: never more than a pipe takes as one. False if it was lost."""
        waiting, events = bytes(self._waiting), self._events
        self._waiting.clear()
        self._events = 0
        try:
            if self._lost:
                os.write(self._out, frames.pack(frames.LOST, self._lost))
                self._lost = 0
            if waiting:
                os.write(self._out, waiting)
        except BlockingIOError:
            self._lost += events
            self._told = None
            return False
        except OSError:  # nobody reads any more
            os._exit(ENDED)
        return True

    def _say(self, frame: bytes, counts: int = 0) -> None:
        if len(self._waiting) + len(frame) > frames.FRAME_BYTES_MAX and not self.flush() and counts:
            self._lost += counts  # the focus before it may be among what was lost
            return
        self._waiting += frame
        self._events += counts


def open_pipe() -> int:
    """Standard output, which is the pipe, under another number: whatever a library prints must not become a frame."""
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.set_blocking(out, False)
    return out


def bind_to(parent: int) -> None:
    """Dies with its parent, and leaves no core dump with content in it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(ENDED)
