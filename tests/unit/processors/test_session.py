"""The session as one sequence: the same rows for every cut, nothing twice, nothing before its time, each event counted once."""

from __future__ import annotations

import random
from dataclasses import replace

import keystrokes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_sessions import EDITOR, START_MS, TERMINAL, act, admitted, balanced, focused, run, typed

from byleave.core import codec
from byleave.core.batches import Boundary, Content
from byleave.core.errors import Broken, Refused
from byleave.core.events import KeyEvent, Kind, Modifiers, Screen
from byleave.core.levels import Level
from byleave.core.rows import ActionKind
from byleave.processors import snapshot
from byleave.processors.deciding import HOLD_CHARS
from byleave.processors.preview import batch_of
from byleave.processors.session import Rules, close, feed

CONTROL, SHIFT = Modifiers.CONTROL, Modifiers.SHIFT
_WORDS = ("the report", "teh", "Mark Kowalski", "ann@example.com", "219-09-9999", "password: hunter2zx", "my ssn is",
          "salary 50k", "4111 1111 1111 1111", "at 3pm", "multi\nline")  # fmt: skip
_ACTS: list[object] = [
    *(word + " " for word in _WORDS), *_WORDS, "\n", "\t", "\b", "\b\b\b\b", ("key", "left"), ("key", "right"), ("key", "home"),
    ("key", "end"), ("key", "delete"), ("key", "up"), ("key", "esc"), ("key", "f5"), ("key", "no_such_key"), ("key", ""),
    ("key", "left", SHIFT), ("key", "end", SHIFT), ("key", "backspace", CONTROL), ("key", "a", CONTROL), ("key", "z", CONTROL),
    ("key", "x", CONTROL), ("key", "v", CONTROL), ("key", "c", CONTROL), ("key", "w", CONTROL), ("key", "u", CONTROL),
    ("key", "shift"), ("key", "ctrl_l"), ("release", "shift"), ("release", "t"), ("release", "e"), ("release", "backspace"),
    ("click", 3, 4), ("click", 3, 4, 3), ("focus", EDITOR, 1), ("focus", TERMINAL, 2), ("focus", "slack", 3),
    ("focus", "firefox", 4), ("wait", 40), ("wait", 700), ("wait", 31_000),
    ("paste", "pasted x@y.example text"), ("paste", "we can talk about the plan " * 40), ("paste", ""), ("key", "\u0301"),
    ("move", 9, 9),
    ("scroll", 1),
]  # fmt: skip
scenes = st.lists(st.sampled_from(_ACTS), max_size=40)


@settings(max_examples=60, deadline=None)
@given(scenes, st.sampled_from([EDITOR, TERMINAL, "slack"]), st.randoms(use_true_random=False))
def test_rows_and_account_do_not_depend_on_how_the_input_is_cut(
    rules: Rules, scene: list[object], app: str, rng: random.Random
) -> None:
    events = focused(scene, app, gap_ms=rng.choice([40, 120, 900]))
    whole = run(events, rules)
    per_event = run(events, rules, range(len(events)), reload=True)
    assert per_event.rows == whole.rows
    assert per_event.account == whole.account
    assert whole.account.held == 0
    for _ in range(3):
        assert run(events, rules, rng.sample(range(len(events)), min(4, len(events)))).rows == whole.rows


@pytest.mark.slow
def test_every_two_way_split_of_simulated_typing_gives_the_same_rows(rules: Rules) -> None:
    text = "Ask Mark Kowalski, ann@example.com,\nfor the password: hunter2zx of host 7\n"
    for seed, profile in enumerate([keystrokes.NORMAL, keystrokes.MESSY]):
        events = typed(keystrokes.simulate(text, (), seed, profile), TERMINAL)
        whole = run(events, rules)
        for cut in range(1, len(events)):
            assert run(events, rules, [cut]).rows == whole.rows


