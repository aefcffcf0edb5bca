"""The capture process on X11's RECORD extension: frames on standard output. Killed by `live.py`, never stopped.

One thread, two connections. One carries what the server records and is read here without python-xlib, which is only asked to
set it up; `Desktop` has the other. Each event has the server's own time, and the state of modifiers and layout group that it
happened under; requests that change keyboard maps are recorded too, so that a key is read by the map that it was pressed with.

It dies with its parent, and ends by itself, exit code 3, when either connection ends or a record is none.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

from Xlib import X, display
from Xlib.ext import record

from byleave.core.clock import boot_ms
from byleave.core.errors import Broken
from byleave.core.events import Kind
from byleave.producers.hooks.keysyms import Compose
from byleave.producers.hooks.reporter import ENDED, KEY_MS, POINTER_MS, PULSE_S, REST_S, Reporter, bind_to, open_pipe
from byleave.producers.hooks.source import Observed
from byleave.producers.hooks.targets import asker
from byleave.producers.hooks.x11 import Desktop

AGE_MS_MAX = 10_000
"""An event that seems older, or of the future, is not timed by this machine's clock: it counts as of now."""
_READ_BYTES = 1 << 16
_REPLY = struct.Struct("=BBHIBB2xII12x")
_EVENT = struct.Struct("=BBHIIIIhhhhHBx")
_ENABLE = struct.Struct("=BBHI")
_CHANGE_KEYS, _CHANGE_MODIFIERS = 100, 118
_XKB_SET_MAP, _XKB_LOAD = 9, 23
_WHEEL = {4: (0, 1), 5: (0, -1), 6: (-1, 0), 7: (1, 0)}


def event_ms(server_ms: int, monotonic_ms: int, now_ms: int) -> int:
    """Boot time of an event: the server counts milliseconds of the monotonic clock in 32 bits, which stand while it sleeps."""
    age_ms = (monotonic_ms - server_ms) & 0xFFFFFFFF
    return now_ms - age_ms if age_ms <= AGE_MS_MAX else now_ms


