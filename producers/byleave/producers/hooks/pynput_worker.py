"""The capture process on pynput's hooks: frames on standard output. Killed by `live.py`, never stopped.

`Listener.stop()` does not stop (measured: alive until the next key), so nothing here relies on it: the process is killed as a
whole. It dies with its parent (PDEATHSIG on Linux, a broken pipe anywhere) and ends by itself, exit code 3, as soon as a hook's
thread is dead, the display is gone or another layout is in use: then pynput would report other characters than were typed.

pynput reads the keyboard map once, knows no layout group, no caps lock, and the AltGr of older maps only. Where one of these
matters the layout that is told is empty or the key unknown, so that no text is taken: less than `record_worker` sees, never
something else.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from typing import Any

from byleave.core.clock import boot_ms
from byleave.core.events import BUTTONS, Kind, Modifiers, held_modifiers
from byleave.producers.hooks.keymap import LOCK
from byleave.producers.hooks.keysyms import Compose, key_of
from byleave.producers.hooks.reporter import ENDED, KEY_MS, POINTER_MS, PULSE_S, Reporter, bind_to, open_pipe
from byleave.producers.hooks.source import Observed
from byleave.producers.hooks.targets import asker
from byleave.producers.hooks.x11 import Desktop

SETTLE_S = 0.25
"""pynput says that it listens just before it asks the server to record."""
HELD_MAX = 32
"""More keys are not held at once: releases that another client swallowed are forgotten beyond."""


def key_name(key: Any) -> str:
    """The name under which a key travels: its character, or pynput's name, or empty when neither is known.

    A dead key travels as the combining accent that it puts on the next letter.
    """
    char = getattr(key, "char", None)
    if isinstance(char, str):
        char = (getattr(key, "combining", None) or "") if getattr(key, "is_dead", False) else char
        return char if len(char) == 1 and char.isprintable() else ""
    name = getattr(key, "name", "")
    return name if isinstance(name, str) and name else key_of(getattr(key, "vk", None) or 0)


class Listening:
    """Turns pynput's callbacks into events. They come from two threads; a lock keeps a focus and its event together."""

    def __init__(self, desktop: Desktop, reporter: Reporter) -> None:
        self._desktop, self._reporter = desktop, reporter
        self._lock = threading.Lock()
        self._keymap = self._now = desktop.keymap()
        self._held: set[str] = set()
        self._compose = Compose()

    def key(self, key: Any, press: bool) -> None:
        name = key_name(key)
        with self._lock:
            modifiers = held_modifiers(self._held)
            if len(self._held) > HELD_MAX:
                self._held.clear()
            (self._held.add if press else self._held.discard)(name)
            name = "" if len(name) == 1 and modifiers & Modifiers.ALTGR else name  # pynput looks at the wrong level
            name = self._compose.pressed(getattr(key, "vk", None) or 0, name) if press else name
            kind = Kind.PRESS if press else Kind.RELEASE
            self._report(KEY_MS if press else POINTER_MS, Observed(boot_ms(), kind, key=name, modifiers=modifiers))
            if name == "caps_lock" or not name:  # what it locked shows at the next key
                self._reporter.forget()

    def move(self, x: float, y: float) -> None:
        with self._lock:
            self._report(POINTER_MS, Observed(boot_ms(), Kind.MOVE, round(x), round(y)))

    def click(self, x: float, y: float, button: Any, pressed: bool) -> None:
        kind = Kind.BUTTON_DOWN if pressed else Kind.BUTTON_UP
        with self._lock:
            self._report(KEY_MS, Observed(boot_ms(), kind, round(x), round(y), BUTTONS.get(button.name, 0)))

    def scroll(self, x: float, y: float, dx: float, dy: float) -> None:
        with self._lock:
            self._report(POINTER_MS, Observed(boot_ms(), Kind.SCROLL, round(x), round(y), dx=round(dx), dy=round(dy)))

    def pulse(self) -> bool:
        """A sign of life; False when this process must end."""
        with self._lock:
            self._reporter.answered()
            self._look(0)
            self._reporter.alive()
            return self._now.layouts == self._keymap.layouts

    def ready(self) -> None:
        with self._lock:
            self._look(0)
            self._reporter.ready()

    def _report(self, age_ms: int, event: Observed) -> None:
        self._look(age_ms)
        self._reporter.event(event)
        self._reporter.flush()

    def _look(self, age_ms: int) -> None:
        if not self._reporter.look(age_ms):
            return
        if any(self._desktop.heard()):
            self._now = self._desktop.keymap()
        known = self._now == self._keymap and not any(self._keymap.layouts[1:]) and not self._reporter.looked.state & LOCK
        self._reporter.focus(boot_ms(), self._keymap.layout(0) if known else "")


def main(argv: list[str]) -> int:
    """`argv`: the parent's pid; 1 if the manifest names window titles, 2 targets, 3 both; what `Reporter` takes of a pause."""
    parent, named = int(argv[0]), int(argv[1])
    out = open_pipe()
    bind_to(parent)
    from pynput import keyboard, mouse  # here: it fails without a display

    desktop, asking = Desktop(titles=bool(named & 1)), asker(os.environ, targets=bool(named & 2))
    listening = Listening(desktop, Reporter(desktop, out, *argv[2:4], asker=asking))
    watched = [desktop.fileno(), *([asking.fileno()] if asking else [])]
    hooks = (
        keyboard.Listener(on_press=lambda k: listening.key(k, True), on_release=lambda k: listening.key(k, False)),
        mouse.Listener(on_move=listening.move, on_click=listening.click, on_scroll=listening.scroll),
    )
    for hook in hooks:
        hook.start()
    for hook in hooks:
        hook.wait()
    time.sleep(SETTLE_S)
    listening.ready()
    while all(hook.is_alive() for hook in hooks) and os.getppid() == parent and listening.pulse():  # never .running: it lies
        select.select(watched, [], [], PULSE_S)
    os._exit(ENDED)  # hook threads do not end by themselves


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BaseException:  # noqa: BLE001 - a traceback could quote what was typed: the exit code is all that is said
        os._exit(ENDED)