def test_state_survives_dump_and_load_at_every_event_of_a_long_simulated_session(rules: Rules) -> None:
    text = "please review the change before lunch, then call 555-010-2345 about it. " * 12
    events = typed(keystrokes.simulate(text, (), 3, keystrokes.MESSY))
    assert run(events, rules, range(0, len(events), 3), reload=True).rows == run(events, rules).rows


@pytest.mark.parametrize("broken", [b"", b"[]", b"{}", b"[2]", b"[3]", b"\xff", b'[2,"x"]'])
def test_a_state_that_cannot_be_read_is_broken_and_not_quoted(broken: bytes) -> None:
    with pytest.raises(Broken) as caught:
        snapshot.load(broken)
    assert caught.value.__cause__ is None


def test_a_truncated_state_is_broken(rules: Rules) -> None:
    state = run(focused(["half a se"]), rules, end=Boundary.NONE).state
    dumped = snapshot.dump(state)
    assert b"half a se" in dumped
    for size in range(0, len(dumped), 7):
        with pytest.raises(Broken):
            snapshot.load(dumped[:size])


def test_held_text_leaves_only_at_its_boundary(rules: Rules) -> None:
    events = focused(["good morning"])
    out = run(events, rules, end=Boundary.NONE)
    assert out.texts() == []
    assert out.account.held == len("good morning")
    act(events, "\n")
    assert run(events, rules, end=Boundary.NONE).texts() == ["good morning"]


@pytest.mark.parametrize(
    "boundary",
    [*(("key", key) for key in ("enter", "tab", "up", "esc")), ("click", 9, 9), ("focus", TERMINAL, 2), ("wait", 30_000)],
)
def test_each_boundary_decides(rules: Rules, boundary: object) -> None:
    assert run(focused(["good morning", boundary]), rules, end=Boundary.NONE).texts() == ["good morning"]


def test_silence_is_read_from_an_empty_batch(rules: Rules) -> None:
    out = run(focused(["good morning"]), rules, end=Boundary.NONE)
    seq, at_ms = out.state.next_seq, out.state.hold.now_ms
    assert feed(out.state, batch_of([], seq, at_ms + 29_999), rules) == []
    assert feed(out.state, batch_of([], seq, at_ms + 30_000), rules) != []
    assert out.account.held == 0


def test_a_pointer_move_inside_a_stretch_waits_for_it(rules: Rules) -> None:
    out = run(focused(["good ", ("move", 5, 6), "morning"]), rules, end=Boundary.NONE)
    assert [*out.rows] == [(Content.ACTIONS, 1)]
    assert [row.kind for row in out.marks()] == [ActionKind.SWITCH]
    assert out.actions() == []
    assert out.account.held == len("good morning") + 1


def test_text_far_behind_the_newest_key_is_let_go_and_the_rest_held(rules: Rules) -> None:
    words = "we can talk about the plan for the next week and the one after it "
    events = focused([words * 20], gap_ms=10)
    out = run(events, rules, end=Boundary.NONE)
    left = "".join(out.texts())
    assert len(left) > 500
    assert (words * 20).startswith(left)
    assert out.account.held <= HOLD_CHARS + 150
    assert "".join(run(events, rules).texts()) == words * 20


def test_slow_typing_is_let_go_thirty_seconds_behind(rules: Rules) -> None:
    events = focused(["we can talk about the plan for the next week and the one after it "], gap_ms=1000)
    out = run(events, rules, end=Boundary.NONE)
    assert "".join(out.texts()).startswith("we can talk about")
    assert out.account.held <= 40


def test_a_secret_across_the_bound_is_never_cut(rules: Rules) -> None:
    filler = "we can talk about the plan for the next week and the one after it "
    for shift in range(0, 60, 7):
        out = run(focused([filler[shift:] + filler * 7 + "ann.kowalski@example.com " + filler * 9], gap_ms=10), rules)
        assert "".join(out.texts()).count("<EMAIL>") == 1
        assert not any("kowalski" in text or "ann" in text for text in out.texts())


