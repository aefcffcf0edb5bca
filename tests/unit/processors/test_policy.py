"""The level policy: unknown is 4, wrong files are refused in one sentence, the highest level wins."""

from __future__ import annotations

import pytest

from byleave.core.errors import Misconfigured
from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.classify import context_of, record_level
from byleave.processors.policy import load_policy
from byleave.processors.session import Rules, load_rules


@pytest.mark.parametrize(
    ("window", "app", "level", "text_level"),
    [
        (Window(1, "XTerm", layout="us"), "terminal", 1, 2),
        (Window(1, "WINWORD.EXE", layout="us"), "office", 1, 2),
        (Window(1, "firefox", layout="us"), "browser", 4, 4),
        (Window(1, "firefox", "docs.github.com", layout="us"), "work-site", 2, 2),
        (Window(1, "firefox", "notgithub.com", layout="us"), "unknown", 4, 4),
        (Window(1, "xterm", "irs.gov", layout="us"), "finance", 4, 4),
        (Window(1, "slack", layout="us"), "chat", 3, 3),
        (Window(1, "", layout="us"), "unknown", 4, 4),
        (Window(1, "xterm"), "terminal", 1, 4),
        (Window(1, "xterm", layout="us", secure=True), "terminal", 4, 4),
    ],
)
def test_context(rules: Rules, window: Window, app: str, level: int, text_level: int) -> None:
    found = context_of(window, rules.policy)
    assert (found.app, found.level, found.text_level) == (app, level, text_level)


def test_the_highest_of_context_labels_and_topics_wins(rules: Rules) -> None:
    def level(text: str, *labels: str, start: Level = Level.INTERNAL) -> int:
        return record_level(start, text, labels, rules)

    assert level("the plan", "EMAIL", "NAME", "NUMBER") == 2
    assert level("the plan", "EMAIL", "US_SSN") == 4
    assert level("her salary review") == 3
    assert level("the plan", start=Level.PEOPLE) == 3
    assert level("her salary", "PASSWORD") == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nonsense", "not TOML"),
        ("[[categories]]", "unknown key"),
        ('[[category]]\nname = "a"', "level"),
        ('[[category]]\nname = "a"\nlevel = 7', "level"),
        ("[[category]]\nlevel = 1", "no name"),
        ('[[category]]\nname = "a"\nlevel = 1\nenter = "maybe"', "enter"),
        ('[[category]]\nname = "a"\nlevel = 1\napp = ["x"]', "unknown key"),
        ('[[category]]\nname = "a"\nlevel = 1\napps = ["x", "X.exe"]', "keep one"),
        ("[labels]\nEMAIL = 0", "level"),
    ],
)
def test_a_wrong_policy_is_refused_in_one_sentence(text: str, part: str) -> None:
    with pytest.raises(Misconfigured, match=part):
        load_policy(text)


def test_the_digest_names_the_policy(rules: Rules) -> None:
    other = load_rules('[[category]]\nname = "a"\nlevel = 1\napps = ["x"]')
    assert len(rules.digest) == 64
    assert other.digest != rules.digest
    assert load_rules().digest == rules.digest
