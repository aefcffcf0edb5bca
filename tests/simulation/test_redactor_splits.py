"""However a session is cut into batches, the same leaves: every two-way split and one key at a time, of simulated typing (P5).

The full number of records runs under `make prove`; `make test` takes every so-manieth of them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import keystrokes
import pytest
from redaction_score import TIER1
from typed_sessions import EDITOR, TERMINAL, balanced, run, typed

from byleave.core import codec
from byleave.core.batches import Boundary, Content, body_schema
from byleave.core.events import Event, Screen
from byleave.core.rows import pack_actions, pack_events
from byleave.processors import snapshot
from byleave.processors.preview import batch_of
from byleave.processors.reduce import Rows
from byleave.processors.session import Account, EndpointState, Rules, feed, load_rules

ASSETS = Path(__file__).parents[1] / "assets"
SETS = ("workplace_dev.jsonl", "text/workplace_dev2.jsonl", "text/pii_dev2.jsonl")
RECORDS = 1_000
CHARS_MAX = 240
"""All splits of a record take time by the square of its length."""
SCREEN = Screen(1000, 500)


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules()


def sessions(count: int) -> Iterator[tuple[list[Event], list[str]]]:
    """Events of `count` typed records, and the values of tier 1 in them; slips, other windows and pauses among them."""
    records = [json.loads(line) for name in SETS for line in (ASSETS / name).read_text("utf-8").splitlines()]
    records = [record for record in records if len(record["text"]) <= CHARS_MAX]
    chosen = [(seed, record) for seed in range(1 + RECORDS // len(records)) for record in records][:RECORDS]
    assert len(chosen) == RECORDS
    for seed, record in chosen[:: RECORDS // count]:
        profile = keystrokes.MESSY if random.Random(record["id"]).random() < 0.5 else keystrokes.NORMAL
        simulation = keystrokes.simulate(record["text"], record["spans"], f"{seed}/{record['id']}", profile)
        values = [record["text"][span["start"] : span["end"]] for span in record["spans"] if span["label"] in TIER1]
        yield typed(simulation, TERMINAL if seed % 2 else EDITOR, seed), values


Left = tuple[dict[tuple[Content, int], bytes], Account]


def left(events: Sequence[Event], cuts: Iterable[int], rules: Rules, *, reload: bool = False) -> Left:
    """All that leaves, as the bytes of one record for each content and level, and the account."""
    state, all_rows = EndpointState(), dict[tuple[Content, int], list[Any]]()
    places = [0, *cuts, len(events)]
    for start, stop in pairwise(places):
        some, rows = events[start:stop], Rows()
        end = Boundary.END if stop == len(events) else Boundary.NONE
        feed(state, batch_of(some, start, some[-1].at_ms, boundary=end, screen=SCREEN), rules, rows)
        balanced(state.account)
        for content, by_level in ((Content.EVENTS, rows.events), (Content.ACTIONS, rows.actions)):
            for level, found in by_level.items():
                all_rows.setdefault((content, level), []).extend(found)
        if reload:
            state = snapshot.load(snapshot.dump(state))
    return {key: _bytes(key[0], found) for key, found in all_rows.items()}, state.account


def _bytes(content: Content, rows: list[Any]) -> bytes:
    record = pack_events(rows, SCREEN) if content is Content.EVENTS else pack_actions(rows)
    return codec.encode_body(body_schema(content), record)


def standing(values: Sequence[str], bodies: Iterable[bytes]) -> set[str]:
    """Values of which more than half, four characters at the least, stands in some body by itself."""
    found = set()
    for body in bodies:
        text = body.decode("latin-1").lower()
        for value in values:
            size = max(4, len(value) // 2 + 1)
            raw = value.encode().decode("latin-1").lower()
            if any(raw[n : n + size] in text for n in range(len(raw) - size + 1)):
                found.add(value)
    return found


def every_two_way_split(count: int, rules: Rules) -> None:
    for events, _ in sessions(count):
        whole = left(events, (), rules)
        assert whole[1].held == 0
        for cut in range(1, len(events)):
            assert left(events, (cut,), rules) == whole, f"cut at {cut} of {len(events)}"


def one_key_at_a_time(count: int, rules: Rules) -> Mapping[str, int]:
    seen = {"values": 0, "standing": 0, "emissions": 0}
    for events, values in sessions(count):
        whole, cuts = left(events, (), rules), range(1, len(events))
        assert left(events, cuts, rules) == whole
        assert left(events, cuts, rules, reload=True) == whole, "through dump and load at every event"
        emissions = run(events, rules, cuts).bodies
        assert standing(values, emissions) <= standing(values, whole[0].values()), "a piece tells what the whole does not"
        seen["values"] += len(values)
        seen["standing"] += len(standing(values, emissions))
        seen["emissions"] += len(emissions)
    return seen


def test_every_two_way_split_leaves_the_same_bytes(rules: Rules) -> None:
    every_two_way_split(25, rules)


def test_one_key_at_a_time_leaves_the_same_bytes_and_no_value_in_any_piece(rules: Rules) -> None:
    seen = one_key_at_a_time(100, rules)
    assert seen["emissions"] > 100
    assert seen["standing"] <= 0.02 * seen["values"], seen


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_every_two_way_split_of_a_thousand_records_leaves_the_same_bytes(rules: Rules) -> None:
    every_two_way_split(RECORDS, rules)


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_a_thousand_records_one_key_at_a_time_leave_the_same_bytes_and_no_value_in_any_piece(rules: Rules) -> None:
    seen = one_key_at_a_time(RECORDS, rules)
    assert seen["standing"] <= 0.02 * seen["values"], seen


def test_a_redactor_that_decides_each_batch_by_itself_is_caught(rules: Rules) -> None:
    """The check must be able to fail: each batch closed as if the focus had changed."""
    events = next(events for events, values in sessions(RECORDS) if any("@" in value for value in values))
    state, bodies = EndpointState(), []
    for n, event in enumerate(events):
        batch = batch_of([event], n, event.at_ms, boundary=Boundary.FOCUS, screen=SCREEN)
        bodies += [left.body for left in feed(state, batch, rules)]
    whole, _ = left(events, (), rules)
    assert sum(map(len, bodies)) != sum(map(len, whole.values()))
    assert state.account.labels != left(events, (), rules)[1].labels
