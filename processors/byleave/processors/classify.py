"""How sensitive a record is: the highest of its context, the labels found in it and its topic words; doubt is 4 (P5).

A record is one typed stretch between boundaries. Redaction does not lower a level: a chat with the names removed is still a
chat.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.policy import UNKNOWN, Policy
from byleave.processors.redact import Span, find_spans
from byleave.processors.rules import Rules

LEVEL_WORDS: Mapping[int, str] = {
    Level.SHAPE: "1 shape", Level.INTERNAL: "2 internal", Level.PEOPLE: "3 to review", Level.SECRET: "4 written nowhere",
}  # fmt: skip


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
    """The context of `window`: the highest of its application, its site and its title. Doubt is 4.

    Of a browser the site decides; without one it is in doubt. A site in another application, or in one that is not known,
    lowers nothing. In a secure window all is 4; without a layout its keys are.
    """
    app, site = policy.app(window.app), policy.site(window.site) if window.site else None
    category = app if site is None else site
    level = category.level if app.pages or (site and not window.app) else max(app.level, category.level)
    title = policy.title(window.title, category.name)
    level = Level.SECRET if window.secure else max(level, title.level if title else level)
    text_level = Level.SECRET if not window.layout else max(level, Level.INTERNAL)
    return Context(category.name, level, text_level, category.enter_submits, category.readline)


def record_level(start: Level, text: str, labels: Collection[str], rules: Rules) -> Level:
    """The level of a stretch of raw text: at least `start`, raised by the labels found in it and by what it is about."""
    level = max((rules.policy.labels.get(label, Level.SECRET) for label in labels), default=start)
    level = max(level, start)
    if level == Level.SECRET:
        return level
    return max([level, *(rules.policy.topics[topic] for topic in rules.topics.of(text, labels))])


def judge(text: str, start: Level, rules: Rules) -> tuple[list[Span], Level]:
    """What must go from a text that stands by itself (a title, a line of a preview), and its level."""
    spans = find_spans("", text, rules)
    return spans, record_level(start, text, [span.label for span in spans], rules)
