"""A screen to capture from, on a machine that has none: Xvfb with an xterm, and a typist that xdotool drives.

The typist has human timings, slips, corrections and rollover, from the keystroke simulator: what the capture worker sees is
what it would see of a person. Nothing is written by the xterm: its shell throws away what is typed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from byleave.core.errors import Misconfigured, Transient
from demo.typist import NORMAL, KeyEvent, type_out

TOOLS = ("Xvfb", "xterm", "xdotool")
WINDOW_S_MAX = 20.0
HOLD_MS = 95
"""How long a key is held down. Longer than many gaps between keys, so that neighbours overlap: rollover."""

_KEYSYMS = {
    "enter": "Return",
    "tab": "Tab",
    "backspace": "BackSpace",
    "delete": "Delete",
    "left": "Left",
    "right": "Right",
    "home": "Home",
    "end": "End",
    "ctrl_backspace": "ctrl+BackSpace",
}
_TYPIST = replace(NORMAL, pause=0.0)
"""Human timings and slips, without the pauses for thought: a demonstration has a minute."""


@dataclass
class Desktop:
    """A running X server with one focused xterm. `close` ends both, by pid."""

    display: str
    _server: subprocess.Popen[bytes]
    _terminal: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        return {"DISPLAY": self.display}

    def start_typing(self, script: Sequence[str]) -> subprocess.Popen[bytes]:
        """Runs an xdotool script in the background; the caller awaits or kills it."""
        typist = subprocess.Popen(
            ["xdotool", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(self.display),
        )
        assert typist.stdin is not None  # noqa: S101 - it was opened as a pipe just now
        typist.stdin.write(("\n".join(script) + "\n").encode())
        typist.stdin.close()
        return typist

    def pids(self) -> tuple[tuple[str, int], ...]:
        """Its programs by name, the terminal last."""
        return ("xvfb", self._server.pid), ("xterm", self._terminal.pid)

    def close(self) -> None:
        for child in (self._terminal, self._server):
            child.terminate()
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(timeout=5)


def missing_tools() -> tuple[str, ...]:
    """Which of the needed programs are not installed."""
    return tuple(tool for tool in TOOLS if shutil.which(tool) is None)


def open_desktop() -> Desktop:
    """Starts Xvfb on a free display and a focused xterm. Raises Misconfigured: a tool is missing; Transient: it hangs."""
    missing = missing_tools()
    if missing:
        raise Misconfigured(f"{', '.join(missing)} not installed: 'apt-get install xvfb xterm xdotool' brings them")
    server, display = _start_server()
    terminal = subprocess.Popen(
        ["xterm", "-T", "notes", "-e", "sh", "-c", "stty -echo; cat > /dev/null"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environment(display),
    )
    desktop = Desktop(display, server, terminal)
    try:
        _focus(display)
    except Transient:
        desktop.close()
        raise
    return desktop


def script_of(text: str, *, seed: int, speed: float = 1.0) -> list[str]:
    """An xdotool script that types `text` as a person would; `speed` multiplies the pauses."""
    moments: list[tuple[int, str]] = []
    down: dict[str, int] = {}  # until when a key is held, so that the second of two like letters is not swallowed
    for event in type_out(text, seed, _TYPIST):
        at, symbol = int(event.t_ms * speed), _keysym(event)
        if symbol is None:
            continue
        if not (symbol.islower() and len(symbol) == 1):
            moments.append((at, f"key {symbol}"))
            continue
        if down.get(symbol, 0) >= at:
            moments.remove((down[symbol], f"keyup {symbol}"))
            moments.append((at - 1, f"keyup {symbol}"))
        down[symbol] = at + HOLD_MS
        moments += [(at, f"keydown {symbol}"), (down[symbol], f"keyup {symbol}")]
    return _timed(sorted(moments, key=lambda moment: moment[0]))


def _keysym(event: KeyEvent) -> str | None:
    if event.kind == "char":
        return event.text if event.text.isalnum() else f"U{ord(event.text):04X}"  # X knows every character by its number
    return _KEYSYMS.get(event.kind)  # shift comes with the symbol; caps lock would outlive the script


def _timed(moments: Sequence[tuple[int, str]]) -> list[str]:
    script, clock = [], 0
    for at, command in moments:
        if at > clock:
            script.append(f"sleep {(at - clock) / 1000:.3f}")
            clock = at
        script.append(command)
    return script


def _start_server() -> tuple[subprocess.Popen[bytes], str]:
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write,),
    )
    os.close(write)
    with os.fdopen(read) as answer:
        number = answer.readline().strip()  # ends when the server says its number, or dies and closes the pipe
    if not number.isdigit():
        server.kill()
        server.wait(timeout=5)
        raise Transient("the X server did not start")
    return server, f":{number}"


def _focus(display: str) -> None:
    deadline = time.monotonic() + WINDOW_S_MAX
    while time.monotonic() < deadline:
        found = subprocess.run(
            ["xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm", "windowfocus", "--sync", "getwindowfocus"],
            capture_output=True, text=True, check=False, timeout=WINDOW_S_MAX, env=_environment(display),
        )  # fmt: skip
        if found.returncode == 0 and found.stdout.strip():
            return
        time.sleep(0.1)
    raise Transient("no xterm window appeared")


def _environment(display: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE")}
    return {**kept, "DISPLAY": display}
