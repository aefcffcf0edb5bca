"""Recordings, the canary and the frames of the capture process; the shipped recording is the one that its script makes."""

from __future__ import annotations

import json
import struct
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office_recording import SHIPPED, compose

from byleave.core.errors import Broken, ByleaveError, Forged, Misconfigured, Refused
from byleave.core.events import Kind, Modifiers, Screen, Window
from byleave.core.targets import Target
from byleave.producers.hooks import canary, frames
from byleave.producers.hooks.keymap import LOCK, Keymap, layouts, read_keymap
from byleave.producers.hooks.keysyms import key_of
from byleave.producers.hooks.live import LiveSource, check_display
from byleave.producers.hooks.pynput_worker import key_name
from byleave.producers.hooks.record_worker import Records, event_ms
from byleave.producers.hooks.replay import Timeline, load_recording, replay, shipped_recordings
from byleave.producers.hooks.source import Observed
from byleave.producers.main import build_source
from demo.strokes import strokes
from demo.typist import KeyEvent

SHARED = Path(__file__).parents[4] / "shared" / "data" / "recordings"


def play(source: Timeline, step_ms: int = 10, start_ms: int = 0) -> list[Observed]:
    source.start(start_ms, titles=False)
    found, now = [], start_ms
    while not source.exhausted:
        found += source.poll(now, 0)
        now += step_ms
    return found


