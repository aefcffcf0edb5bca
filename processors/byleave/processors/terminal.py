"""Edge: keys from the terminal that the program was started in, one at a time; it touches no other window.

Names are pynput's. Nothing is read ahead of the preview, and the terminal is as before when the reader is closed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ESCAPES = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end", "OH": "home", "OF": "end", "[1~": "home",
    "[4~": "end", "[3~": "delete", "[5~": "page_up", "[6~": "page_down", "[Z": "tab", "": "esc",
}  # fmt: skip
QUIT = ("\x03", "\x04")
"""Ctrl-C and Ctrl-D."""
READ_BYTES_MAX = 4096
_CONTROLS = {"\r": "enter", "\n": "enter", "\t": "tab", "\x7f": "backspace", "\x08": "backspace"}
_WINDOWS = {
    "H": "up", "P": "down", "K": "left", "M": "right", "G": "home", "O": "end", "S": "delete", "I": "page_up", "Q": "page_down",
}  # fmt: skip


def split_keys(typed: str) -> list[str]:
    """Key names from what a terminal sent: characters, control characters and escape sequences."""
    out, at = [], 0
    while at < len(typed):
        if typed[at] != "\x1b":
            out.append(_CONTROLS.get(typed[at], typed[at]))
            at += 1
            continue
        end = at + 1
        if end < len(typed) and typed[end] in "[O":
            end += 1
            while end < len(typed) and not (typed[end].isalpha() or typed[end] == "~"):
                end += 1
            end += 1
        out.append(ESCAPES.get(typed[at + 1 : end], ""))
        at = end
    return out


if sys.platform == "win32":
    import msvcrt
    import time

    @contextmanager
    def keys(wait_s: float) -> Iterator[Iterator[list[str]]]:
        """A reader of keys: yields what was typed within `wait_s`, or nothing."""

        def read() -> Iterator[list[str]]:
            while True:
                until = time.monotonic() + wait_s
                while not msvcrt.kbhit() and time.monotonic() < until:
                    time.sleep(0.01)
                if not msvcrt.kbhit():
                    yield []
                    continue
                char = msvcrt.getwch()
                yield [_WINDOWS.get(msvcrt.getwch(), "")] if char in ("\x00", "\xe0") else split_keys(char)

        yield read()

else:
    import codecs
    import select
    import termios
    import tty

    @contextmanager
    def keys(wait_s: float) -> Iterator[Iterator[list[str]]]:
        """A reader of keys: yields what was typed within `wait_s`, or nothing. The terminal echoes nothing meanwhile."""
        handle = sys.stdin.fileno()
        before = termios.tcgetattr(handle)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")

        def read() -> Iterator[list[str]]:
            while True:
                ready, _, _ = select.select([handle], [], [], wait_s)
                if not ready:
                    yield []
                    continue
                got = os.read(handle, READ_BYTES_MAX)
                yield split_keys(decoder.decode(got)) if got else [QUIT[1]]

        try:
            tty.setcbreak(handle)
            quiet = termios.tcgetattr(handle)
            quiet[3] &= ~termios.ISIG
            termios.tcsetattr(handle, termios.TCSADRAIN, quiet)
            yield read()
        finally:
            termios.tcsetattr(handle, termios.TCSADRAIN, before)
