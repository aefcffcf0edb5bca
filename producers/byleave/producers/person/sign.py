"""The process that shows capture: a small window of its own in a corner of the screen, above all others, tray or no tray.

    standard input    from the agent, a JSON line: what to show           standard output   to the agent, a line at least every
    ["number", capturing, "sentence", paused]                             BEAT_S: the number shown, or 0 while it cannot be seen

It beats only while the X server says that the window is on the screen, mapped and not covered; it puts itself right when it
can, and lets a lock screen win. It dies with its parent. A click opens it: pause, resume, my page. It can be dragged.

Not covered here: below a compositing manager X tells nobody what is covered, so there the window is only kept on top.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from Xlib import X, display

from byleave.core.errors import ByleaveError
from byleave.producers.hooks.reporter import ENDED, bind_to, open_pipe
from byleave.producers.inquiries import ask
from byleave.producers.person import pause
from byleave.producers.person.card import HEAD, ROW, Card, draw
from byleave.producers.person.indicator import Shown

BEAT_S = 0.4
BROWSE_S_MAX = 10.0
MARGIN = 12
LINE_BYTES_MAX = 4_096
RAISE_S_MIN, RAISE_S_MAX = 0.2, 8.0
"""How often it comes to the top again; each time that it does not stay there, half as often: a lock screen is not fought."""
TOP_S = 2.0
"""How often it is looked whether it is still the topmost."""
_EVENTS = X.StructureNotifyMask | X.VisibilityChangeMask | X.ButtonPressMask | X.ButtonReleaseMask | X.Button1MotionMask
_DRAG = 4
"""Pixels: less is a click."""


class Sign:
    """The window. Methods raise `ConnectionClosedError` when the server is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._display = folder, display.Display()
        screen = self._display.screen()
        self._root = screen.root
        self._screen = self._monitor()
        self.shown, self._opened = Shown(), False
        self._card: Card = draw(self.shown, opened=False)
        width, height = self._card.picture.size
        self._corner = sum(self._screen[::2]) - MARGIN, sum(self._screen[1::2]) - MARGIN
        self._at = self._inside(self._corner[0] - width, self._corner[1] - height)
        self._window = self._root.create_window(
            *self._at, width, height, 0, screen.root_depth, X.InputOutput, X.CopyFromParent,
            override_redirect=True, event_mask=_EVENTS,
        )  # fmt: skip
        self._window.set_wm_class("byleave", "Byleave")
        self._window.set_wm_name("byleave: the sign that shows capture")
        self._gc = self._window.create_gc()
        self._mapped = self._clear = False
        self._placed = (*self._at, width, height)
        self._raise_s, self._raise_at_s, self._top_at_s = RAISE_S_MIN, 0.0, 0.0
        self._grip: tuple[int, int] | None = None
        self._dragged = False
        self.show(self.shown)
        self._window.map()
        self._display.sync()

    def fileno(self) -> int:
        return int(self._display.fileno())

    def show(self, shown: Shown) -> None:
        """Draws it; the server itself keeps the picture, so that nothing has to be drawn again."""
        self.shown, self._card = shown, draw(shown, opened=self._opened)
        width, height = self._card.picture.size
        picture = self._window.create_pixmap(width, height, self._display.screen().root_depth)
        picture.put_pil_image(self._gc, 0, 0, self._card.picture)
        self._window.change_attributes(background_pixmap=picture)
        picture.free()
        self._at = self._inside(self._corner[0] - width, self._corner[1] - height)
        self._window.configure(x=self._at[0], y=self._at[1], width=width, height=height)
        self._window.clear_area()
        self._display.flush()

    def seen(self, now_s: float) -> bool:
        """Whether it is to be seen, after an attempt to put it right if it is not."""
        self.hear()
        if now_s >= self._top_at_s:
            self._top_at_s = now_s + TOP_S
            self._look()
        if not self._right:  # what was asked for may not be answered yet
            self._display.sync()
            self.hear()
        if self._right:
            self._raise_s = RAISE_S_MIN
        elif now_s >= self._raise_at_s:
            self._raise_at_s, self._raise_s = now_s + self._raise_s, min(RAISE_S_MAX, 2 * self._raise_s)
            self._window.map()
            self._window.configure(stack_mode=X.Above, x=self._at[0], y=self._at[1])
            self._display.sync()
            self.hear()
            self._clear = self._clear or self._topmost
        return self._right

    @property
    def _right(self) -> bool:
        return self._mapped and self._clear and self._placed == (*self._at, *self._card.picture.size)

    @property
    def _topmost(self) -> bool:
        return bool(self._root.query_tree().children[-1].id == self._window.id)

    def _look(self) -> None:
        """What no event tells: below a compositing manager, what is above; and other monitors."""
        self._clear = self._clear and self._topmost
        before, self._screen = self._screen, self._monitor()
        if self._screen != before:
            self.show(self.shown)

    def hear(self) -> None:
        """Takes in what the server said since."""
        while self._display.pending_events():
            event = self._display.next_event()
            match event.type:
                case X.MapNotify:
                    self._mapped = True
                case X.UnmapNotify:
                    self._mapped = self._clear = False
                case X.DestroyNotify:
                    os._exit(ENDED)
                case X.VisibilityNotify:
                    self._clear = event.state == X.VisibilityUnobscured
                case X.ConfigureNotify:
                    self._placed = (event.x, event.y, event.width, event.height)
                case X.ButtonPress | X.ButtonRelease | X.MotionNotify:
                    self._pointer(event)

    def _pointer(self, event: Any) -> None:
        if event.type == X.ButtonPress:
            self._grip, self._dragged = (event.root_x - self._corner[0], event.root_y - self._corner[1]), False
        elif event.type == X.MotionNotify and self._grip is not None:
            to = event.root_x - self._grip[0], event.root_y - self._grip[1]
            if self._dragged or max(abs(to[0] - self._corner[0]), abs(to[1] - self._corner[1])) >= _DRAG:
                self._corner, self._dragged = to, True
                width, height = self._card.picture.size
                self._at = self._inside(to[0] - width, to[1] - height)
                self._window.configure(x=self._at[0], y=self._at[1])
                self._display.flush()
        elif event.type == X.ButtonRelease:
            self._grip = None
            if not self._dragged:
                self._press(event.event_y)

    def _press(self, y: int) -> None:
        chosen = next((name for name, top in self._card.actions if top <= y < top + ROW), None)
        if chosen is not None:
            threading.Thread(target=act, args=(self._folder, chosen), kwargs={"root": os.geteuid() == 0}, daemon=True).start()
        if chosen is not None or y < HEAD:
            self._opened = not self._opened
            self.show(self.shown)

    def _inside(self, x: int, y: int) -> tuple[int, int]:
        (left, top, wide, high), (width, height) = self._screen, self._card.picture.size
        return max(left, min(x, left + wide - width)), max(top, min(y, top + high - height))

    def _monitor(self) -> tuple[int, int, int, int]:
        """Place and size of the first monitor: of several, the whole screen may have a corner that none shows."""
        if self._display.has_extension("RANDR"):
            for one in sorted(self._root.xrandr_get_monitors().monitors, key=lambda one: not one.primary):
                return one.x, one.y, one.width_in_pixels, one.height_in_pixels
        size = self._root.get_geometry()
        return 0, 0, size.width, size.height


