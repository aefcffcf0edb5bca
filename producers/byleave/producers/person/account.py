"""Edge: the person's account that the agent keeps while it runs: answers what they ask of it, and writes the days down (P7)."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byleave.core.clock import boot_ms
from byleave.core.keys import replace_file
from byleave.producers.inquiries import Handler
from byleave.producers.person.ring import told
from byleave.producers.person.today import DAY, FILE, Days
from byleave.producers.receipts import of_day

if TYPE_CHECKING:
    from byleave.producers.agent import Agent

KEEP_MS = 60_000
"""No more of the day's account than this is lost with the process."""


class Account:
    """Stands beside one agent, on its thread. `questions` are those that it answers, by name."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self._agent, self._path = agent, folder / FILE
        self._kept, self._kept_ms = b"", 0
        self.questions: dict[str, Handler] = {
            "show": self._recent, "today": self._today, "erase": self._erase,
        }  # fmt: skip

    def turn(self, now_ms: int) -> None:
        self._agent.days.turn_to(time.strftime(DAY))
        if now_ms - self._kept_ms >= KEEP_MS:
            self._kept_ms = now_ms
            self.keep()

    def keep(self) -> None:
        """Writes the days down, if there is room."""
        days = self._agent.days.dump()
        if days != self._kept:
            with contextlib.suppress(OSError):
                replace_file(self._path, days)
                self._kept = days

    def _recent(self, question: dict[str, Any]) -> dict[str, Any]:
        """What was taken in the last `last_s` seconds, as lines."""
        now, last_ms = boot_ms(), 1_000 * int(question["last_s"])
        return {"lines": [told(line, now, time.time()) for line in self._agent.ring.lines(now - last_ms)]}

    def _today(self, question: dict[str, Any]) -> dict[str, Any]:
        return account_of(self._path.parent, self._agent.days, str(question.get("day") or time.strftime(DAY)))

    def _erase(self, _: dict[str, Any]) -> dict[str, Any]:
        events = self._agent.forget()
        self._path.unlink(missing_ok=True)  # where there is no room for a new file, the old one goes all the same
        self._kept = b""
        self.keep()
        return {"events": events}


def account_of(folder: Path, days: Days, day: str) -> dict[str, Any]:
    """The account of a day, with what the redactor's receipts for it come to."""
    return {"receipt": of_day(folder, day), **days.report(day)}


def kept_days(folder: Path) -> Days:
    """The account of days as it was written down last."""
    with contextlib.suppress(OSError):
        return Days((folder / FILE).read_bytes())
    return Days()
