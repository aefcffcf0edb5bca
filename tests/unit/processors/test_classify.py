"""Levels of text: each sentence is judged with its neighbours, nothing that is added lowers, and every verdict says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byleave.core.errors import Misconfigured
from byleave.core.levels import Level
from byleave.processors.classify import record_level
from byleave.processors.lexicon import load_labels
from byleave.processors.session import Rules, load_rules
from byleave.processors.topics import read_topics

SENTENCES = (
    "the payroll service times out", "my sister is in hospital again", "she is not ready for promo", "run the tests", "ok",
    "i love you", "def f(x): return x", "he owes me money and i can't pay rent", "Q3 units up 4 %", "don't tell anyone",
)  # fmt: skip
RULES = load_rules()


def level(text: str, labels: tuple[str, ...] = (), start: Level = Level.INTERNAL) -> Level:
    return record_level(start, text, labels, RULES)


@given(
    st.lists(st.sampled_from(SENTENCES), max_size=6),
    st.lists(st.sampled_from(SENTENCES), max_size=4),
    st.sampled_from([". ", "\n", "! "]),
)
def test_a_sentence_that_is_added_never_lowers_the_level(first: list[str], more: list[str], end: str) -> None:
    assert level(end.join([*first, *more])) >= level(end.join(first))
    assert level(end.join([*more, *first])) >= level(end.join(first))


@given(
    st.sampled_from(SENTENCES),
    st.lists(st.sampled_from(sorted(load_labels())), max_size=4),
    st.sampled_from(sorted(load_labels())),
)
def test_a_label_that_is_found_never_lowers_the_level(text: str, labels: list[str], label: str) -> None:
    assert level(text, (*labels, label)) >= level(text, tuple(labels)) >= level(text)


@given(st.text(max_size=200), st.sampled_from(list(Level)))
def test_any_text_has_a_level_and_never_one_below_its_context(text: str, start: Level) -> None:
    assert start <= level(text, start=start) <= Level.SECRET


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("i was diagnosed with cancer in march and the chemo starts monday", "health"),
        ("my salary is less than his and i asked for a raise", "pay"),
        ("my lawyer says the divorce hearing and the custody case are in june", "law"),
        ("she is underperforming and gets a pip, the rating was below expectations", "people"),
        ("my password is the usual, the pin is on the sticky note", "secret"),
        ("mum and dad are coming to the wedding, i love you", "private"),
    ],
)
def test_talk_about_people_is_raised_to_its_topic(text: str, topic: str) -> None:
    assert topic in {name for verdict in RULES.topics.judge(text, ()) for name in verdict.topics}
    assert level(text) == max(RULES.policy.topics[name] for verdict in RULES.topics.judge(text, ()) for name in verdict.topics)


@pytest.mark.parametrize(
    "text",
    [
        "the payroll service times out after the deploy",
        "kill the parent process and rerun the tests",
        "the patient queue test is flaky in ci",
        "shipped the flag to 5%, error rate 0.02%, going to 25 tomorrow",
        "update the runbook, add an alert on consumer lag, close the old topics",
    ],
)
def test_talk_about_software_is_not_raised_by_its_subject(text: str) -> None:
    assert level(text) == Level.INTERNAL


def test_a_label_that_the_policy_does_not_know_is_level_4(rules: Rules) -> None:
    assert record_level(Level.INTERNAL, "ok", ("NEVER_HEARD_OF",), rules) == Level.SECRET


def test_the_verdict_names_features_and_only_the_terminal_gets_words() -> None:
    (verdict,) = RULES.topics.judge("my wife's blood pressure", ())
    assert {name for name, _ in verdict.because} == {"i", "family", "conditions"}
    assert RULES.topics.deciding_words("my wife's blood pressure, Xyzzy")["conditions"] == ("blood pressure",)
    assert "blood" not in repr(verdict)
    assert "blood" not in repr(RULES.topics)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('bias = -1\n[[feature]]\nname = "a"\ntopic = "t"\nweight = -1\nwords = "x"', "weighs against"),
        ('bias = -1\n[[feature]]\nname = "a"\nlabel = "NAME"\nweight = -1', "weighs against"),
        ('bias = -1\n[[feature]]\nname = "a"\nweight = 1\nword = "x"', "unknown key"),
        (
            'bias = -1\n[[feature]]\nname = "a"\nweight = 1\nwords = "x"\n[[feature]]\nname = "b"\nweight = 1\nwords = "x"',
            "keep one",
        ),
    ],
)
def test_a_wrong_model_is_refused(text: str, part: str) -> None:
    with pytest.raises(Misconfigured, match=part):
        read_topics(text, {})
