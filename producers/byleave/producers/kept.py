"""Edge: what the agent keeps in this endpoint's folder for its next start and for others to read (P1, P2).

floor.json    the highest state that was seen: no older one is believed after a restart
acks.json     the last acknowledgement, which the next one is chained to
report.json   counts for people, `byleave me today` and `byleave endpoint status`; its time says that the agent lives
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from byleave.core.errors import Misconfigured
from byleave.core.keys import replace_file

REPORT_BYTES = 4_096
"""Least size of `report.json`, so that it can be written over where there is no room for another."""


class Kept:
    """Of one endpoint's folder. Raises Misconfigured if a file of it is damaged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.floor = int(self._read("floor.json").get("epoch", 0))
        self.ack_prev = str(self._read("acks.json").get("prev", ""))
        self._reported = dict[str, Any]()

    def keep_floor(self, epoch: int) -> bool:
        """On disk before it is used. False where there is no room for it."""
        try:
            if epoch > self.floor:
                self._write("floor.json", {"epoch": epoch})
                self.floor = epoch
        except OSError:
            return False
        return True

    def report(self, report: dict[str, Any], ack_prev: str) -> None:
        """The report, and the chain of acknowledgements, if it grew."""
        path = self._folder / "report.json"
        if report == self._reported and ack_prev == self.ack_prev:
            with contextlib.suppress(OSError):
                os.utime(path)
                return
        text = json.dumps(report, sort_keys=True).encode().ljust(REPORT_BYTES)
        try:
            replace_file(path, text)
            self._reported = report
            if ack_prev != self.ack_prev:
                self._write("acks.json", {"prev": ack_prev})
                self.ack_prev = ack_prev
        except OSError:  # no room for a new file: what stands in the old one must not stay
            with contextlib.suppress(OSError), path.open("r+b") as old:
                old.write(text)

    def _write(self, name: str, value: dict[str, Any]) -> None:
        replace_file(self._folder / name, json.dumps(value).encode())

    def _read(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            raise Misconfigured(f"{path} is damaged: restore it; without its floor an old state could be believed") from None
        return found if isinstance(found, dict) else {}
