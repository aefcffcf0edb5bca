"""The agent's command line: what is wrong is said in one sentence, nothing is captured, and the exit code tells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from byleave.control.bootstrap import dev_site, documents_to_publish
from byleave.core.broker import Received
from byleave.core.errors import Broken, Misconfigured, Refused
from byleave.core.settings import load_installation
from byleave.deploy import pki
from byleave.producers.gate import Answer
from byleave.producers.hooks.canary import canary
from byleave.producers.hooks.live import LiveSource
from byleave.producers.inquiries import ask
from byleave.producers.main import TOPICS, Process, numbers_for
from byleave.producers.own_files import own_digest
from byleave.producers.person.page import ours

NOW_MS = 1_800_000_000_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    pki.ensure_pki(tmp_path, ["ep-a"])
    dev_site(tmp_path, "byleave.", [("ep-a", "subject-a", "team-1")], NOW_MS, os.urandom, consent=True)
    return tmp_path


def run(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith("BYLEAVE_") and n not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, "-m", "byleave.producers.main", "--endpoint", "ep-a", *words],
        env={**kept, "BYLEAVE_HOME": str(home), **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def process(home: Path) -> Process:
    return Process(load_installation({"BYLEAVE_HOME": str(home)}), "ep-a", canary(), lambda _: False)


@pytest.mark.parametrize(
    ("words", "environment", "code", "says"),
    [
        (("--source", "keylogger"), {}, 2, "no source keylogger"),
        (("--source", "replay:nowhere"), {}, 2, "no recording nowhere"),
        (("--source", "replay:office", "--speed", "-1"), {}, 2, "speed"),
        (("--source", "pynput"), {}, 1, "X"),
        (("--source", "canary"), {"BYLEAVE_HOEM": "x"}, 2, "unknown setting"),
        ((), {}, 1, "no X display"),
    ],
)
def test_a_wrong_command_ends_with_one_sentence(home: Path, words, environment, code: int, says: str) -> None:
    ended = run(home, *words, **environment)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "missing", ["trust/root.dsse", "endpoints/ep-a/device.key", "endpoints/ep-a/enrolment.dsse", "pki/ep-a.key.pem"]
)
def test_a_missing_file_is_named(home: Path, missing: str) -> None:
    (home / missing).unlink()
    with pytest.raises(Misconfigured, match=Path(missing).name):
        process(home)


def test_an_enrolment_of_another_key_is_refused(home: Path) -> None:
    (home / "endpoints" / "ep-a" / "device.key").write_text("00" * 31 + "01\n")
    with pytest.raises(Misconfigured, match="enrol it again"):
        process(home)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_key_that_others_may_read_is_refused(home: Path) -> None:
    (home / "endpoints" / "ep-a" / "device.key").chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        process(home)


def test_a_damaged_floor_stops_it(home: Path) -> None:
    (home / "endpoints" / "ep-a" / "floor.json").write_text("{")
    with pytest.raises(Misconfigured, match="old state"):
        process(home)


def test_an_agent_of_this_screen_is_told_of_sites_between_two_turns(home: Path) -> None:
    running = Process(load_installation({"BYLEAVE_HOME": str(home)}), "ep-a", LiveSource({}), lambda _: False)
    running.person.listen()
    assert ask(home / "endpoints" / "ep-a", {"ask": "site", "of": 1, "news": [[1, 2, "crm.example"]]}) == {}
    with pytest.raises(Refused, match="other fields"):
        ask(home / "endpoints" / "ep-a", {"ask": "site"})
    running.close()


def test_a_floor_outlives_the_process(home: Path) -> None:
    (home / "endpoints" / "ep-a" / "floor.json").write_text('{"epoch": 9}')
    assert process(home).knowledge.epoch_floor == 9


def test_the_agents_own_files_have_a_name() -> None:
    assert own_digest() == own_digest()
    assert len(own_digest()) == 64


class Topics:
    """A `broker.Tail` of control topics that somebody deletes."""

    def __init__(self, records: list[tuple[str, bytes]]) -> None:
        self.records, self.deleted, self.closed = records, False, False

    @property
    def caught_up(self) -> bool:
        return not self.records

    def read(self, timeout_s: float) -> list[Received]:  # noqa: ARG002 - the port's parameter
        if self.deleted:
            raise Broken("a topic is not the one it was")
        found, self.records = self.records, []
        return [Received(f"byleave.{topic}", 0, n, NOW_MS, b"", value) for n, (topic, value) in enumerate(found)]

    def rewind(self) -> None:
        raise AssertionError("no root changes here")

    def close(self) -> None:
        self.closed = True


def test_what_is_not_on_the_topics_any_more_is_no_permission(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control topic was deleted and made anew, empty: only the floor and this machine's own files are left."""
    documents = [(topic, value) for topic, _, value in documents_to_publish(home)]
    opened = [Topics([d for d in documents if d[0] in TOPICS]), Topics([])]
    first, waiting = opened[0], list(opened)
    monkeypatch.setattr("byleave.producers.main.KafkaTail", lambda *_, **__: waiting.pop(0))
    running = process(home)
    running.turn()
    knowledge = running.knowledge
    assert (running.caught_up, knowledge.epoch_floor, bool(knowledge.manifests)) == (True, 1, True)
    first.deleted = True
    running.turn()
    assert (first.closed, running.caught_up, knowledge.state, dict(knowledge.manifests)) == (True, False, None, {})
    running.turn()
    running.turn()
    assert (running.caught_up, knowledge.state, knowledge.epoch_floor) == (True, None, 1)
    assert (list(knowledge.enrolments), len(knowledge.consents)) == (["ep-a"], 1), "its own files are read again"
    assert not running.agent.capturing
    assert "not capturing" in running.agent.report()["answer"]
    running.close()


