"""The level policy: unknown is 4, wrong files are refused in one sentence, the highest level wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.core.errors import Misconfigured
from byleave.core.events import Window
from byleave.core.levels import Level
from byleave.processors.classify import context_of, record_level
from byleave.processors.policy import load_policy, plain_name, policy_errors, shipped_text
from byleave.processors.session import Rules, load_rules

HOUSE = """
extends = "shipped"
[[category]]
name = "ledger"
level = 2
apps = ["ledger"]
sites = ["wiki.corp.example"]
[[category]]
name = "chat here"
level = 4
apps = ["slack"]
[labels]
NAME = 3
"""


@pytest.mark.parametrize(
    ("window", "app", "level", "text_level"),
    [
        (Window(1, "XTerm", layout="us"), "terminal", 1, 2),
        (Window(1, "WINWORD.EXE", layout="us"), "office", 1, 2),
        (Window(1, "firefox", layout="us"), "browser", 4, 4),
        (Window(1, "firefox", "docs.github.com", layout="us"), "work-site", 2, 2),
        (Window(1, "firefox", "notgithub.com", layout="us"), "unknown", 4, 4),
        (Window(1, "xterm", "irs.gov", layout="us"), "government", 4, 4),
        (Window(1, "Nobody's Browser", "github.com", layout="us"), "work-site", 4, 4),
        (Window(1, "", "github.com", layout="us"), "work-site", 2, 2),
        (Window(1, "keepassxc", "github.com", layout="us"), "work-site", 4, 4),
        (Window(1, "Code", title="README.md - Visual Studio Code", layout="us"), "editor", 1, 2),
        (Window(1, "Code", title="payroll.py - Visual Studio Code", layout="us"), "editor", 1, 2),
        (Window(1, "WINWORD.EXE", title="Payroll 2026 - Word", layout="us"), "office", 4, 4),
        (Window(1, "Code", title="Performance review - Ann", layout="us"), "editor", 4, 4),
        (Window(1, "firefox", "github.com", "acme (Private Browsing)", layout="us"), "work-site", 4, 4),
        (Window(1, "firefox", "some.council.gov.uk", layout="us"), "government", 4, 4),
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

    assert level("the plan", "WORD", "NUMBER") == 2
    assert level("the plan", "EMAIL", "US_SSN") == 4
    assert level("she wants to talk about her salary and the promotion") == 3
    assert level("my wife was diagnosed with it in march and i cried all night") >= 3
    assert level("the payroll service times out after the deploy") == 2
    assert level("the plan", start=Level.PEOPLE) == 3
    assert level("her salary", "PASSWORD") == 4


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nonsense", "not TOML"),
        ("[[categories]]", "unknown key"),
        ('[[category]]\nname = "a"', "level"),
        ('[[category]]\nname = "a"\nlevel = 7', "level"),
        ("[[category]]\nlevel = 1", "name must be a name"),
        ('[[category]]\nname = "a"\nlevel = 1\nenter = "maybe"', "enter"),
        ('[[category]]\nname = "a"\nlevel = 1\napp = ["x"]', "unknown key"),
        ('[[category]]\nname = "a"\nlevel = 1\napps = ["x", "X.exe"]', "keep one"),
        ("[labels]\nEMAIL = 0", "level"),
        ("category = 3", r"must be written as \[\[category\]\]"),
        ('extends = "mine"', "extends"),
        ('[[category]]\nname = "a"\nlevel = 2\nsites = ["co.uk"]', "public suffix"),
        ('[[category]]\nname = "a"\nlevel = 2\nsites = ["github.io"]', "public suffix"),
        ('[[category]]\nname = "a"\nlevel = 2\nsuffixes = ["gov"]', "level 3 or 4"),
        ('[[category]]\nname = "a"\nlevel = 4\nsuffixes = ["example.com"]', "public suffix"),
        ('[[category]]\nname = "a"\nlevel = 2\napps = "x"', "list of names"),
        ('[[title]]\nname = "a"\nlevel = 4', "words must be a list of names"),
    ],
)
def test_a_wrong_policy_is_refused_in_one_sentence(text: str, part: str) -> None:
    with pytest.raises(Misconfigured, match=part):
        load_policy(text)


def test_the_digest_names_the_policy(rules: Rules) -> None:
    other = load_rules('extends = "shipped"\n[[category]]\nname = "a"\nlevel = 1\napps = ["house app"]')
    assert len(rules.digest) == 64
    assert other.digest != rules.digest
    assert load_rules().digest == rules.digest


@pytest.mark.parametrize(
    ("host", "category"),
    [
        ("GITHUB.com.", "work-site"),
        ("https://docs.github.com/a?b#c", "work-site"),
        ("evil-github.com", "unknown"),
        ("github.com.evil.example", "unknown"),
        ("https://github.com@evil.example/", "unknown"),
        ("g\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}thub.com", "unknown"),
        ("xn--gthub-n4a.com", "unknown"),
        ("com", "unknown"),
        ("", "unknown"),
        ("http://[::1", "unknown"),
        ("a" * 300 + ".com", "unknown"),
        ("bar.nhs.uk", "government"),
    ],
)
def test_a_site_is_good_for_itself_and_what_is_below_it(rules: Rules, host: str, category: str) -> None:
    assert rules.policy.site(host).name == category
    assert category != "unknown" or rules.policy.site(host).level == 4


@given(app=st.text(max_size=30), site=st.text(max_size=60))
def test_whatever_no_category_names_is_level_4(app: str, site: str) -> None:
    policy = load_policy('[[category]]\nname = "a"\nlevel = 1\napps = ["known app"]\nsites = ["known.example"]')
    assert policy.app(app).level == (1 if plain_name(app) == "known app" else 4)
    assert policy.site(site).level == 4


def test_a_title_never_lowers(rules: Rules) -> None:
    for app in ("xterm", "slack", "keepassxc", "nobody"):
        bare = context_of(Window(1, app, layout="us"), rules.policy)
        for title in ("README", "terminal", "my tax return", "direct message", "x" * 500):
            assert context_of(Window(1, app, title=title, layout="us"), rules.policy).level >= bare.level


def test_a_house_policy_that_extends_decides_its_own_names_and_leaves_the_rest() -> None:
    policy = load_policy(HOUSE)
    assert (policy.app("Ledger.exe").level, policy.site("wiki.corp.example").level, policy.app("slack").level) == (2, 2, 4)
    assert policy.app("xterm") == load_policy().app("xterm")
    assert (policy.labels["NAME"], policy.labels["US_SSN"]) == (3, 4)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[topics]\nweather = 3", "topic 'weather' does not exist"),
        ("[labels]\nSHOE_SIZE = 3", "label 'SHOE_SIZE' does not exist"),
    ],
)
def test_a_label_or_topic_that_does_not_exist_is_refused(text: str, part: str) -> None:
    with pytest.raises(Misconfigured, match=part):
        load_rules(f'extends = "shipped"\n{text}')


def test_every_label_and_topic_must_have_a_level() -> None:
    with pytest.raises(Misconfigured, match="has no level"):
        load_rules('[[category]]\nname = "a"\nlevel = 1\napps = ["x"]')


def test_all_errors_of_a_file_are_told_at_once() -> None:
    wrong = (
        '[[category]]\nname = "a"\nlevel = 9\nsites = ["co.uk", "x/y"]\n[[title]]\nname = "t"\nlevel = 2\n[labels]\nA = true'
    )
    said = policy_errors(wrong)
    assert [part for part in ("level must", "public suffix", "no host", "words must", "'A'") if part in " ".join(said)] == [
        "level must", "public suffix", "no host", "words must", "'A'",
    ]  # fmt: skip
    assert policy_errors(shipped_text()) == []