def test_an_endless_token_is_bounded(rules: Rules) -> None:
    out = run(focused(["x" * 12_000], gap_ms=1), rules, end=Boundary.NONE)
    assert out.account.held <= 3_501
    assert not any("xx" in text for text in out.texts())


@pytest.mark.parametrize(
    ("seq0", "gap", "reason"), [(3, 0, "out-of-order"), (0, 0, "duplicate-sequence"), (2, 1, "duplicate-sequence")]
)
def test_a_batch_out_of_order_is_refused_and_changes_nothing(rules: Rules, seq0: int, gap: int, reason: str) -> None:
    out = run(focused(["a"]), rules, end=Boundary.NONE)
    before = snapshot.dump(out.state)
    good = admitted(focused(["b"]), seq0)
    with pytest.raises(Refused) as caught:
        feed(out.state, replace(good, header=replace(good.header, gap=gap)), rules)
    assert caught.value.reason == reason
    assert snapshot.dump(out.state) == before


def test_nothing_is_taken_after_the_end(rules: Rules) -> None:
    out = run(focused(["a"]), rules, end=Boundary.HALT)
    with pytest.raises(Refused) as caught:
        feed(out.state, admitted([], out.state.next_seq), rules)
    assert caught.value.reason == "session-ended"


def test_a_declared_gap_ends_the_stretch_and_is_counted(rules: Rules) -> None:
    out = run(focused(["good mor"]), rules, end=Boundary.NONE)
    late = [KeyEvent(0, START_MS + 5_000, Kind.PRESS, char) for char in "ning"]
    batch = admitted(late, out.state.next_seq + 7)
    out.add(feed(out.state, replace(batch, header=replace(batch.header, gap=7)), rules))
    assert out.texts() == ["good mor"] or out.texts() == ["good <WORD>"]
    assert (out.account.gaps, out.account.held) == (7, 4)
    balanced(out.account)


def test_a_new_session_closes_the_old_one_and_drops_only_its_open_token(rules: Rules) -> None:
    out = run(focused(["good morning hunt"]), rules, end=Boundary.NONE)
    out.add(feed(out.state, batch_of(focused([], "firefox"), 0, START_MS + 99_000, session=b"\1" * 16), rules))
    assert out.texts() == ["good morning "]
    [(session, account)] = out.state.closed
    assert session == b"\0" * 16
    assert (account.dropped, account.held, account.ended) == (4, 0, True)
    balanced(account)
    assert (out.account.admitted, out.state.session) == (1, b"\1" * 16)
    with pytest.raises(Refused):
        feed(out.state, batch_of([], 0, START_MS, session=b"\0" * 16), rules)


def test_closing_a_vanished_endpoint_decides_and_ends(rules: Rules) -> None:
    out = run(focused(["good morning"]), rules, end=Boundary.NONE)
    closed = close(out.state, rules, admitted([], out.state.next_seq))
    assert {batch.header.content for batch in closed} == {Content.ACTIONS, Content.EVENTS}
    assert (out.account.ended, out.account.held, out.account.dropped) == (True, 0, len("morning"))
    assert close(out.state, rules, admitted([], 0)) == []


def test_headers_say_where_rows_come_from_and_no_key_time_finer_than_rows(rules: Rules) -> None:
    out = run(focused(["good morning\n"], gap_ms=37), rules)
    headers = [batch.header for batch in out.batches[0]]
    assert {(h.content, h.level) for h in headers} == {(c, Level(n)) for c in Content for n in (1, 2)}
    for header in headers:
        assert header.key_id == f"you/2026-09-21/{int(header.level)}"
        assert header.policy == rules.digest
        assert header.hi_min % 100 == header.hi_max % 100 == 0


def test_the_account_is_the_avro_record(rules: Rules) -> None:
    account = run(focused(["hello ann@example.com\n"]), rules).account
    record = account.record("ep", b"s" * 16, "subject")
    assert codec.decode_body("account", codec.encode_body("account", record)) == record
    assert record["labels"] == {"EMAIL": 1}