def act(folder: Path, chosen: str, *, root: bool) -> None:
    """Does what was chosen, as any program of this person may; opens the page in their browser, which is not for root."""
    with suppress(ByleaveError, OSError, subprocess.TimeoutExpired):  # what came of it is seen on the sign
        if chosen == "pause":
            pause.pause(folder)
        elif chosen == "resume":
            pause.lift(folder)
        elif not root:
            browse(Path(str(ask(folder, {"ask": "open", "at": chosen})["file"])).as_uri(), os.environ)


def browse(address: str, environment: Mapping[str, str]) -> None:
    """Opens it in the person's browser; from a unit by their service manager, or the browser would inherit our sandbox."""
    starter, opener = shutil.which("systemd-run"), shutil.which("xdg-open")
    if "INVOCATION_ID" in environment and starter and opener:
        command = [starter, "--user", "--quiet", "--collect", opener, address]
        subprocess.run(command, check=False, timeout=BROWSE_S_MAX, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        webbrowser.open(address)


def main(argv: list[str]) -> int:
    """`argv`: the parent's pid, and the endpoint's folder."""
    parent, folder = int(argv[0]), Path(argv[1])
    out = open_pipe()
    bind_to(parent)
    sign, told = Sign(folder), b""
    readable: list[Any] = [sign, 0]
    while os.getppid() == parent:
        number = sign.shown.number if sign.seen(time.monotonic()) else 0
        with suppress(BlockingIOError):  # nobody reads just now
            os.write(out, f"{number}\n".encode())
        if 0 in select.select(readable, [], [], BEAT_S)[0]:
            part = os.read(0, LINE_BYTES_MAX)
            *lines, told = (told + part)[-2 * LINE_BYTES_MAX :].split(b"\n")
            if not part:
                break
            if lines:
                sign.show(Shown(*json.loads(lines[-1])))
    return ENDED


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BaseException:  # noqa: BLE001 - whatever went wrong, the sign is gone, and that is all that is to be known
        os._exit(ENDED)
