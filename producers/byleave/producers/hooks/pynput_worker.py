"""The capture process: pynput's hooks in, frames on standard output out. Killed by `pynput_source.py`, never stopped.

`Listener.stop()` does not stop (measured: alive until the next key), so nothing here relies on it: the process is killed as a
whole. It dies with its parent (PDEATHSIG on Linux, a broken pipe anywhere) and ends by itself, exit code 3, as soon as a hook's
thread is dead, the display is gone or the keyboard layout changed: then pynput would report other characters than were typed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any

from byleave.core.clock import boot_ms
from byleave.core.events import Kind
from byleave.producers.hooks import frames
from byleave.producers.hooks.replay import held_modifiers
from byleave.producers.hooks.source import Observed

PULSE_S = 0.2
FOCUS_MS = {"key": 10, "pointer": 50}
"""How old the known focus may be when an event of that kind is reported; asking costs one round trip to the X server."""
ENDED = 3
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_BUTTONS = {"left": 1, "middle": 2, "right": 3}


def key_name(key: Any) -> str:
    """The name under which a key travels: its character, or pynput's name, or empty when neither is known.

    A dead key travels as the combining accent that it puts on the next letter.
    """
    char = getattr(key, "char", None)
    if isinstance(char, str):
        char = (getattr(key, "combining", None) or "") if getattr(key, "is_dead", False) else char
        return char if len(char) == 1 and char.isprintable() else ""
    name = getattr(key, "name", "")
    return name if isinstance(name, str) else ""


class Reporter:
    """Turns pynput's callbacks into frames. Its callbacks come from two threads; a lock keeps focus and event together."""

    def __init__(self, desktop: Any, out: int) -> None:
        self._desktop, self._out = desktop, out
        self._lock = threading.Lock()
        self._layout = desktop.layout()
        self._held: set[str] = set()
        self._focus_id = -1
        self._focus_ms = 0
        self._lost = 0

    def key(self, key: Any, press: bool) -> None:
        name = key_name(key)
        with self._lock:
            self._mind_focus(FOCUS_MS["key"] if press else FOCUS_MS["pointer"])
            modifiers = held_modifiers(self._held)
            (self._held.add if press else self._held.discard)(name)
            self._event(Kind.PRESS if press else Kind.RELEASE, key=name, modifiers=modifiers)

    def move(self, x: float, y: float) -> None:
        with self._lock:
            self._mind_focus(FOCUS_MS["pointer"])
            self._event(Kind.MOVE, round(x), round(y))

    def click(self, x: float, y: float, button: Any, pressed: bool) -> None:
        with self._lock:
            self._mind_focus(FOCUS_MS["key"])
            kind = Kind.BUTTON_DOWN if pressed else Kind.BUTTON_UP
            self._event(kind, round(x), round(y), button=_BUTTONS.get(button.name, 0))

    def scroll(self, x: float, y: float, dx: float, dy: float) -> None:
        with self._lock:
            self._mind_focus(FOCUS_MS["pointer"])
            self._event(Kind.SCROLL, round(x), round(y), dx=round(dx), dy=round(dy))

    def pulse(self) -> bool:
        """A sign of life; False when this process must end."""
        with self._lock:
            self._mind_focus(0)
            self._send(frames.pack(frames.ALIVE), counts=False)
            return bool(self._desktop.layout() == self._layout)

    def ready(self) -> None:
        screen = self._desktop.screen
        with self._lock:
            self._mind_focus(0)
            self._send(frames.pack(frames.READY, screen.width, screen.height), counts=False)

    def _mind_focus(self, age_ms: int) -> None:
        now = boot_ms()
        if now - self._focus_ms < age_ms:
            return
        self._focus_ms, found = now, self._desktop.focus_id()
        if found != self._focus_id:
            self._focus_id = found
            if len(self._held) > 32:
                self._held.clear()  # releases that another client swallowed
            self._send(frames.focus_frame(now, self._desktop.window(found, self._layout)))

    def _event(self, kind: Kind, x: int = 0, y: int = 0, **more: Any) -> None:
        self._send(frames.event_frame(Observed(boot_ms(), kind, x, y, **more)))

    def _send(self, frame: bytes, *, counts: bool = True) -> None:
        try:
            if self._lost:
                os.write(self._out, frames.pack(frames.LOST, self._lost))
                self._lost = 0
            os.write(self._out, frame)
        except BlockingIOError:
            self._lost += counts
            self._focus_id, self._focus_ms = -1, 0  # a focus change that was lost is said again before the next event
        except OSError:  # nobody reads any more
            os._exit(ENDED)


def main(argv: list[str]) -> int:
    """`argv`: the parent's pid, and 1 if window titles are named by the manifest."""
    parent, titles = int(argv[0]), argv[1] == "1"
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whatever a library prints must not become a frame
    _bind_to(parent)
    os.set_blocking(out, False)
    from pynput import keyboard, mouse  # here: it fails without a display

    from byleave.producers.hooks.x11 import Desktop

    reporter = Reporter(Desktop(titles=titles), out)
    hooks = (
        keyboard.Listener(on_press=lambda k: reporter.key(k, True), on_release=lambda k: reporter.key(k, False)),
        mouse.Listener(on_move=reporter.move, on_click=reporter.click, on_scroll=reporter.scroll),
    )
    for hook in hooks:
        hook.start()
    for hook in hooks:
        hook.wait()
    reporter.ready()
    while all(hook.is_alive() for hook in hooks) and os.getppid() == parent and reporter.pulse():  # never .running: it lies
        time.sleep(PULSE_S)
    os._exit(ENDED)  # hook threads do not end by themselves


def _bind_to(parent: int) -> None:
    """Dies with its parent, and leaves no core dump with content in it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(ENDED)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BaseException:  # noqa: BLE001 - a traceback could quote what was typed: the exit code is all that is said
        os._exit(ENDED)
