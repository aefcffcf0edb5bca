"""The bench counts levels and secrets as the goals mean them, and names a peer that cannot be had with the reason."""

from __future__ import annotations

import sys

import pytest

from bench import labelled, peers
from bench.peer_child import everywhere
from byleave.core.levels import Level
from byleave.processors.session import Rules, load_rules

SECRET = {
    "text": "password: hunter2zx",
    "level": 4,
    "spans": [{"start": 10, "end": 19, "label": "PASSWORD"}],
}
PLAIN = {"text": "move the meeting to friday", "level": 2, "spans": []}


@pytest.fixture(scope="module")
def rules() -> Rules:
    return load_rules()


def test_what_is_of_level_4_is_written_nowhere_and_does_not_leak(rules: Rules) -> None:
    shown = {"text": "blue sky", "spans": [{"start": 0, "end": 8, "label": "PASSWORD"}]}
    assert labelled.secrets_in_context([shown], rules) == 1
    assert labelled.secrets_in_context([shown | {"context": {"app": "nobody knows it"}}], rules) == 0
    assert labelled.secrets_in_context([PLAIN], rules) is None


def test_an_unknown_window_is_of_level_4_and_a_known_one_adds_nothing(rules: Rules) -> None:
    assert labelled.judge(PLAIN, rules).level == Level.INTERNAL
    assert labelled.judge(PLAIN, rules, labelled.PLAIN).level == Level.INTERNAL
    assert labelled.judge(PLAIN, rules, {"app": "nobody knows it"}).level == Level.SECRET


def test_missed_and_false_are_shares_of_what_is_high_and_what_is_low(rules: Rules) -> None:
    records = [SECRET, PLAIN, PLAIN | {"level": 3}, PLAIN | {"context": {"app": "nobody knows it"}}]
    assert labelled.level_figures(records, rules) == {"missed_bare": 1 / 2, "false_bare": 0, "false_context": 1}


def test_every_set_of_this_clone_is_read_and_can_be_scored(rules: Rules) -> None:
    sets = {name: records[:2] for name, records in labelled.sets_here().items()}
    assert {"workplace_dev", "pii_dev2", "prose_dev", "levels_dev"} <= set(sets)
    assert all(figures for figures in labelled.ours(sets, rules).values())


def test_a_peer_takes_its_secret_wherever_it_stands_and_what_it_is_joined_to() -> None:
    assert list(everywhere("ghp", "a ghp_12-x, ghp")) == [(2, 10), (12, 15)]


def test_a_program_that_fails_is_absent_with_what_it_said_last() -> None:
    with pytest.raises(peers.Absent, match=r"ended with 3: no such index"):
        peers._run([sys.executable, "-c", "import sys; print('no such index', file=sys.stderr); sys.exit(3)"], "", 30)
    with pytest.raises(peers.Absent, match="FileNotFoundError"):
        peers._run(["there-is-no-such-program"], "", 30)


def test_without_go_gitleaks_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(peers, "HOME", tmp_path)
    monkeypatch.setattr(peers.shutil, "which", lambda _: None)
    with pytest.raises(peers.Absent, match="no Go"):
        peers._gitleaks(["text"])