@pytest.mark.parametrize("absence", ["paused", "asleep"])
def test_who_pauses_or_sleeps_hears_and_says_nothing_and_comes_back_as_from_a_start(
    home: Path, monkeypatch: pytest.MonkeyPatch, absence: str
) -> None:
    documents = [(topic, value) for topic, _, value in documents_to_publish(home) if topic in TOPICS]
    opened = [Topics(list(documents)), Topics(list(documents))]
    waiting = list(opened)
    monkeypatch.setattr("byleave.producers.main.KafkaTail", lambda *_, **__: waiting.pop(0))
    monkeypatch.setattr("byleave.producers.main.WAIT_S", 0.01)
    running = process(home)
    running.turn()
    assert running.caught_up
    if absence == "paused":
        (home / "endpoints" / "ep-a" / "pause").touch()
    else:
        running.turned_ms -= 60_000
    running.turn()
    assert (opened[0].closed, running.caught_up, running.knowledge.state) == (True, False, None)
    assert (running.agent.may_send, running.agent.capturing) == (False, False)
    running.turn()
    if absence == "paused":
        running.turn()
        assert len(waiting) == 1, "nobody asks while it is paused"
        assert "paused by you" in running.agent.report()["answer"]
        (home / "endpoints" / "ep-a" / "pause").unlink()
        running.turn()
    running.turn()
    assert (running.caught_up, running.knowledge.epoch_floor, waiting) == (True, 1, [])
    assert (list(running.knowledge.enrolments), len(running.knowledge.consents)) == (["ep-a"], 1)
    running.close()


def test_the_log_which_others_may_read_does_not_tell_a_pause_from_sleep(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, lines = process(home), list[str]()
    monkeypatch.setattr(running._log, "info", lambda event, **fields: lines.append(f"{event} {fields}"))
    running.agent._window = running.agent._window._replace(answer=Answer.PAUSED)
    running.report()
    running.agent._window = running.agent._window._replace(answer=Answer.NO_CONSENT)
    running.report()
    running.agent._window = running.agent._window._replace(answer=Answer.UNREAD)
    running.report()
    assert lines == ["gate {'state': 'UNREAD'}"]
    running.close()


def test_the_numbers_of_a_persons_agent_are_for_their_account_alone() -> None:
    assert numbers_for(LiveSource({})) is ours
    assert numbers_for(canary())(None, None), "nobody types there"