class Records:
    """Cuts the recording connection's stream. Holds at most one incomplete reply."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bool, bytes]]:
        """(category, of foreign byte order, body) of each whole reply. Raises Broken."""
        stream, at = self._rest + chunk, 0
        while len(stream) - at >= _REPLY.size:
            of, category, _, length, _, swapped, _, _ = _REPLY.unpack_from(stream, at)
            if of == 0:
                raise Broken("the X server refuses to record")
            size = _REPLY.size + (4 * length if of == 1 else 0)
            if len(stream) - at < size:
                break
            if of == 1:
                yield category, bool(swapped), stream[at + _REPLY.size : at + size]
            at += size
        self._rest = stream[at:]


class Recorder:
    """Turns records into events."""

    def __init__(self, desktop: Desktop, reporter: Reporter) -> None:
        self._desktop, self._reporter = desktop, reporter
        self._keymap = desktop.keymap()
        self._down: dict[int, str] = {}
        self._compose = Compose()
        self._last_ms = 0

    def take(self, category: int, foreign: bool, body: bytes) -> None:
        """One record. Raises struct.error where it is cut short."""
        self.hear()
        if category == record.FromClient:
            self._request(foreign, body)
        elif category == record.FromServer:
            now_ms, monotonic_ms = boot_ms(), time.monotonic_ns() // 1_000_000
            for kind, detail, _, server_ms, _, _, _, x, y, _, _, state, _ in _EVENT.iter_unpack(body):
                if kind & 0x7F in (X.FocusIn, X.FocusOut):
                    self._reporter.forget()
                    continue
                self._last_ms = max(self._last_ms, event_ms(server_ms, monotonic_ms, now_ms))
                self._event(kind & 0x7F, detail, x, y, state)

    def hear(self) -> None:
        """Another keyboard may have another map."""
        if self._desktop.heard()[0]:
            self._keymap = self._desktop.keymap()

    def settle(self) -> None:
        """Tells a focus that changed while no event came with it."""
        if self._reporter.forgotten:
            self._look(0, None)
        self._reporter.flush()

    def pulse(self) -> None:
        self._look(0, None)
        self._reporter.alive()

    def ready(self) -> None:
        self._look(0, None)
        self._reporter.ready()

    def _look(self, age_ms: int, state: int | None) -> None:
        if self._reporter.look(age_ms) and state is None:
            self._last_ms = max(self._last_ms, boot_ms())
        self._reporter.focus(self._last_ms, self._keymap.layout(self._reporter.looked.state if state is None else state))

    def _event(self, kind: int, detail: int, x: int, y: int, state: int) -> None:
        if kind in (X.KeyPress, X.KeyRelease):
            self._key(detail, state, press=kind == X.KeyPress)
        elif kind == X.MotionNotify:
            self._report(POINTER_MS, state, Kind.MOVE, x, y)
        elif detail in _WHEEL:
            if kind == X.ButtonPress:
                dx, dy = _WHEEL[detail]
                self._report(POINTER_MS, state, Kind.SCROLL, x, y, dx=dx, dy=dy)
        else:
            button = detail if detail <= 3 else 0
            self._report(KEY_MS, state, Kind.BUTTON_DOWN if kind == X.ButtonPress else Kind.BUTTON_UP, x, y, button=button)

    def _key(self, keycode: int, state: int, *, press: bool) -> None:
        if press:
            key = self._compose.pressed(self._keymap.symbol(keycode, state)[0], self._keymap.key(keycode, state))
            self._down[keycode] = key
        else:  # under the name it went down with: modifiers and maps may have changed since
            key = self._down.pop(keycode, "") or self._keymap.key(keycode, state)
        modifiers = self._keymap.held(state)
        self._report(KEY_MS, state, Kind.PRESS if press else Kind.RELEASE, key=key, modifiers=modifiers)

    def _report(self, age_ms: int, state: int, kind: Kind, x: int = 0, y: int = 0, **more: Any) -> None:
        self._look(age_ms, state)
        self._reporter.event(Observed(self._last_ms, kind, x, y, **more))

    def _request(self, foreign: bool, body: bytes) -> None:
        """A request that changes a keyboard map. Its own words are used where they are plain: the map in force may be newer."""
        opcode, count, length = struct.unpack_from("=BBH", body)
        first, width = struct.unpack_from("=BB", body, 4)
        if opcode == _CHANGE_KEYS and not foreign and width and len(body) == 4 * length == 8 + 4 * count * width:
            symbols = struct.unpack_from(f"={count * width}I", body, 8)
            rows = [symbols[at : at + width] for at in range(0, len(symbols), width)]
            if not any(any(row[4:]) for row in rows):
                self._keymap.change(first, rows)
                return
        self._keymap = self._desktop.keymap()


def main(argv: list[str]) -> int:
    """`argv`: the parent's pid; 1 if the manifest names window titles, 2 targets, 3 both; what `Reporter` takes of a pause."""
    parent, named = int(argv[0]), int(argv[1])
    out = open_pipe()
    bind_to(parent)
    desktop, asking = Desktop(titles=bool(named & 1)), asker(os.environ, targets=bool(named & 2))
    reporter = Reporter(desktop, out, *argv[2:4], asker=asking)
    records, recording = Records(), _record()
    recorder = Recorder(desktop, reporter)
    recorder.ready()
    pulse, moved = time.monotonic(), False
    watched = [recording, desktop, *([asking] if asking else [])]
    while os.getppid() == parent:
        readable = select.select(watched, [], [], max(0.0, pulse - time.monotonic()))[0]
        if recording in readable:
            chunk = os.read(recording.fileno(), _READ_BYTES)
            if not chunk:
                break
            moved = True
            for found in records.feed(chunk):
                recorder.take(*found)
            recorder.settle()
        elif desktop in readable:
            recorder.hear()
        if asking in readable:
            reporter.answered()
            recorder.settle()
        if time.monotonic() >= pulse:
            recorder.pulse()
            pulse, moved = time.monotonic() + (PULSE_S if moved else REST_S), False
    return ENDED


def _record() -> Any:
    """A connection on which the server records, from now on, what all clients' devices and requests do."""
    connection = display.Display()
    xkb = connection.query_extension("XKEYBOARD").major_opcode
    none = dict.fromkeys(("core_requests", "core_replies", "delivered_events", "device_events", "errors"), (0, 0))
    wanted: dict[str, Any] = {**none, "ext_requests": (0,) * 4, "ext_replies": (0,) * 4, "client_started": 0, "client_died": 0}
    ranges = [
        {**wanted, "device_events": (X.KeyPress, X.MotionNotify), "delivered_events": (X.FocusIn, X.FocusOut)},
        {**wanted, "core_requests": (_CHANGE_KEYS, _CHANGE_KEYS), "ext_requests": (xkb, xkb, _XKB_SET_MAP, _XKB_SET_MAP)},
        {**wanted, "core_requests": (_CHANGE_MODIFIERS, _CHANGE_MODIFIERS), "ext_requests": (xkb, xkb, _XKB_LOAD, _XKB_LOAD)},
    ]
    context = connection.record_create_context(0, [record.AllClients], ranges)
    connection.sync()
    opcode = connection.query_extension("RECORD").major_opcode
    os.write(connection.fileno(), _ENABLE.pack(opcode, 5, 2, context))
    return connection


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BaseException:  # noqa: BLE001 - a traceback could quote what was typed: the exit code is all that is said
        os._exit(ENDED)