def test_releases_count_with_their_press_and_modifiers_with_the_next_key(rules: Rules) -> None:
    shifted = [("key", "shift"), "H", ("release", "h"), ("release", "shift")]
    events = focused([*shifted, "i", ("release", "i"), "x", "\b", ("release", "x")])
    account = run(events, rules).account
    assert (account.admitted, account.kept + account.reviewed, account.withheld) == (10, 7, 3)


@pytest.mark.parametrize("app", ["firefox", "keepassxc", "no-such-application"])
def test_nothing_of_a_level_4_context_is_written(rules: Rules, app: str) -> None:
    out = run(focused(["good morning\n", ("click", 1, 1), ("key", "c", CONTROL), ("move", 3, 3)], app), rules)
    assert out.rows == {}
    assert out.account.level4 == out.account.admitted


def test_a_secure_window_and_an_unknown_layout_give_no_text(rules: Rules) -> None:
    for more in ({"secure": True}, {"layout": ""}):
        out = run(focused(["good morning\n"], **more), rules)
        assert out.texts() == []
        assert out.account.level4 >= len("good morning\n")


def test_level_3_goes_to_review_whole(rules: Rules) -> None:
    out = run(focused(["good morning\n", ("click", 1, 1)], "slack"), rules)
    assert {level for _, level in out.rows} == {3}
    assert out.account.reviewed == out.account.admitted
    assert (out.account.event_rows, out.account.action_rows) == (0, 0)
    assert out.account.review_rows == sum(map(len, out.rows.values()))


def test_a_fields_level_only_rises_until_a_new_field(rules: Rules) -> None:
    raised = ["my ssn is 219-09-9999\n", "good morning\n"]
    assert run(focused(raised), rules).texts() == []
    assert run(focused([raised[0], ("key", "tab"), raised[1]]), rules).texts() == ["good morning"]
    assert run(focused(raised, TERMINAL), rules).texts() == ["good morning"]
    there_and_back = [raised[0], ("focus", TERMINAL, 2), "hello team\n", ("focus", EDITOR, 1), raised[1]]
    assert run(focused(there_and_back), rules).texts() == ["hello team"]


def test_a_stuck_modifier_does_not_spell_what_is_typed(rules: Rules) -> None:
    events = focused([("key", "ctrl_l"), *(("key", char, CONTROL) for char in "correcthorse")])
    hotkeys = [row for row in run(events, rules).actions() if row.kind is ActionKind.HOTKEY]
    assert len(hotkeys) <= 4
    late = focused([("key", "ctrl_l"), ("wait", 31_000), *(("key", char, CONTROL) for char in "plan"), "\n"])
    out = run(late, rules)
    assert out.texts() == ["plan"]


def test_one_focus_is_not_enough_for_a_pixel_of_a_secret_window(rules: Rules) -> None:
    scene = [("move", 1, 1), ("focus", "firefox", 2), ("move", 2, 2), ("click", 3, 3), ("focus", EDITOR, 1)]
    out = run(focused(scene), rules, screen=Screen(100, 100))
    assert [(row.x, row.y) for row in out.rows[Content.EVENTS, 1]] == [(1, 1)]  # type: ignore[union-attr]


def test_two_windows_keep_their_text_apart(rules: Rules) -> None:
    editor, terminal = ("focus", EDITOR, 1), ("focus", TERMINAL, 2)
    scene = ["the plan ", terminal, "git status ", editor, "is ready\n", terminal, "now\n"]
    assert run(focused(scene), rules).texts() == ["the plan ", "git status ", "is ready", "now"]


def test_a_token_that_goes_on_after_a_switch_is_judged_as_one(rules: Rules) -> None:
    scene: list[object] = ["my number is 219-0", ("focus", TERMINAL, 2), "ls\n", ("focus", EDITOR, 1), "9-9999\n"]
    texts = run(focused(scene), rules).texts()
    assert not any(digits in "".join(texts) for digits in ("219", "9999", "9-9"))
