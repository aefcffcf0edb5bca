"""Sanitized rows survive their columns, and give nothing away that they must not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_columns import unpack_actions, unpack_events

from byleave.core import codec
from byleave.core.batches import Content, decode_rows
from byleave.core.errors import Forged
from byleave.core.events import Kind, Screen
from byleave.core.rows import (
    KEY_ROW,
    ROW_TIME_STEP_MS,
    ActionKind,
    ActionRow,
    EventRow,
    KeyClass,
    pack_actions,
    pack_events,
)
from byleave.core.targets import Target

_pointer = st.builds(
    EventRow, st.integers(10**12, 10**12 + 10**6), st.sampled_from([0, 1, 2]), st.sampled_from(["editor", "terminal"]),
    st.integers(-5, 4000), st.integers(0, 3000), st.integers(0, 3),
)  # fmt: skip
_wheel = st.builds(
    lambda at, dx, dy: EventRow(at, Kind.SCROLL, "editor", 1, 2, 0, dx, dy),
    st.integers(10**12, 10**12 + 10**6), st.integers(-7, 7), st.integers(-7, 7),
)  # fmt: skip
_key = st.builds(
    lambda at, c: EventRow(at * 100, KEY_ROW, "editor", key_class=c),
    st.integers(10**10, 10**10 + 999),
    st.sampled_from(KeyClass),
)


@given(st.lists(st.one_of(_pointer, _wheel, _key), max_size=60))
def test_event_rows_survive_their_columns(rows: list[EventRow]) -> None:
    columns = codec.decode_body("sanitized_events", codec.encode_body("sanitized_events", pack_events(rows, Screen(800, 600))))
    assert unpack_events(columns) == (rows, Screen(800, 600))


def test_key_times_are_rounded_whatever_the_caller_did() -> None:
    columns = pack_events([EventRow(12_345, KEY_ROW, "editor", key_class=KeyClass.CHAR)], Screen(1, 1))
    assert unpack_events(columns)[0][0].at_ms % ROW_TIME_STEP_MS == 0


def test_actions_survive_their_record() -> None:
    rows = [ActionRow(ActionKind.TYPE, 0, 100, "editor", text="write to <EMAIL>", redactions=("EMAIL",)),
            ActionRow(ActionKind.HOTKEY, 0, 0, "editor", keys=("ctrl", "s"))]  # fmt: skip
    record = codec.decode_body("sanitized_actions", codec.encode_body("sanitized_actions", pack_actions(rows)))
    assert unpack_actions(record) == rows


def test_an_actions_repr_does_not_show_its_text() -> None:
    assert "EMAIL>" not in repr(ActionRow(ActionKind.TYPE, 0, 1, "editor", text="write to <EMAIL>"))


_chars = st.characters(exclude_categories=["Cs"])
_actions = st.builds(
    ActionRow, st.sampled_from(ActionKind), st.integers(0, 2**40), st.integers(0, 2**40), st.text(max_size=5),
    st.sampled_from(["", "left"]), *[st.floats(-1, 1, width=32)] * 4, st.integers(-99, 99), st.integers(-99, 99),
    text=st.text(_chars, max_size=20),
    keys=st.lists(st.text(max_size=4), max_size=3).map(tuple),
    redactions=st.lists(st.sampled_from(["EMAIL", "WORD"]), max_size=3).map(tuple),
    target=st.none() | st.builds(Target, st.just("button"), *[st.integers(0, 99)] * 4, st.text(_chars, max_size=9)),
    first=st.integers(0, 2**40),
    last=st.integers(0, 2**40), clear=st.lists(st.integers(0, 2**40), max_size=5).map(tuple),
)  # fmt: skip


def test_actions_of_the_version_before_targets_are_still_read() -> None:
    golden = json.loads((Path(__file__).parents[2] / "assets/golden/before_targets.json").read_text())
    rows = unpack_actions(decode_rows(Content.ACTIONS, bytes.fromhex(golden["sanitized_actions"])))
    assert [(row.kind, row.text, row.target) for row in rows] == [
        (ActionKind.CLICK, "", None), (ActionKind.TYPE, "write to <EMAIL>", None), (ActionKind.HOTKEY, "", None),
    ]  # fmt: skip


@given(st.lists(_actions, max_size=5))
def test_no_record_of_this_version_reads_as_one_of_the_version_before(rows: list[ActionRow]) -> None:
    payload = codec.encode_body("sanitized_actions", pack_actions(rows))
    assert unpack_actions(decode_rows(Content.ACTIONS, payload)) == rows
    with pytest.raises(Forged):
        codec.decode_body("sanitized_actions.11", payload)


@given(st.lists(_actions, max_size=20))
def test_rows_of_every_kind_survive_their_record_without_their_source(rows: list[ActionRow]) -> None:
    packed = pack_actions(rows)
    assert {name for row in packed["rows"] for name in row}.isdisjoint({"first", "last", "clear"})
    payload = codec.encode_body("sanitized_actions", packed)
    unpacked = unpack_actions(codec.decode_body("sanitized_actions", payload))
    assert unpacked == rows
    assert [(row.first, row.last, row.clear) for row in unpacked] == [(-1, -1, ())] * len(rows)
    assert payload == codec.encode_body("sanitized_actions", pack_actions([replace(row, first=7, clear=(7,)) for row in rows]))
