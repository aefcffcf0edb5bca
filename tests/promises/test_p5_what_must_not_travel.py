"""P5: what must not travel does not. Read with docs/promises.md beside it.

Each test types as a person types, with slips and overlapping keys, and looks at the very bytes that leave the redactor.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import keystrokes
import pytest
from typed_sessions import EDITOR, START_MS, TERMINAL, Output, focused, run, typed, window

from byleave.core.batches import Boundary
from byleave.core.events import Event, FocusEvent, KeyEvent, Kind
from byleave.core.rows import KeyClass
from byleave.processors.preview import batch_of
from byleave.processors.redact import redactor
from byleave.processors.session import Rules, feed, load_rules

MACOS = Path(__file__).parents[2].parent / "shared/data/recordings/ducktrack-macos/events.jsonl"

SECRETS = {
    "an e-mail address": ("mail it to {} today", "anna.kowalczyk@example.org"),
    "a telephone number": ("call me at {} after lunch", "555-010-2345"),
    "a social security number": ("my ssn is {} as you asked", "219-09-9999"),
    "a card number": ("charge card {} for it", "4111 1111 1111 1111"),
    "an account at a bank": ("wire it to {} please", "DE89 3704 0044 0532 0130 00"),
    "a password": ("the password is {}", "Zebra-Quartz-77!"),
    "a key to a service": ("export TOKEN={}", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    "a name": ("please ask {} about it", "Wojciech Brzezinski"),
    "a diagnosis": ("I was told that I have {}", "fibromyalgia"),
    "an amount of pay": ("my salary is {} a year", "$187,500"),
}


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules()


def traces(secret: str, out: Output) -> list[str]:
    """Parts of `secret`, four letters or digits long and longer, that stand anywhere in what left."""
    left = b"\n".join(out.bodies).decode("latin-1").lower() + json.dumps(out.account.record("", b"", ""), default=str).lower()
    pieces = {secret[n : n + 4].lower() for n in range(len(secret) - 3)}
    return sorted(piece for piece in pieces if piece.isalnum() and piece in left)


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_typed_among_work_text_does_not_travel(rules: Rules, what: str) -> None:
    sentence, secret = SECRETS[what]
    for app in (EDITOR, TERMINAL, "slack"):
        for seed in range(4):
            text = f"Good morning team.\n{sentence.format(secret)}\nThanks and see you tomorrow\n"
            events = typed(keystrokes.simulate(text, (), seed, keystrokes.NORMAL), app, seed)
            for cuts in ([], range(len(events)), range(0, len(events), 5)):
                out = run(events, rules, cuts)
                assert traces(secret, out) == []
            assert out.texts()[0].lower().startswith("good")


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_typed_in_the_wrong_place_and_deleted_again_does_not_travel(rules: Rules, what: str) -> None:
    secret = SECRETS[what][1]
    for seed in range(4):
        text, wrong_place = "please review the change today\n", [(14, secret, "X")]
        simulation = keystrokes.simulate(text, (), seed, keystrokes.CLEAN, abandoned=wrong_place)
        out = run(typed(simulation, seed=seed), rules)
        assert traces(secret, out) == []
        assert out.texts() == ["please review the change today"]
        assert out.account.withheld >= 2 * len(secret), "the keys, and those that deleted them"
        assert out.account.late_deletions == 0


def test_deleted_text_leaves_neither_a_row_nor_a_time(rules: Rules) -> None:
    clean = run(focused(["good morning\n"]), rules)
    slips = run(focused(["good moening", "\b" * 5, "rning\n"]), rules)
    assert slips.texts() == clean.texts()
    assert len(slips.key_rows()) == len(clean.key_rows())
    letters = [row for row in slips.key_rows() if row.key_class is KeyClass.CHAR]
    assert len({row.at_ms for row in letters}) == 1, "the time of a key beside a deletion would tell how long it took"


def test_a_removed_span_is_one_token_without_length_or_rhythm(rules: Rules) -> None:
    secrets = ("a.bo@x.org", "annabella.kowalczyk@example.org")
    short, long = (run(focused([f"mail {secret} now\n"], gap_ms=50), rules) for secret in secrets)
    assert short.texts() == long.texts() == ["mail <EMAIL> now"]

    def shape(out: Output) -> list[object]:
        [row] = [row for row in out.actions() if row.text]
        keys = [(key.key_class, key.at_ms) for key in out.key_rows() if key.key_class is KeyClass.CHAR]
        return [row.text, row.start_ms, row.end_ms, row.redactions, keys]

    assert shape(short) == shape(long)


def test_a_secret_spread_over_pastes_moves_and_windows_does_not_travel(rules: Rules) -> None:
    scene: list[object] = [
        "my mail is anna.kow", ("move", 4, 4), ("focus", TERMINAL, 2), "git status\n", ("focus", EDITOR, 1),
        "alczyk@example.org\n", ("paste", "card 4111 1111 "), "1111 1111\n", ("key", "tab"),
        "password: ", ("paste", "Zebra-Quartz-77!"), "\n",
    ]  # fmt: skip
    for cuts in ([], range(200)):
        events = focused(scene)
        out = run(events, rules, [cut for cut in cuts if cut < len(events)])
        for secret in ("alczyk@example.org", "4111 1111 1111 1111", "Zebra-Quartz-77!"):
            assert traces(secret, out) == []


def test_what_stands_held_at_a_halt_leaves_only_by_the_same_rules(rules: Rules) -> None:
    for typed_so_far in ("219-09-99", "219-", "21"):
        out = run(focused([f"good morning, my ssn is {typed_so_far}"]), rules, end=Boundary.HALT)
        assert not any(char.isdigit() for text in out.texts() for char in text)
        assert out.account.held == 0


def test_the_endpoint_that_vanishes_leaves_no_half_of_a_secret(rules: Rules) -> None:
    out = run(focused(["please log in with hunter2"]), rules, end=Boundary.NONE)
    out.add(feed(out.state, batch_of([], 0, START_MS + 60_000, session=b"\2" * 16, offset=1_000), rules))
    assert traces("hunter2", out) == []


@pytest.mark.parametrize("app", ["firefox", "keepassxc", "turbotax", "workday", "signal", "some-new-program"])
def test_contexts_that_nobody_approved_give_nothing_at_all(rules: Rules, app: str) -> None:
    out = run(focused(["the weather is fine today\n", ("click", 5, 5), ("move", 6, 6)], app), rules)
    assert out.bodies == []
    assert out.account.level4 == out.account.admitted


def test_window_titles_never_travel(rules: Rules) -> None:
    out = run(focused(["good morning\n", ("click", 5, 5)], title="Oncology results of Anna Kowalczyk"), rules)
    assert traces("Oncology results of Anna Kowalczyk", out) == []
    assert out.texts() == ["good morning"]


def test_the_state_and_every_type_hide_what_they_hold(rules: Rules) -> None:
    out = run(focused(["the password is Zebra-Quartz-77"]), rules, end=Boundary.NONE)
    assert "Zebra" in "".join(out.state.hold.piece.chars)
    assert "Zebra" not in repr(out.state)
    assert "Z" not in repr(out.state.hold.piece)


def test_an_address_typed_with_overlapping_keys_is_found_and_removed(rules: Rules) -> None:
    """Recorders cut text where no key is down. Here each key goes down before the last came up, or long after."""
    rng = random.Random(16)
    address, at, acts = "anna.kowalczyk@example.org", START_MS, []
    for char in f"{address}\n":
        at += rng.choice([35, 60, 240, 700])
        key = {"\n": "enter"}.get(char, char)
        acts += [(at, Kind.PRESS, key), (at + rng.choice([50, 110]), Kind.RELEASE, key)]
    _found_whole(rules, sorted(acts, key=lambda act: act[0]), address)


@pytest.mark.skipif(not MACOS.is_file(), reason="the public recordings lie beside the project and are not here")
def test_an_address_on_the_timings_of_a_real_recording_is_found_and_removed(rules: Rules) -> None:
    """27 key presses, 11 of them while another key is down: recorders cut this address into 16 pieces."""
    seen = [json.loads(line) for line in MACOS.read_text("utf-8").splitlines()]
    keys = [event for event in seen if event["action"] in ("press", "release")]
    address = "anna.kowalczyk@example.org"
    letters, down, acts = iter(f"{address}\n"), {}, []
    for event in keys:
        at = START_MS + round(1000 * (event["time_stamp"] - keys[0]["time_stamp"]))
        if event["action"] == "press":
            char = next(letters)
            down[event["name"]] = {"\n": "enter"}.get(char, char)
            acts.append((at, Kind.PRESS, down[event["name"]]))
        else:
            acts.append((at, Kind.RELEASE, down.get(event["name"], "")))
    cut = pieces(acts)
    assert len(cut) == 16
    assert not any(label == "EMAIL" for piece in cut for _, _, label in redactor(rules)(piece)), "found in none of them"
    _found_whole(rules, acts, address)


def pieces(acts: list[tuple[int, Kind, str]]) -> list[str]:
    """What a recorder makes of it that ends a piece whenever no key is down."""
    found, down = list[str](), set[str]()
    for _, kind, key in acts:
        if kind is Kind.PRESS:
            if not down:
                found.append("")
            down.add(key)
            found[-1] += key if len(key) == 1 else ""
        else:
            down.discard(key)
    return found


def _found_whole(rules: Rules, acts: list[tuple[int, Kind, str]], address: str) -> None:
    events: list[Event] = [FocusEvent(0, START_MS, window())]
    events += [KeyEvent(n, at, kind, key) for n, (at, kind, key) in enumerate(acts, 1)]
    out = run(events, rules, range(len(events)))
    assert out.texts() == ["<EMAIL>"]
    assert traces(address, out) == []
    assert {row.key_class for row in out.key_rows()} == {KeyClass.ENTER}
