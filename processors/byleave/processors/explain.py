"""Why a window or a text has its level, in words and as data: for the person at the terminal, who typed it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any

from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.classify import LEVEL_WORDS, context_of, judge
from byleave.processors.rules import Rules

Found = tuple[str, str, Level, str]
"""What a rule is about, its name, the level that it speaks for, and by which words."""


def explained(app: str, site: str, title: str, text: str, rules: Rules) -> dict[str, Any]:
    """The level of a window and of a text in it, and each rule that speaks for one: what it is about, its name, level, words.

    Without a window the text counts as typed in an approved work application.
    """
    window = Window(1, app, site, title, layout="us")
    start = context_of(window, rules.policy).text_level if app or site or title else Level.INTERNAL
    spans, level = judge(text, start, rules)
    rows = [*_of_window(window, rules), *_of_text(text, [span.label for span in spans], rules)]
    said = [f"{what}: {name}, level {LEVEL_WORDS[least]}" + (f" ({by})" if by else "") for what, name, least, by in rows]
    found = [{"what": what, "rule": name, "level": int(least), "by": by} for what, name, least, by in rows]
    words = [*said, f"together: level {LEVEL_WORDS[level]}"]
    return {"level": int(level), "rules": found, "policy": rules.digest, "words": words}


def overview(rules: Rules) -> dict[str, Any]:
    """What the policy says: each category with its level and how many names it has, each title rule, label and topic."""
    policy = rules.policy
    apps, sites = Counter(c.name for c in policy.apps.values()), Counter(c.name for c in policy.sites.values())
    categories = {c.name: c.level for c in (*policy.apps.values(), *policy.sites.values(), *policy.suffixes.values())}
    rows = [(level, f"{name}: {apps[name]} applications, {sites[name]} sites") for name, level in categories.items()]
    rows += [(rule.level, f"title {rule.name}: {len(rule.words)} words") for rule in policy.titles]
    rows += [(level, f"label {name}") for name, level in policy.labels.items()]
    rows += [(level, f"topic {name}") for name, level in policy.topics.items()]
    said = [f"level {LEVEL_WORDS[level]}: {name}" for level, name in sorted(rows)]
    found = [{"level": int(level), "rule": name} for level, name in sorted(rows)]
    return {"rules": found, "policy": rules.digest, "words": [*said, "What is not named is level 4."]}


def _of_window(window: Window, rules: Rules) -> Iterator[Found]:
    app, site = rules.policy.app(window.app), rules.policy.site(window.site)
    if window.app:
        yield "application", app.name, app.level, "its site decides" if app.pages else ""
    if window.site:
        yield "site", site.name, site.level, ""
    if rule := rules.policy.title(window.title, (site if window.site else app).name):
        yield "title", rule.name, rule.level, ""


def _of_text(text: str, labels: Collection[str], rules: Rules) -> Iterator[Found]:
    for name, count in Counter(labels).items():
        yield "label", name, rules.policy.labels[name], f"{count} found"
    words = rules.topics.deciding_words(text)
    verdict = max(rules.topics.judge(text, labels), key=lambda found: found.score, default=None)
    if verdict is not None:
        because = (f"{name} {weight:+.1f} {', '.join(words.get(name, ()))}".strip() for name, weight in verdict.because)
        by = "; ".join(because)
        yield from (("topic", topic, rules.policy.topics[topic], by) for topic in verdict.topics)
