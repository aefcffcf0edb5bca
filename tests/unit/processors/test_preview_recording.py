"""`byleave preview recording`: what feed would let out of a recording, told by the places of its source."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import keystrokes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_columns import unpack_actions
from typer.testing import CliRunner

from byleave.core import codec
from byleave.core.batches import Boundary, Content
from byleave.core.errors import ByleaveError, Forged, Misconfigured
from byleave.core.events import Event, KeyEvent, Kind, Modifiers, Screen
from byleave.core.recordings import read_objects
from byleave.processors.cli import app
from byleave.processors.preview import Left, batch_of, preview_recording
from byleave.processors.preview_text import given_context, named_window
from byleave.processors.recording import Numbered, Reader, screen_of
from byleave.processors.session import EndpointState, Rules, feed

DESK = Path(__file__).parents[2] / "assets/recordings/desk/events.jsonl"
TEXT = "please mail ann@example.com before lunch and thank her for the notes\n"


def read(data: bytes, form: str, rules: Rules, context: str = "") -> list[Numbered]:
    reader = Reader(lambda name, handle: named_window(name, handle, given_context(context), rules))
    line = reader.keys if form == "keys" else reader.pynput
    return [pair for number, row, _ in read_objects(io.BytesIO(data)) for pair in line(number, row)]


def shown(data: bytes, rules: Rules, form: str = "keys", context: str = "") -> list[Left]:
    return list(preview_recording(read(data, form, rules, context), rules, Screen(1280, 720)))


def recorded(events: list[keystrokes.KeyEvent]) -> bytes:
    return b"".join(json.dumps(dataclasses.asdict(event)).encode() + b"\n" for event in events)


def keys(*kinds: tuple[str, str], window: str = "w0") -> bytes:
    return recorded([keystrokes.KeyEvent(n, 150 * n, kind, text, window) for n, (kind, text) in enumerate(kinds)])


def chars(text: str) -> list[tuple[str, str]]:
    return [({"\n": "enter", "\t": "tab"}.get(char, "char"), char) for char in text]


def test_the_source_of_each_row_is_told_by_index(rules: Rules) -> None:
    switch, typed, enter = shown(keys(*chars("mail ann@example.com now\n")), rules)
    assert (switch.kind, switch.first) == ("SWITCH", 0)
    assert (typed.text, typed.first, typed.last) == ("mail <EMAIL> now", 0, 23)
    assert typed.clear == (0, 1, 2, 3, 21, 22, 23)
    assert (enter.kind, enter.first, enter.last, enter.clear) == ("PRESS", 24, 24, ())


@pytest.mark.parametrize("seed", range(4))
def test_a_preview_is_what_feed_packs_of_the_same_events(rules: Rules, seed: int) -> None:
    records = [{"id": f"w{n}", "text": TEXT, "spans": []} for n in range(3)]
    data = recorded(keystrokes.session(records, seed, keystrokes.MESSY)[0])
    numbered = read(data, "keys", rules)
    events = [event for _, event in numbered]
    batch = batch_of(events, 0, events[-1].at_ms, boundary=Boundary.END, screen=Screen(1280, 720))
    packed = [
        (int(out.header.level), row.kind.value, row.text, row.keys, row.redactions)
        for out in feed(EndpointState(), batch, rules)
        if out.header.content is Content.ACTIONS
        for row in unpack_actions(codec.decode_body("sanitized_actions", out.body))
    ]
    left = [row for row in shown(data, rules) if row.kind != "NOTHING"]
    assert sorted((row.level, row.kind, row.text, row.keys, row.redactions) for row in left) == sorted(packed)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_clear_stands_in_the_output_and_what_was_removed_is_not_clear(rules: Rules, seed: int) -> None:
    start = TEXT.index("ann@")
    spans = [{"start": start, "end": start + len("ann@example.com"), "label": "EMAIL"}]
    made = keystrokes.simulate(TEXT, spans, seed, keystrokes.NORMAL)
    left = shown(recorded(made.events), rules)
    for row in left:
        assert all(row.first <= place <= row.last for place in row.clear)
        letters = [char for char in row.text if char.isalnum()]
        for place in row.clear:
            assert made.events[place].text in letters
    clear = {place for row in left for place in row.clear}
    assert clear.isdisjoint(made.sensitive_events())
    assert clear.isdisjoint(n for n, truth in enumerate(made.truth) if truth.deleted)


def test_a_paste_is_clear_if_a_letter_of_it_stands(rules: Rules) -> None:
    left = shown(keys(("paste", "write to ann@example.com"), *chars(" or "), ("paste", "x@y.example"), ("enter", "\n")), rules)
    assert [row.text for row in left if row.text] == ["write to <EMAIL:1> or <EMAIL:2>"]
    assert next(row for row in left if row.text).clear == (0, 2, 3)


def test_what_nothing_leaves_of_has_a_line(rules: Rules) -> None:
    switch, nothing, *_ = shown(keys(*chars("my ssn is 219-09-9999\n")), rules)
    assert switch.kind == "SWITCH"
    assert (nothing.kind, nothing.level, nothing.text, nothing.clear) == ("NOTHING", 4, "", ())
    assert (nothing.first, nothing.last, nothing.redactions) == (0, 20, ("US_SSN",))
    [all_of_it] = shown(keys(*chars("good morning\n")), rules, context="app=keepassxc")
    assert (all_of_it.kind, all_of_it.first, all_of_it.last) == ("NOTHING", 0, 12)


def test_a_window_that_the_policy_knows_by_name_is_that(rules: Rules) -> None:
    assert [row.kind for row in shown(keys(*chars("good morning\n"), window="keepassxc"), rules)] == ["NOTHING"]
    assert [row.text for row in shown(keys(*chars("good morning\n"), window="w7"), rules) if row.text] == ["good morning"]


def test_shift_and_caps_are_modifiers_and_select_nothing(rules: Rules) -> None:
    scene = [
        ("shift", ""),
        ("char", "G"),
        ("char", "o"),
        ("shift", ""),
        ("char", "!"),
        ("left", ""),
        ("caps_lock", ""),
        ("char", "A"),
    ]
    events = [event for _, event in read(keys(*scene), "keys", rules)]
    seen = [(event.key, event.modifiers) for event in events if isinstance(event, KeyEvent) and event.kind is Kind.PRESS]
    shift, none, caps = Modifiers.SHIFT, Modifiers.NONE, Modifiers.CAPS
    assert seen == [("shift", shift), ("G", shift), ("o", none), ("shift", shift), ("!", shift), ("left", none),
                    ("caps_lock", caps), ("A", caps)]  # fmt: skip
    assert _still_down(events) <= {"G", "o", "!", "A"}


def _still_down(events: list[Event]) -> set[str]:
    down: set[str] = set()
    for event in events:
        if isinstance(event, KeyEvent):
            (down.add if event.kind is Kind.PRESS else down.discard)(event.key)
    return down


def test_a_click_of_the_keys_form_has_no_place(rules: Rules) -> None:
    left = list(preview_recording(read(keys(("click", ""), *chars("good morning\n")), "keys", rules), rules, Screen(0, 0)))
    click = next(row for row in left if row.kind == "CLICK")
    assert (click.first, click.last, click.code) == (0, 0, "")


def test_the_command_prints_one_object_a_record(rules: Rules) -> None:
    result = CliRunner().invoke(app, ["preview", "recording", str(DESK), "--form", "pynput", "--json"])
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"level", "kind", "text", "clear", "events", "redactions"} <= set(found[0])
    assert [row["text"] for row in found if row["kind"] == "TYPE"] == ["good morning", "mail <EMAIL>"]
    assert next(row for row in found if row["kind"] == "DRAG")["events"] == [10, 15]
    table = CliRunner().invoke(app, ["preview", "recording", str(DESK), "--form", "pynput", "--context", "app=code,title=a, b"])
    assert '"a, b"' in table.stdout
    assert "ann@" not in table.stdout + result.stdout


def test_a_recordings_folder_is_as_good_as_its_file() -> None:
    told = [
        CliRunner().invoke(app, ["preview", "recording", str(path), "--form", "pynput", "--json"])
        for path in (DESK, DESK.parent)
    ]
    assert told[0].exit_code == 0
    assert told[0].output == told[1].output


def test_the_screen_is_given_or_lies_beside_the_file(tmp_path: Path) -> None:
    assert screen_of("", DESK) == Screen(1280, 720)
    assert screen_of("800x600", DESK) == Screen(800, 600)
    assert screen_of("", tmp_path / "events.jsonl") == Screen(0, 0)
    (tmp_path / "metadata.json").write_text('{"screen_width": "wide"}')
    for option in ("", "800", "axb", "-1x5", "99999999x1"):
        with pytest.raises(Misconfigured):
            screen_of(option, tmp_path / "events.jsonl")


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b"\xff\xfe", b"7", b'{"index":0}', b'{"index":-1,"t_ms":0,"kind":"char","text":"a"}', b"[" * 100_000,
     b'{"index":0,"t_ms":1e400,"kind":"char","text":"a"}', b'{"index":0,"t_ms":0,"kind":"hunter2","text":"a"}',
     b'{"index":0,"t_ms":0,"kind":"char","text":"hunter2"}', b'{"index":0,"t_ms":0,"kind":"char","text":7}',
     b'{"index":0,"t_ms":0,"kind":"paste","text":["hunter2"]}', b'{"index":0,"t_ms":0,"kind":["char"],"text":"a"}'],
)  # fmt: skip
def test_a_bad_line_is_named_by_number_and_never_quoted(rules: Rules, line: bytes) -> None:
    with pytest.raises(Forged, match=r"^line 2 is not") as caught:
        shown(keys(("char", "a")) + line + b"\n", rules)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("row", [
    {"action": "move", "x": 1e300, "y": 0}, {"action": "press", "name": ""}, {"action": "click", "x": 1, "y": 1, "button": [1]},
    {"action": "scroll", "x": "a", "y": 1}, {"action": "fly", "x": 1, "y": 1},
    {"action": "move", "x": 1, "y": 1, "event_idx": -1},
])  # fmt: skip
def test_a_bad_line_of_the_pynput_form_is_refused(rules: Rules, row: dict[str, Any]) -> None:
    with pytest.raises(Forged, match=r"^line 1 is not"):
        shown(json.dumps({"time_stamp": 1.0, **row}).encode(), rules, "pynput")


_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
_kinds = st.sampled_from(
    ["char", "paste", "enter", "left", "shift", "caps_lock", "click", "focus", "ctrl_backspace", "move", "press"]
)
_lines = st.dictionaries(
    st.sampled_from(["index", "t_ms", "kind", "text", "window", "time_stamp", "action", "x", "y", "dx", "dy", "name", "pressed",
                     "button", "event_idx"]),
    _values | _kinds, max_size=12,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(_lines, max_size=4), st.sampled_from(["keys", "pynput"]))
def test_hostile_lines_raise_only_our_errors(rules: Rules, lines: list[dict[str, Any]], form: str) -> None:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    try:
        shown(data, rules, form)
    except ByleaveError as error:
        assert len(str(error)) < 200


def test_a_window_option_of_another_kind_is_refused() -> None:
    assert given_context("app=xterm,title=a, b=c,url=https://x.example/y") == {
        "app": "xterm", "title": "a, b=c", "url": "https://x.example/y",
    }  # fmt: skip
    with pytest.raises(Misconfigured):
        given_context("application=xterm")
