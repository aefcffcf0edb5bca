"""Edge: what the running agent holds ready for its person: the sign, the page, their questions and their pause (P7)."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byleave.control.knowledge import Knowledge
from byleave.core.clock import boot_ms
from byleave.core.settings import Installation
from byleave.producers import task
from byleave.producers.gate import Answer
from byleave.producers.hooks.live import LiveSource
from byleave.producers.hooks.source import Source
from byleave.producers.inquiries import Answers, Handler, Inquiries
from byleave.producers.person import pause
from byleave.producers.person.account import Account
from byleave.producers.person.indicator import Indicator
from byleave.producers.person.page import serve

if TYPE_CHECKING:
    from byleave.producers.agent import Agent


class Attendant:
    """Stands beside one agent, on its thread. Where the source is this screen there is a sign to be seen.

    `folder`: the endpoint's; `others`: questions that others answer, by name.
    """

    def __init__(
        self, agent: Agent, source: Source, folder: Path, installation: Installation, knowledge: Knowledge, others: Answers
    ) -> None:
        self._agent, self._folder = agent, folder
        self._live = source if isinstance(source, LiveSource) else None
        self._sign = Indicator(os.environ, folder) if self._live else None
        self._account = Account(agent, folder)
        self._inquiries: Inquiries | None = None
        self.questions: dict[str, Handler] = {
            "status": self._status, "task": partial(task.stated, agent), **self._account.questions, **others,
        }  # fmt: skip
        """What this person's own programs may ask, by name."""
        self._page = serve(self.questions, knowledge, installation, folder.name)

    def listen(self) -> None:
        """Answers `questions` from now on, one a turn. Raises Misconfigured if another agent does so already, OSError."""
        sites = {"site": self._live.hear} if self._live is not None else {}
        self._inquiries = Inquiries(self._folder, {"pause": self._pause, **sites})
        if self._sign is not None:  # it comes up while the control topics are being read
            self._sign.shows(boot_ms())
            self._show(boot_ms())

    @property
    def paused(self) -> bool:
        return pause.stands(self._folder)

    @property
    def shown(self) -> bool:
        """Whether the person can see what is so, as far as they must."""
        return self._sign is None or self._sign.shows(boot_ms())

    @property
    def waiting(self) -> bool:
        """Whether a question waits, or the sign or the capture process ended: worth a turn at once."""
        asked = self._inquiries is not None and self._inquiries.waiting
        lost = self._sign is not None and self._sign.lost(boot_ms())
        return asked or lost or (self._live is not None and self._live.ended)

    def turn(self, now_ms: int) -> None:
        """Keeps the account and shows what is live."""
        self._account.turn(now_ms)
        self._show(now_ms)

    def answer(self, wait_s: float) -> None:
        """Answers one question, if one comes within so long."""
        if self._inquiries is not None:
            self._inquiries.answer(self.questions, wait_s)

    def close(self) -> None:
        if self._sign is not None:
            self._sign.stop()
        self._page.close()
        if self._inquiries is not None:
            self._inquiries.close()
        self._account.keep()

    def _show(self, now_ms: int) -> None:
        """What is live is shown to the person, from the capture process and not from what is meant to be."""
        if self._sign is not None:
            answer, capturing = self._agent.answer, self._agent.capturing
            self._sign.tell(capturing=capturing, sentence=answer.value, paused=answer is Answer.PAUSED, now_ms=now_ms)

    def _status(self, question: dict[str, Any]) -> dict[str, Any]:
        if question.get("watch") is True and self._sign is not None:
            self._sign.watched(boot_ms())
        return self._agent.report()

    def _pause(self, _: dict[str, Any]) -> dict[str, Any]:
        """On the socket's thread: the file stands before the capture process is gone, so that no turn starts another."""
        pause.begin(self._folder)
        if self._live is not None:
            self._live.kill()
        return {"paused": True}
