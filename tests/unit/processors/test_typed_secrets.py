"""P5 for typing: of secrets that are typed with slips, and of those typed in the wrong place and deleted, nothing gets out.

Counted by key from the simulator's truth (tests/assets/typing_score.py) over the labelled text that lies in the repository.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import keystrokes
import pytest
from redaction_score import TIER1
from typed_sessions import START_MS, typed
from typing_score import PROFILES, Figures, abandoning, clear_numbers, numbers_of, score

from byleave.core.events import Event, FocusEvent, KeyEvent, Kind
from byleave.processors.redact import redactor
from byleave.processors.session import Rules

pytestmark = pytest.mark.slow

ASSETS = Path(__file__).parents[2] / "assets"
SETS = ("workplace_dev.jsonl", "text/workplace_dev2.jsonl", "text/pii_dev2.jsonl")
GOALS = {"clean": 0.005, "normal": 0.005, "messy": 0.01, "abandoned": 0.001}
"""Share of sensitive key events whose text may get out."""


@pytest.mark.parametrize("profile", PROFILES)
def test_typed_secrets_stay_within_the_goal_and_deleted_text_within_the_hold_never_leaves(rules: Rules, profile: str) -> None:
    records = [json.loads(line) for name in SETS for line in (ASSETS / name).read_text("utf-8").splitlines()]
    figures = score(records, profile, rules)
    assert figures.sensitive > 5_000
    assert figures.leak <= GOALS[profile], figures
    assert figures.deleted_out == 0
    assert figures.deleted > (-1 if profile == "clean" else 2_000)


def test_the_count_sees_what_gets_out(rules: Rules) -> None:
    """Plain words that are called a secret do get out, key by key."""
    text = "please review the morning plan"
    record = {"id": "1", "text": text, "spans": [{"start": 14, "end": 25, "label": "PERSON"}], "channel": "keys"}
    figures: Figures = score([record], "clean", rules)
    assert (figures.sensitive, figures.sensitive_out, figures.labels) == (10, 10, {"PERSON": 10})
    assert figures.lost == 0


def test_the_count_sees_deleted_text_that_was_final(rules: Rules) -> None:
    record = {"id": "1", "text": "ask Wojciech", "spans": [{"start": 4, "end": 12, "label": "PERSON"}]}
    simulation = abandoning(record, random.Random(1), PROFILES["abandoned"])
    events = typed(simulation)
    assert [events[n].kind for n in numbers_of(simulation, events)].count(Kind.PRESS) == len(simulation.events)
    assert {truth.label for truth in simulation.truth if truth.deleted} >= {"PERSON"}
    assert clear_numbers(events, rules)
    assert "PERSON" in TIER1


def test_overlapping_keys_cut_an_address_for_recorders_and_not_here(rules: Rules) -> None:
    """On the simulator's own rollover: ending a piece whenever no key is down leaves nothing for a detector to find."""
    address = "anna.kowalczyk@example.org"
    for seed in range(5):
        events = typed(keystrokes.simulate(address, (), seed, keystrokes.CLEAN), seed=seed)
        pieces = pieces_of(events)
        assert len(pieces) > 8
        assert "".join(pieces) == address
        assert not any(label == "EMAIL" for piece in pieces for _, _, label in redactor(rules)(piece)), "found in none of them"
        assert clear_numbers(events, rules) == set()


def pieces_of(events: list[Event]) -> list[str]:
    """What a recorder writes that ends a text action whenever no key is down."""
    pieces, down = list[str](), set[str]()
    for event in events:
        if isinstance(event, FocusEvent):
            assert event.at_ms == START_MS
        elif isinstance(event, KeyEvent) and event.kind is Kind.PRESS:
            if not down:
                pieces.append("")
            down.add(event.key)
            pieces[-1] += event.key if len(event.key) == 1 else ""
        elif isinstance(event, KeyEvent):
            down.discard(event.key)
    return pieces
