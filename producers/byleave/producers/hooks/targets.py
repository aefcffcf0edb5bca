"""What is clicked on, and whether a password is being written: asked on a thread of its own, so that nothing waits for it.

In: clicks, and which window has the focus. Out: targets that came in time, and `password`. A click is told at once, as ever;
its target follows if it comes within ANSWER_S, well before the focus hold lets the click go (`focus_hold.py`).

Promises  where an application says that a password is being written, or does not answer what is, `password` is true, whether or
          not a manifest names targets. An application that does not speak AT-SPI is known by its window alone, as before.
Bounds    QUESTIONS_MAX clicks wait; those beyond get no target.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from byleave.core.targets import Target

if TYPE_CHECKING:
    from byleave.producers.hooks.atspi import Atspi, Ref

ANSWER_S = 0.08
FOCUS_S, PATIENT_S = 0.12, 1.0
"""How long is waited for the answer what has the focus, and how long once that was too short."""
SAYS_S, AGAIN_S = 0.03, 0.5
NO_BUS_S = 30.0
"""From one look for a bus to the next."""
QUESTIONS_MAX = 8
_NO_USE = (TimeoutError, LookupError, TypeError, ValueError)
"""Of applications that do not answer, and of answers that are of another form."""


class Asker:
    """Used by one worker thread. Readable (`fileno`) when there is something new."""

    def __init__(self, session: str, *, targets: bool) -> None:
        """`session`: address of the session bus. `targets`: whether clicks are asked about."""
        self.password: bool | None = None
        """None until the first answer: at the start a password may be half written."""
        self.targets = targets
        self._session = session
        self._clicks: queue.Queue[tuple[int, int, int, float]] = queue.Queue(QUESTIONS_MAX)
        self._focus = (0, 0)
        self._answers: deque[tuple[int, Target]] = deque(maxlen=QUESTIONS_MAX)
        self._application: Ref | None = None
        self._unsure = False
        (self._asked, self._ask), (self._told, self._tell) = _pipe(), _pipe()
        threading.Thread(target=self._run, name="targets", daemon=True).start()

    def fileno(self) -> int:
        return self._told

    def focus(self, window: int, pid: int) -> None:
        """Another window has the focus."""
        if (window, pid) != self._focus:
            self._focus = (window, pid)
            _write(self._ask)

    def clicked(self, at_ms: int, x: int, y: int) -> None:
        """Asks what is at that place of the screen."""
        with suppress(queue.Full):
            self._clicks.put_nowait((at_ms, x, y, time.monotonic() + ANSWER_S))
            _write(self._ask)

    def answers(self) -> list[tuple[int, Target]]:
        """The targets that were told since the last call, by the time of their click."""
        _drain(self._told)
        return [self._answers.popleft() for _ in range(len(self._answers))]

    # -- on the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        from byleave.producers.hooks.atspi import Atspi  # here: not on the thread that must not wait

        while True:
            try:
                bus = Atspi(self._session)
            except Exception:  # noqa: BLE001 - whatever it is, there is no bus to ask
                self._set(False)  # so nobody speaks AT-SPI here
                time.sleep(NO_BUS_S)
                continue
            with closing(bus), suppress(Exception):  # it ended, or somebody on it says what no library of ours understands
                self._serve(bus)
            self._application = None
            self._set(True)
            time.sleep(AGAIN_S)

    def _serve(self, bus: Atspi) -> None:
        seen = (-1, -1)
        while True:
            _drain(self._asked)
            if seen != self._focus:
                seen = self._focus
                self._look(bus, FOCUS_S)
            while told := bus.focused():  # more may be told while one is asked about
                for node in told:
                    self._hear(bus, node)
            with suppress(queue.Empty):
                self._target(bus, *self._clicks.get_nowait())
                continue  # who got the focus by that click may have said so while its target was asked for
            if not select.select([bus.fileno(), self._asked], [], [], AGAIN_S if self._unsure else None)[0]:
                self._look(bus, PATIENT_S)

    def _look(self, bus: Atspi, limit_s: float) -> None:
        """Finds the application of the window that has the focus, and what has it there. No answer in time is doubt."""
        until_s, pid, password, self._unsure = time.monotonic() + limit_s, self._focus[1], None, False
        self._application = None
        try:
            self._application = bus.application(pid, until_s) if pid else None
            if self._application:
                select.select([bus], [], [], SAYS_S)  # toolkits say it by themselves as their window gets the focus
                said = [node for node in bus.focused() if node.name == self._application.name]
                password = bus.is_password(said[-1], until_s) if said else bus.focus_is_password(self._application, until_s)
            else:
                password = False
        except TimeoutError:
            self._unsure = True
        except _NO_USE:
            password = False
        self._set(password is not False)

    def _hear(self, bus: Atspi, node: Ref) -> None:
        """Something got the focus; it matters if it is of the application in front."""
        until_s = time.monotonic() + ANSWER_S
        try:
            if self._application is None and self._focus[1] and bus.pid(node.name, until_s) == self._focus[1]:
                self._application = bus.application(self._focus[1], until_s)
            if self._application is not None and node.name == self._application.name:
                self._set(bus.is_password(node, until_s))
                self._unsure = False
        except TimeoutError:
            self._unsure = True
            self._set(True)
        except _NO_USE:  # it is gone already
            pass

    def _target(self, bus: Atspi, at_ms: int, x: int, y: int, until_s: float) -> None:
        if self._application is not None:
            with suppress(*_NO_USE):
                self._answers.append((at_ms, bus.target(self._application, x, y, until_s)))
                _write(self._tell)

    def _set(self, password: bool) -> None:
        if password is not self.password:
            self.password = password
            _write(self._tell)


def asker(environment: Mapping[str, str], *, targets: bool) -> Asker | None:
    """None where the session has no bus, and on other systems than Linux: there nothing tells yet what is in a window."""
    session = environment.get("DBUS_SESSION_BUS_ADDRESS", "") if sys.platform == "linux" else ""
    return Asker(session, targets=targets) if session else None


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _write(end: int) -> None:
    with suppress(BlockingIOError):  # full: it wakes already
        os.write(end, b".")


def _drain(end: int) -> None:
    with suppress(BlockingIOError):
        os.read(end, 4096)
