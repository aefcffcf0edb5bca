"""What the person says that the next minutes are for: voluntary, in their own words, sealed like everything else (P1, P7).

In: the question "task" of `inquiries.py`, with a `text`; an empty one says that it is done. Out: an event of its own kind that
becomes a row of its own behind the redactor. A task ends with its session at the latest: pause, halt and withdrawal end both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byleave.core.errors import Refused

if TYPE_CHECKING:
    from byleave.producers.agent import Agent

TEXT_CHARS_MAX = 200


def stated(agent: Agent, question: dict[str, Any]) -> dict[str, Any]:
    """Puts it among the events. Raises Refused: too long; no text; nothing is captured; the manifest names no tasks."""
    text = " ".join(str(question["text"]).split())
    if len(text) > TEXT_CHARS_MAX:
        raise Refused(f"a task of {len(text)} characters, at most {TEXT_CHARS_MAX}: say it shorter", reason="too-long")
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # half a character, as of a terminal with another encoding
        raise Refused("a task with signs in it that cannot be written down: say it in plain text", reason="malformed")
    agent.state_task(text)
    return {"stated": bool(text)}
