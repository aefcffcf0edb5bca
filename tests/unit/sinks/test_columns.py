"""Arrow columns: the same rows as another reading, one by one, whatever they are; and nothing but our error for odd columns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_columns import unpack_events

from byleave.core import codec
from byleave.core.batches import Content, SanitizedBatch, SanitizedHeader
from byleave.core.errors import Forged
from byleave.core.events import Screen
from byleave.core.levels import Level
from byleave.core.rows import ActionKind, ActionRow, EventRow, KeyClass, pack_actions, pack_events
from byleave.core.targets import Target
from byleave.sinks.columns import EARLIER, SCHEMAS, arrow_rows, open_text
from byleave.sinks.lake import DataFile, LocalLake

KEY = b"k" * 32
SESSION = b"s" * 16
KINDS = ["move", "button_down", "button_up", "scroll", "key"]
SHORT = st.integers(-32_768, 32_767)
EVENTS = st.lists(
    st.builds(
        EventRow, at_ms=st.integers(1_795_500_000_000, 1_795_500_060_000), kind=st.integers(0, 4),
        app=st.sampled_from(["a", "é", ""]), x=SHORT, y=SHORT, button=st.integers(0, 20), dx=st.integers(-7, 7),
        dy=st.integers(-7, 7), key_class=st.sampled_from(KeyClass),
    ), max_size=20,
)  # fmt: skip


def batch(content: Content, record: codec.Record, rows: int, row0: int = 5) -> SanitizedBatch:
    header = SanitizedHeader("ep-a", SESSION, "person-a", 1, content, Level.INTERNAL, "person-a/2026-11-24/2", rows, row0,
                             0, 1, 0, 1, "raw", 3, 44, 1, b"m" * 32, "policy", 1)  # fmt: skip
    name = "sanitized_events" if content is Content.EVENTS else "sanitized_actions"
    return SanitizedBatch(header, codec.encode_body(name, record))


@given(EVENTS)
def test_event_columns_say_what_the_other_reading_says(events: list[EventRow]) -> None:
    record = pack_events(events, Screen(1920, 1080))
    wanted, screen = unpack_events(record)
    found = arrow_rows(batch(Content.EVENTS, record, len(events)), KEY, os.urandom).to_pylist()
    assert [
        (
            KINDS.index(row["kind"]),
            row["at_ms"],
            row["app"],
            row["x"],
            row["y"],
            row["button"],
            row["dx"],
            row["dy"],
            row["key_class"],
        )
        for row in found
    ] == [(w.kind, w.at_ms, w.app, w.x, w.y, w.button, w.dx, w.dy, w.key_class.name.lower()) for w in wanted]
    assert all((row["screen_width"], row["screen_height"]) == (screen.width, screen.height) for row in found)
    assert [row["row"] for row in found] == list(range(5, 5 + len(events)))


@given(st.lists(st.text(max_size=20), max_size=8))
def test_texts_come_back_in_their_own_row_only(texts: list[str]) -> None:
    rows = [ActionRow(ActionKind.TYPE, 100, 200, "editor", text=text) for text in texts]
    found = arrow_rows(batch(Content.ACTIONS, pack_actions(rows), len(rows)), KEY, os.urandom).to_pylist()
    for number, (text, row) in enumerate(zip(texts, found, strict=True), 5):
        if not text:
            assert row["text"] is None
            continue
        assert open_text(KEY, "ep-a", SESSION, 2, number, row["text"]) == text
        for place in (
            ("ep-b", SESSION, 2, number),
            ("ep-a", b"t" * 16, 2, number),
            ("ep-a", SESSION, 1, number),
            ("ep-a", SESSION, 2, 99),
        ):
            with pytest.raises(Forged):
                open_text(KEY, *place, row["text"])


def test_a_target_stands_in_its_row_and_its_label_opens_as_nothing_else() -> None:
    target = Target("button", 1, 2, 30, 40, "Save")
    rows = [ActionRow(ActionKind.SCROLL, 0, 0, "a"), ActionRow(ActionKind.CLICK, 0, 0, "a", text="t", target=target)]
    none, click = arrow_rows(batch(Content.ACTIONS, pack_actions(rows), 2), KEY, os.urandom).to_pylist()
    assert (none["target_role"], none["target_box"], none["target_label"]) == (None, None, None)
    assert (click["target_role"], click["target_box"]) == ("button", [1, 2, 30, 40])
    place = (KEY, "ep-a", SESSION, 2, 6)
    assert open_text(*place, click["target_label"], "target_label") == "Save"
    for sealed, column in ((click["target_label"], "text"), (click["text"], "target_label")):
        with pytest.raises(Forged):
            open_text(*place, sealed, column)


@pytest.mark.parametrize("place", [-1, 1])
def test_a_target_of_no_row_is_forged(place: int) -> None:
    record = pack_actions([ActionRow(ActionKind.CLICK, 0, 0, "a", target=Target("button"))])
    record["targets"][0]["place"] = place
    with pytest.raises(Forged):
        arrow_rows(batch(Content.ACTIONS, record, 1), KEY, os.urandom)


def test_a_file_of_the_version_before_reads_with_nothing_in_the_new_columns(tmp_path: Path) -> None:
    rows = [ActionRow(ActionKind.TYPE, 100, 200, "editor", text="text")]
    found = arrow_rows(batch(Content.ACTIONS, pack_actions(rows), 1), KEY, os.urandom)
    lake, name = LocalLake(tmp_path), "ab" * 16
    old = pa.Table.from_batches([found]).select(EARLIER["actions"].names).cast(EARLIER["actions"])
    file = DataFile("actions", 2, name, 1, lake.stage("actions", 2, name, old, KEY), (), "2.t")
    [whole] = lake.read(file, KEY)
    assert whole.schema.equals(SCHEMAS["actions"])
    assert whole.to_pylist() == [found.to_pylist()[0] | {"target_role": None, "target_box": None, "target_label": None}]
    [some] = lake.read(file, KEY, ["target_label", "app"])
    assert some.to_pylist() == [{"app": "editor", "target_label": None}]


@pytest.mark.parametrize("change", [
    {"x": b"\0"}, {"at": b""}, {"kind": b"\x05\0"}, {"kind": b"\0"}, {"key_class": b"\x09\0"}, {"app": b"\x01\0"}, {"apps": []},
    {"arg": b"\0\0\0"},
])  # fmt: skip
def test_columns_that_do_not_agree_are_forged(change: dict[str, Any]) -> None:
    record = pack_events([EventRow(1_000, 0, "a"), EventRow(1_001, 0, "a")], Screen(1, 1)) | change
    with pytest.raises(Forged):
        arrow_rows(batch(Content.EVENTS, record, 2), KEY, os.urandom)


def test_a_body_that_is_no_record_is_forged() -> None:
    header = batch(Content.EVENTS, pack_events([], Screen(1, 1)), 0).header
    for body in (b"", b"\xff" * 30):
        with pytest.raises(Forged):
            arrow_rows(SanitizedBatch(header, body), KEY, os.urandom)
