"""How sensitive a record is: the highest of its context, the labels found in it and its topic words; doubt is 4 (P5).

A record is one typed stretch between boundaries. Redaction does not lower a level: a chat with the names removed is still a
chat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.policy import UNKNOWN, Policy


@dataclass(frozen=True, slots=True)
class Context:
    """What a window means for what happens in it.

    `level` is that of its shape (pointer, key classes); `text_level` that of keys and text, at least 2.
    """

    app: str
    level: Level
    text_level: Level
    enter_submits: bool = False
    readline: bool = False


NOWHERE = Context(UNKNOWN.name, Level.SECRET, Level.SECRET)
"""The context before the first focus: nothing is known, so nothing is written."""


def context_of(window: Window, policy: Policy) -> Context:
    """The context of `window`. A site goes before its browser; a secure window is 4; without a layout its keys are 4."""
    category = policy.site(window.site) if window.site else policy.app(window.app)
    level = Level.SECRET if window.secure else category.level
    text_level = Level.SECRET if not window.layout else max(level, Level.INTERNAL)
    return Context(category.name, level, text_level, category.enter_submits, category.readline)


_WORD = re.compile(r"[a-z]+(?:-[a-z]+)?")


def record_level(start: Level, text: str, labels: Iterable[str], policy: Policy, topics: Mapping[str, frozenset[str]]) -> Level:
    """The level of a stretch of raw text: at least `start`, raised by the labels found in it and by topic words."""
    level = max((policy.labels.get(label, start) for label in labels), default=start)
    level = max(level, start)
    for topic, raised in policy.topics.items():
        if raised > level and not topics[topic].isdisjoint(_WORD.findall(text.lower())):
            level = raised
    return level
