"""Columns carry rows without loss, and columns that do not agree are refused whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from byleave.core import codec
from byleave.core.batches import open_raw, parse_raw
from byleave.core.envelope import Opener
from byleave.core.errors import Forged
from byleave.core.events import (
    EVENTS_MAX,
    KEY_TIME_STEP_MS,
    Event,
    FocusEvent,
    KeyEvent,
    Kind,
    Modifiers,
    PointerEvent,
    Screen,
    Window,
    pack_pointer,
    pack_steps,
    pack_text,
    unpack,
    unpack_steps,
)
from byleave.core.targets import ROLES, Target

HI_MIN = 1_700_000_000_000
SCREEN = Screen(1920, 1080)

_windows = st.builds(Window, st.integers(0, 9), st.sampled_from(["xterm", "code"]), st.just(""), st.text(max_size=20),
                     st.sampled_from(["us", "fr", ""]), st.booleans())  # fmt: skip

_targets = st.builds(Target, st.sampled_from(sorted(ROLES)), *[st.integers(-5, 4000)] * 4, st.text(max_size=80))


@st.composite
def batches(draw: st.DrawFn) -> list[Event]:
    count = draw(st.integers(0, EVENTS_MAX))
    seq0 = draw(st.integers(0, 10**9))
    events: list[Event] = []
    for n in range(count):
        at_ms = HI_MIN + n * 4 // KEY_TIME_STEP_MS * KEY_TIME_STEP_MS
        which = draw(st.integers(0, 3))
        if which == 0:
            kind = draw(st.sampled_from([Kind.MOVE, Kind.BUTTON_DOWN, Kind.BUTTON_UP]))
            target = draw(st.none() | _targets) if kind is Kind.BUTTON_DOWN else None
            x, y = draw(st.integers(-100, 5000)), draw(st.integers(0, 3000))
            events.append(PointerEvent(seq0 + n, at_ms, kind, x, y, 1, target=target))
        elif which == 1:
            dx, dy = draw(st.tuples(st.integers(-7, 7), st.integers(-7, 7)))
            events.append(PointerEvent(seq0 + n, at_ms, Kind.SCROLL, 5, 6, 0, dx, dy))
        elif which == 2:
            kind = draw(st.sampled_from([Kind.PRESS, Kind.RELEASE, Kind.PASTE, Kind.TASK]))
            key = draw(st.text(max_size=3))
            events.append(KeyEvent(seq0 + n, at_ms, kind, key, Modifiers(draw(st.integers(0, 63)))))
        else:
            events.append(FocusEvent(seq0 + n, at_ms, draw(_windows)))
    return events


@given(batches())
@pytest.mark.slow
def test_rows_survive_the_columns_and_the_codec(events: list[Event]) -> None:
    pointer, text = pack_pointer(events, HI_MIN, SCREEN), pack_text(events, HI_MIN)
    through = [
        None if columns is None else codec.decode_body(name, codec.encode_body(name, columns))
        for name, columns in (("pointer_columns", pointer), ("text_columns", text))
    ]
    seq0 = events[0].seq if events else 0
    assert unpack(seq0, len(events), HI_MIN, *through) == events


def test_key_times_are_rounded_and_pointer_times_are_not() -> None:
    events = [KeyEvent(0, HI_MIN + 33, Kind.PRESS, "a"), PointerEvent(1, HI_MIN + 33, Kind.MOVE, 1, 1)]
    key, move = unpack(0, 2, HI_MIN, pack_pointer(events, HI_MIN, SCREEN), pack_text(events, HI_MIN))
    assert (key.at_ms - HI_MIN, move.at_ms - HI_MIN) == (20, 33)


@pytest.mark.parametrize("steps", [(0, 0), (7, -7), (-3, 2)])
def test_wheel_steps_fit_one_byte(steps: tuple[int, int]) -> None:
    assert unpack_steps(pack_steps(*steps)) == steps


def test_more_wheel_steps_than_fit_are_cut_not_wrapped() -> None:
    assert unpack_steps(pack_steps(400, -400)) == (7, -7)


def good() -> dict[str, object]:
    columns = pack_text([KeyEvent(n, HI_MIN, Kind.PRESS, "ab"[n]) for n in range(2)], HI_MIN)
    assert columns is not None
    return columns


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index": b"\0\0"}, "count-mismatch"),
        ({"index": b"\0\5"}, "count-mismatch"),
        ({"kind": b"\0"}, "count-mismatch"),
        ({"at": b"\0\0"}, "count-mismatch"),
        ({"name": b"\0\7"}, "malformed"),
        ({"kind": b"\0\7"}, "malformed"),
        ({"kind": b"\0\3"}, "malformed"),  # a focus event that names a window which is not there
    ],
)
def test_columns_that_do_not_agree_are_refused_whole(change: dict[str, bytes], reason: str) -> None:
    with pytest.raises(Forged) as caught:
        unpack(0, 2, HI_MIN, None, {**good(), **change})
    assert caught.value.reason == reason


def test_a_place_that_nobody_takes_is_refused() -> None:
    with pytest.raises(Forged, match="columns hold 2 events, the header says 3"):
        unpack(0, 3, HI_MIN, None, good())


CLICK = PointerEvent(0, HI_MIN, Kind.BUTTON_DOWN, 5, 6, 1, target=Target("button", 1, 2, 30, 40, "Save"))


@pytest.mark.parametrize(
    "change", [{"role": "secret word"}, {"role": "password"}, {"label": "x" * 81}, {"x": 1 << 30}, {"place": 1}, {"place": -1}]
)
def test_a_target_that_is_none_or_of_no_click_is_refused_whole(change: dict[str, object]) -> None:
    events = [CLICK, PointerEvent(1, HI_MIN, Kind.BUTTON_UP, 5, 6, 1)]
    pointer, text = pack_pointer(events, HI_MIN, SCREEN), pack_text(events, HI_MIN)
    assert text is not None
    assert unpack(0, 2, HI_MIN, pointer, text) == events
    text["targets"][0].update(change)
    with pytest.raises(Forged) as caught:
        unpack(0, 2, HI_MIN, pointer, text)
    assert caught.value.reason == "malformed"


def test_two_targets_of_one_click_are_refused() -> None:
    pointer, text = pack_pointer([CLICK], HI_MIN, SCREEN), pack_text([CLICK], HI_MIN)
    assert text is not None
    text["targets"] *= 2
    with pytest.raises(Forged):
        unpack(0, 1, HI_MIN, pointer, text)


def test_a_label_longer_than_agreed_is_cut_where_it_is_packed() -> None:
    text = pack_text([PointerEvent(0, HI_MIN, Kind.BUTTON_DOWN, 0, 0, 1, target=Target("link", label="x" * 300))], HI_MIN)
    assert text is not None
    assert len(text["targets"][0]["label"]) == 80


def test_bytes_of_the_version_before_targets_are_still_read() -> None:
    """`before_targets.json` was written by it, with keys that are SHA-256 of their names."""
    golden = json.loads((Path(__file__).parents[2] / "assets/golden/before_targets.json").read_text())
    key = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"golden recipient").digest())
    events, screen = open_raw(parse_raw(bytes.fromhex(golden["raw_batch"])), Opener({"key-1": key}))
    assert screen == SCREEN
    assert events[0] == FocusEvent(0, 1_795_500_000_000, Window(1, "editor", title="Notes", layout="us"))
    assert [event.kind.name for event in events[1:]] == ["PRESS", "RELEASE", "BUTTON_DOWN", "BUTTON_UP", "SCROLL", "PASTE"]
    assert events[-1].key == "pasted words"  # type: ignore[union-attr]
    assert events[3].target is None  # type: ignore[union-attr]


def test_no_repr_shows_a_key_or_a_title() -> None:
    shown = repr([KeyEvent(0, 0, Kind.PRESS, "hunter2"), FocusEvent(1, 0, Window(1, "app", title="my diagnosis")), CLICK])
    assert "hunter2" not in shown
    assert "diagnosis" not in shown
    assert "Save" not in shown