def test_the_shipped_recording_is_the_one_its_script_makes(tmp_path: Path) -> None:
    compose(tmp_path)
    for path in sorted(SHIPPED.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_the_shipped_recording_holds_what_a_demo_needs() -> None:
    events, screen = load_recording(SHIPPED)
    kinds = Counter(event.kind for event in events)
    assert screen == Screen(1920, 1080)
    assert 20_000 < events[-1].at_ms < 40_000
    assert len(events) >= 1_500
    assert all(kinds[kind] for kind in (Kind.MOVE, Kind.BUTTON_DOWN, Kind.SCROLL, Kind.PRESS, Kind.FOCUS))
    assert any(event.key == "backspace" for event in events)
    down = 0
    rollover = False
    for event in events:
        down += {Kind.PRESS: 1, Kind.RELEASE: -1}.get(event.kind, 0)
        rollover |= event.kind is Kind.PRESS and down > 2
    assert down == 0  # every press has its release
    assert rollover


@pytest.mark.parametrize("name", ["ducktrack-macos", "opencua-windows"])
def test_other_peoples_recordings_play_whole(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip("the data folder beside the project is absent")
    rows = [json.loads(line) for line in (SHARED / name / "events.jsonl").read_text().splitlines()]
    played = play(replay(str(SHARED / name), speed=100))
    assert len([e for e in played if e.kind is not Kind.FOCUS]) == len(rows)
    assert [e.key for e in played if e.kind is Kind.PRESS] == [r["name"] for r in rows if r["action"] == "press"]
    assert all(a.at_ms <= b.at_ms for a, b in pairwise(played))


def test_a_replay_keeps_real_time_and_stands_still_while_stopped() -> None:
    source = Timeline([Observed(at, Kind.MOVE) for at in (0, 100, 200, 300)], Screen(1, 1))
    source.start(1_000, titles=False)
    assert [e.at_ms for e in source.poll(1_150, 0)] == [1_000, 1_100]
    assert source.stop()
    assert not source.alive
    assert source.poll(9_000, 0) == ()
    source.start(10_000, titles=False)
    assert [e.at_ms for e in source.poll(10_500, 0)] == [10_000, 10_100]
    assert source.exhausted


def test_a_new_window_hears_what_has_the_focus() -> None:
    window = Window(1, "editor", layout="us")
    source = Timeline([Observed(0, Kind.FOCUS, window=window), Observed(10, Kind.MOVE), Observed(90, Kind.MOVE)], Screen(1, 1))
    source.start(0, titles=False)
    source.poll(50, 0)
    source.stop()
    source.start(500, titles=False)
    assert [e.kind for e in source.poll(600, 0)] == [Kind.FOCUS, Kind.MOVE]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"action":"press"}', '{"time_stamp":1,"action":"dance","x":1,"y":1}', '{"time_stamp":"x"}',
     '{"time_stamp":1,"action":"move","x":1e999,"y":1}', '{"time_stamp":1e999,"action":"move","x":1,"y":1}'],
)  # fmt: skip
def test_a_damaged_recording_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    if text:
        (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_recording(tmp_path)


@pytest.mark.parametrize("text", ["replay:nowhere", "replay:../office", "canary:x", "keylogger", "replay:office/.."])
def test_an_unknown_source_is_refused(text: str) -> None:
    with pytest.raises(ByleaveError):
        build_source(text, 1.0)


def test_sources_by_name() -> None:
    assert shipped_recordings() == ["office"]
    assert len(play(build_source("replay:office", 100))) == len(load_recording(SHIPPED)[0])
    with pytest.raises(Misconfigured):
        build_source("replay:office", 0)


def test_the_canary_types_all_that_it_says_and_the_same_for_a_seed() -> None:
    events, secrets = play(canary.canary(3, speed=50)), canary.planted(3)
    assert play(canary.canary(3, speed=50)) == events
    assert len(secrets) == len(set(secrets)) == 14
    assert set(canary.planted(4)).isdisjoint(secrets)
    windows = {e.window.app for e in events if e.window}
    assert windows == set(canary.APPLICATIONS)
    pasted = [e.key for e in events if e.kind is Kind.PASTE]
    assert pasted
    assert set(pasted) <= set(secrets)
    assert all(a.at_ms <= b.at_ms for a, b in pairwise(events))
    assert Counter(e.kind for e in events)[Kind.PRESS] == Counter(e.kind for e in events)[Kind.RELEASE]


def test_shift_is_held_over_a_run_and_let_go_before_the_next_key() -> None:
    import random

    keys = [
        KeyEvent(0, 100, "shift"),
        KeyEvent(1, 150, "char", "A"),
        KeyEvent(2, 300, "char", "B"),
        KeyEvent(3, 450, "char", "c"),
    ]
    found = strokes(keys, {}, random.Random(1), 0)
    shift = [e.at_ms for e in found if e.key == "shift"]
    assert len(shift) == 2
    assert 300 < shift[1] < 450
    assert [e.modifiers for e in found if e.kind is Kind.PRESS and e.key in "ABc"] == [
        Modifiers.SHIFT,
        Modifiers.SHIFT,
        Modifiers.NONE,
    ]


@pytest.mark.parametrize(
    ("environment", "platform", "reason"),
    [
        ({}, "linux", "no-display"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", "wayland"),
        ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "linux", "wayland"),
        ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "linux", "wayland"),
        ({"DISPLAY": ":0"}, "darwin", "platform"),
        ({"DISPLAY": ":0"}, "win32", "platform"),
        ({"DISPLAY": ":0"}, "freebsd14", "platform"),
    ],
)
def test_where_capture_cannot_be_right_it_is_refused(environment, platform: str, reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_display(environment, platform)
    assert refusal.value.reason == reason


def test_each_refusal_is_one_sentence_that_says_what_to_do_or_why() -> None:
    def said(environment: dict[str, str], platform: str) -> str:
        with pytest.raises(Refused) as refusal:
            check_display(environment, platform)
        return str(refusal.value)

    assert "log in to an X11 session" in said({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert "Input Monitoring and Accessibility" in said({}, "darwin")
    assert "Windows" in said({}, "win32")
    assert "which application has the focus" in said({}, "win32")
    with pytest.raises(Refused):
        LiveSource({"WAYLAND_DISPLAY": "wayland-0"}).start(0, titles=False)


def test_both_hooks_are_sources_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    for hook in ("x11", "pynput"):
        source = build_source(hook, 1.0)
        assert isinstance(source, LiveSource)
        assert (source.pid, source.alive, source.exhausted, source.stop()) == (None, False, False, True)


# -- what the X server records --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "monotonic", "boot", "stamp"),
    [
        (1_000, 1_005, 1_005, 1_000),
        (1_006, 1_005, 1_005, 1_005),  # the server's clock is a little ahead
        (2**32 - 3, 2**32 + 2, 2**32 + 2, 2**32 - 3),  # after 49.7 days it begins anew
        (1_000, 1_050, 3_601_050, 3_601_000),  # the machine slept for an hour between
        (9, 5_000_000, 5_000_000, 5_000_000),  # another machine's screen: its clock says nothing here
    ],
)
def test_an_event_has_the_servers_time_on_the_boot_clock(server: int, monotonic: int, boot: int, stamp: int) -> None:
    assert event_ms(server, monotonic, boot) == stamp


def reply(category: int, body: bytes, of: int = 1) -> bytes:
    return struct.pack("=BBHIBBHII12x", of, category, 0, len(body) // 4, 0, 0, 0, 0, 0) + body


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=64).map(lambda b: b[: len(b) // 4 * 4])), max_size=9),
       st.integers(1, 70))  # fmt: skip
def test_records_survive_any_cut_of_the_stream(sent: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(reply(*one) + bytes((34,)) + bytes(31) for one in sent)  # an event between that is no record
    records, found = Records(), []
    for at in range(0, len(stream), size):
        found += list(records.feed(stream[at : at + size]))
    assert found == [(category, False, body) for category, body in sent]


def test_an_error_of_the_server_ends_the_records() -> None:
    with pytest.raises(Broken):
        list(Records().feed(reply(0, b"", of=0)))


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("pc+us+inet(evdev)", ("us", "", "", "")),
        ("pc+us(dvorak)+de:2+inet(evdev)+group(alt_shift_toggle)+ctrl(nocaps)", ("us(dvorak)", "de", "", "")),
        ("pc+macintosh_vndr/de(nodeadkeys)+fr(bepo):2+ru:3", ("macintosh_vndr/de(nodeadkeys)", "fr(bepo)", "ru", "")),
        ("made-by-hand", ("", "", "", "")),
        ("", ("", "", "", "")),
    ],
)
def test_layouts_are_named_by_group_or_not_at_all(symbols: str, expected: tuple[str, ...]) -> None:
    assert layouts(symbols) == expected
    assert Keymap({}, layouts(symbols)).layout(1 << 13) == expected[1]


def test_a_key_mapped_anew_has_the_levels_that_the_server_gives_it() -> None:
    keymap = Keymap({})
    keymap.change(8, [(0xE9,), (0x1000416,), (ord("1"), ord("!")), (ord("q"), ord("Q"), ord("a"), ord("A")), (0, 0)])
    shift, lock, second = 1, LOCK, 1 << 13
    assert [keymap.key(8, s) for s in (0, shift, lock, shift | lock)] == ["é", "É", "É", "é"]
    assert [keymap.key(9, s) for s in (0, shift)] == ["Ж", "Ж"]
    assert [keymap.key(10, s) for s in (0, shift, lock)] == ["1", "!", "1"]
    assert [keymap.key(11, s) for s in (0, second, second | shift, 3 << 13)] == ["q", "a", "A", "a"]
    assert [keymap.key(code, 0) for code in (12, 13)] == ["", ""]


@given(st.binary(max_size=200))
def test_a_keyboard_map_that_is_none_raises_only_our_error(reply: bytes) -> None:
    try:
        read_keymap(reply)
    except ByleaveError as error:
        assert "keyboard map" in str(error)


def test_no_symbol_is_a_guess() -> None:
    keys = [key_of(symbol) for symbol in range(0x10000)]
    assert all(key == "" or len(key) > 1 or key.isprintable() for key in keys)
    assert "".join(map(key_of, (0x41, 0xE9, 0x20AC, 0x10020AC, 0x6C1, 0x7E1, 0x1B1, 0xFFB7, 0xFE51))) == "Aé€€аαą7\u0301"  # noqa: RUF001
    assert [key_of(s) for s in (0, 0x20, 0xA0, 0xFF0D, 0xFF8D, 0xFE03, 0xFF20, 0xFE64)] == [
        "", "space", "", "enter", "enter", "alt_gr", "", ""]  # fmt: skip


TITLES, APPS = st.text(max_size=256), st.text(max_size=60)
WINDOWS = st.builds(Window, st.integers(0, 2**31 - 1), APPS, st.just(""), TITLES, st.just("us"), st.booleans())


@given(st.lists(st.tuples(st.text(max_size=1), WINDOWS | st.none()), max_size=20), st.integers(1, 50))
def test_frames_survive_any_cut_of_the_stream(items, size: int) -> None:
    sent = [
        pair for key, window in items for pair in (Observed(1, Kind.PRESS, key=key), Observed(2, Kind.FOCUS, window=window))
    ]
    stream = b"".join(frames.focus_frame(2, e.window) if e.kind is Kind.FOCUS else frames.event_frame(e) for e in sent)
    reader, found = frames.Frames(), []
    for at in range(0, len(stream), size):
        found += [frames.observed(frame) for frame in reader.feed(stream[at : at + size])]
    assert found == sent


@given(st.binary(max_size=200))
def test_bytes_that_no_worker_writes_raise_only_our_error(stream: bytes) -> None:
    try:
        for frame in frames.Frames().feed(stream):
            frames.observed(frame)
    except Forged as error:
        assert "frame" in str(error)


def test_a_frame_never_exceeds_what_a_pipe_writes_whole() -> None:
    window = Window(1, "ж" * 60, title="\\" * 5_000, layout="us")
    assert len(frames.focus_frame(1, window)) <= 4096


def test_a_target_survives_its_frame() -> None:
    target = Target("button", 1, -2, 30, 40, "Séve" * 20)
    [frame] = frames.Frames().feed(frames.target_frame(7, target))
    assert frames.observed(frame) == Observed(7, Kind.TARGET, target=target)
    with pytest.raises(Forged):
        frames.observed([frames.TARGET, 7, "button", 1, 2, 3, 4, "label", "more"])


def test_an_observed_event_shows_no_content() -> None:
    event = Observed(1, Kind.PRESS, key="zanquavel", window=Window(1, "editor", title="zanquavel"))
    assert "zanquavel" not in repr(event)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (SimpleNamespace(char="e"), "e"),
        (SimpleNamespace(name="enter"), "enter"),
        (SimpleNamespace(char=None), ""),
        (SimpleNamespace(char="\u00b4", is_dead=True, combining="\u0301"), "\u0301"),
        (SimpleNamespace(char="\u0385", is_dead=True, combining=None), ""),
        (SimpleNamespace(char="\x03"), ""),
    ],
)
def test_a_key_travels_by_its_character_its_name_or_as_unknown_and_a_dead_one_as_its_accent(key: object, name: str) -> None:
    assert key_name(key) == name


def test_a_pause_that_comes_while_a_capture_process_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, pause = LiveSource({"DISPLAY": ":none"}), tmp_path / "pause"
    source.pause_by("ctrl+alt+shift+esc", str(pause))
    begin = subprocess.Popen

    def begun(*words: Any, **more: Any) -> subprocess.Popen[bytes]:
        pause.touch()
        source.kill()  # of the thread that heard the person: there is none to kill yet
        return begin(*words, **more)

    monkeypatch.setattr("byleave.producers.hooks.live.subprocess.Popen", begun)
    with pytest.raises(Refused, match="paused"):
        source.start(0, titles=False)
    assert source.stop()
    assert source.pid is None
