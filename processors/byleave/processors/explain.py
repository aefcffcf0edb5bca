"""Why a window or a text has its level, in words and as data: for the person at the terminal, who typed it. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.classify import context_of, record_level
from byleave.processors.redact import find_spans
from byleave.processors.rules import Rules

WORDS = {1: "1 shape", 2: "2 internal", 3: "3 to review", 4: "4 written nowhere"}
Row = tuple[str, str, int, str]


def explained(app: str, site: str, title: str, text: str, rules: Rules) -> dict[str, Any]:
    """The level of a window and of a text in it, and each rule that speaks for one: what it is about, its name, level, words.

    Without a window the text counts as typed in an approved work application.
    """
    somewhere = bool(app or site or title)
    context = context_of(Window(1, app, site, title, layout="us"), rules.policy) if somewhere else None
    start = context.text_level if context else Level.INTERNAL
    spans = find_spans("", text, rules)
    labels = [span.label for span in spans]
    rows = [*_window_rows(app, site, title, rules), *_text_rows(text, labels, rules)]
    level = int(record_level(start, text, labels, rules)) if text else int(start)
    said = [f"{what}: {name}, level {WORDS[least]}" + (f" ({by})" if by else "") for what, name, least, by in rows]
    found = [dict(zip(("what", "rule", "level", "by"), row, strict=True)) for row in rows]
    return {"level": level, "rules": found, "policy": rules.digest, "words": [*said, f"together: level {WORDS[level]}"]}


def overview(rules: Rules) -> dict[str, Any]:
    """What the policy says: each category with its level and how many names it has, each title rule, label and topic."""
    policy = rules.policy
    apps, sites = Counter(c.name for c in policy.apps.values()), Counter(c.name for c in policy.sites.values())
    categories = {c.name: c.level for c in (*policy.apps.values(), *policy.sites.values(), *policy.suffixes.values())}
    rows = [(int(level), f"{name}: {apps[name]} applications, {sites[name]} sites") for name, level in categories.items()]
    rows += [(int(rule.level), f"title {rule.name}: {len(rule.words)} words") for rule in policy.titles]
    rows += [
        (int(level), f"{what} {name}")
        for what, by in (("label", policy.labels), ("topic", policy.topics))
        for name, level in by.items()
    ]
    said = [f"level {WORDS[level]}: {name}" for level, name in sorted(rows)]
    return {"rules": [{"level": level, "rule": name} for level, name in sorted(rows)], "policy": rules.digest,
            "words": [*said, "What is not named is level 4."]}  # fmt: skip


def _window_rows(app: str, site: str, title: str, rules: Rules) -> list[Row]:
    policy, rows = rules.policy, list[Row]()
    category = policy.site(site) if site else policy.app(app)
    if app:
        rows.append(
            (
                "application",
                policy.app(app).name,
                int(policy.app(app).level),
                "its site decides" if policy.app(app).pages else "",
            )
        )
    if site:
        rows.append(("site", category.name, int(category.level), ""))
    rule = policy.title(title, category.name)
    return [*rows, ("title", rule.name, int(rule.level), "")] if rule else rows


def _text_rows(text: str, labels: list[str], rules: Rules) -> list[Row]:
    rows: list[Row] = [("label", name, int(rules.policy.labels[name]), f"{n} found") for name, n in Counter(labels).items()]
    words = rules.topics.deciding_words(text)
    for verdict in sorted(rules.topics.judge(text, labels), key=lambda found: -found.score)[:1]:
        because = "; ".join(
            f"{name} {weight:+.1f} {', '.join(words.get(name, ()))}".strip() for name, weight in verdict.because
        )
        rows += [("topic", topic, int(rules.policy.topics[topic]), because) for topic in verdict.topics]
    return rows
