"""Edge: the sign that shows capture, for the agent: its process, what it is told, and whether that is to be seen.

Promises (P1): what captures live is seen. Where the sign's process is dead, silent for SILENCE_MS_MAX, hidden, or still shows
what was, `shows` is False and nothing is captured. It is started again after RETRY_MS_MIN, and then half as often each time.
A person who watches `byleave me status --watch` in a terminal sees the same there; that counts while it asks.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SILENCE_MS_MAX = 1_000
"""A sign that beats every 0.4 s (sign.BEAT_S) and is silent for so long is not there. One that ends is known by its pipe."""
START_MS_MAX = 10_000
RETRY_MS_MIN, RETRY_MS_MAX = 1_000, 30_000
WATCH_MS_MAX = 1_500
REAP_S_MAX = 1.0
_PROGRAM = "byleave.producers.person.sign"
_READ_BYTES, _NUMBER_CHARS_MAX = 4_096, 20


class Shown(NamedTuple):
    """What the sign says. `number` counts what it was told."""

    number: int = 0
    capturing: bool = False
    sentence: str = "not capturing: the agent is starting"
    paused: bool = False


class Indicator:
    """The parent's side. One thread."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = dict(environment), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._told = Shown()
        self._unsaid = True
        self._told_ms = self._heard_ms = self._started_ms = 0
        self._heard, self._rest = 0, b""
        self._retry_ms, self._retry_at_ms = RETRY_MS_MIN, 0
        self._watched_ms = -WATCH_MS_MAX

    @property
    def pid(self) -> int | None:
        """The sign's process, while there is one."""
        return self._process.pid if self._process else None

    def lost(self, now_ms: int) -> bool:
        """Whether, since it was last asked for, the sign ended or was hidden: worth a turn at once."""
        shown = self._heard > 0
        self._mind(now_ms)
        return shown and self._heard == 0

    def shows(self, now_ms: int) -> bool:
        """Whether the person can see what is so. Starts the sign where there is none and it is time."""
        self._mind(now_ms)
        if self._process is None and now_ms >= self._retry_at_ms:
            self._start(now_ms)
        current = self._heard == self._told.number or (self._heard > 0 and now_ms - self._told_ms <= SILENCE_MS_MAX)
        return (self._process is not None and current) or now_ms - self._watched_ms <= WATCH_MS_MAX

    def tell(self, *, capturing: bool, sentence: str, paused: bool, now_ms: int) -> None:
        """What is to be shown from now on."""
        if (capturing, sentence, paused) != self._told[1:]:
            self._told, self._told_ms = Shown(self._told.number + 1, capturing, sentence, paused), now_ms
            self._unsaid = True
        process = self._process
        if self._unsaid and process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):  # a full or broken pipe: it will be found silent or dead
                os.write(process.stdin.fileno(), json.dumps(self._told).encode() + b"\n")
                self._unsaid = False

    def watched(self, now_ms: int) -> None:
        """Somebody looks at a terminal that shows the same."""
        self._watched_ms = now_ms

    def stop(self) -> None:
        """SIGKILL and reap."""
        process, self._process = self._process, None
        self._heard = self._heard_ms = 0
        if process is None:
            return
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(REAP_S_MAX)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _start(self, now_ms: int) -> None:
        command = [sys.executable, "-m", _PROGRAM, str(os.getpid()), str(self._folder)]
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self._environment
        )
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._told, self._told_ms = self._told._replace(number=self._told.number + 1), now_ms
        self._started_ms, self._unsaid, self._rest = now_ms, True, b""

    def _mind(self, now_ms: int) -> None:
        process = self._process
        silent_ms = now_ms - max(self._heard_ms, self._started_ms)
        if process is None or (
            self._listen(process, now_ms) and silent_ms <= (SILENCE_MS_MAX if self._heard_ms else START_MS_MAX)
        ):
            return
        self.stop()
        self._retry_at_ms, self._retry_ms = now_ms + self._retry_ms, min(RETRY_MS_MAX, 2 * self._retry_ms)

    def _listen(self, process: subprocess.Popen[bytes], now_ms: int) -> bool:
        """Takes in what it said; False if it ended or said what no sign of ours says."""
        try:
            part = os.read(process.stdout.fileno(), _READ_BYTES) if process.stdout is not None else b""
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + part).split(b"\n")
        if not part or len(self._rest) > _NUMBER_CHARS_MAX or not all(line.isdigit() for line in lines):
            return False
        if lines:
            self._heard, self._heard_ms = int(lines[-1][:_NUMBER_CHARS_MAX]), now_ms
            self._retry_ms = RETRY_MS_MIN if self._heard else self._retry_ms
        return True
