"""The local socket: who may ask, what hostile bytes get, and that nobody can hold the agent up."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from byleave.core.errors import ByleaveError, Forged, Misconfigured, Refused, Transient
from byleave.producers import inquiries
from byleave.producers.inquiries import ANSWER_BYTES_MAX, NAME, QUESTION_BYTES_MAX, Inquiries, ask

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Loop:
    """An agent's loop that does nothing but answer, on a thread of its own."""

    def __init__(self, folder: Path, questions: dict[str, Handler]) -> None:
        self.inquiries, self.questions, self._over = Inquiries(folder), questions, threading.Event()
        self.thread = threading.Thread(target=self._turn)
        self.thread.start()

    def _turn(self) -> None:
        while not self._over.wait(0.005):
            self.inquiries.answer(self.questions)

    def end(self) -> None:
        self._over.set()
        self.thread.join()
        self.inquiries.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "ep-a"
    found.mkdir(mode=0o755)
    return found


@pytest.fixture
def loop(folder: Path) -> Iterator[Loop]:
    found = Loop(folder, {"status": lambda asked: {"capturing": True, "of": asked.get("of", "")}})
    yield found
    found.end()


def raw(folder: Path, value: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(str(folder / NAME))
        with suppress(BrokenPipeError):
            client.sendall(value)
            client.shutdown(socket.SHUT_WR)
        found = b""
        while part := client.recv(65536):
            found += part
    return dict(json.loads(found))


def test_a_question_is_answered_on_the_loops_own_thread(folder: Path, loop: Loop) -> None:
    threads = []
    loop.questions["where"] = lambda _: threads.append(threading.current_thread()) or {}  # type: ignore[func-returns-value]
    assert ask(folder, {"ask": "status", "of": "é"}) == {"capturing": True, "of": "é"}
    assert ask(folder, {"ask": "where"}) == {}
    assert threads == [loop.thread]


def test_only_the_account_itself_gets_to_the_socket(folder: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert inquiries.peer_uid(ours) == os.geteuid()
    asked = []
    loop.questions["status"] = lambda question: asked.append(question) or {}  # type: ignore[func-returns-value]
    monkeypatch.setattr(inquiries, "peer_uid", lambda _: os.geteuid() + 1)
    with pytest.raises(Forged):
        ask(folder, {"ask": "status"})
    with pytest.raises((ValueError, ConnectionResetError)):  # hung up on, without a word
        raw(folder, b'{"ask": "status"}')
    assert asked == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 60_000, "malformed"),
        (b"[1]", "malformed"),
        (b'{"ask": {"a": 1}}', "unknown-question"),
        (b'{"ask": "nothing"}', "unknown-question"),
        (b'{"ask": "needs"}', "malformed"),
        (b'{"ask": "' + b"x" * QUESTION_BYTES_MAX, "too-large"),
    ],
)
def test_hostile_bytes_get_an_error_and_the_agent_goes_on(folder: Path, loop: Loop, value: bytes, reason: str) -> None:
    loop.questions["needs"] = lambda question: {"it": question["what"]}
    assert raw(folder, value)["reason"] == reason
    assert ask(folder, {"ask": "status"})["capturing"] is True


def test_a_refusal_and_a_wait_come_back_as_what_they_are(folder: Path, loop: Loop) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        raise Refused("the ring is empty", reason="empty")

    def wait(_: dict[str, Any]) -> dict[str, Any]:
        raise Transient("not yet")

    loop.questions |= {"refuse": refuse, "wait": wait, "long": lambda _: {"a": "x" * ANSWER_BYTES_MAX}}
    for name, kind, reason in (("refuse", Refused, "empty"), ("wait", Transient, "transient"), ("long", Refused, "too-large")):
        with pytest.raises(kind) as told:
            ask(folder, {"ask": name})
        assert isinstance(told.value, ByleaveError)
        assert told.value.reason == reason


def test_a_silent_client_holds_nobody_up_for_longer_than_its_time(
    folder: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiries, "TALK_S", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(str(folder / NAME))
        started_s = time.monotonic()
        assert ask(folder, {"ask": "status"})["capturing"] is True
        assert time.monotonic() - started_s < 1.5
        loop.inquiries.answer(loop.questions)  # and the loop itself never waits
    assert loop.thread.is_alive()


def test_without_an_agent_the_client_says_so(folder: Path) -> None:
    with pytest.raises(Transient, match="ep-a is not running"):
        ask(folder, {"ask": "status"})
    stalled = Inquiries(folder)
    try:
        with pytest.raises(Transient, match="ep-a does not answer"):
            ask(folder, {"ask": "status"}, timeout_s=0.1)
    finally:
        stalled.close()
    assert not (folder / NAME).exists()


def test_a_socket_left_by_a_killed_agent_is_taken_over_and_a_living_ones_is_not(folder: Path) -> None:
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(folder / NAME))
    left.close()
    loop = Loop(folder, {"status": lambda _: {"capturing": False}})
    try:
        with pytest.raises(Misconfigured, match="another agent"):
            Inquiries(folder)
        assert ask(folder, {"ask": "status"}) == {"capturing": False}
    finally:
        loop.end()


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 90) / ("b" * 90)
    folder.mkdir(parents=True)
    loop = Loop(folder, {"status": lambda _: {"capturing": False}})
    try:
        assert ask(folder, {"ask": "status"}) == {"capturing": False}
    finally:
        loop.end()


def test_a_number_that_no_clock_has_is_an_answer_and_not_the_end_of_the_agent(folder: Path, loop: Loop) -> None:
    loop.questions["show"] = lambda question: {"last": int(question["last_s"])}
    assert raw(folder, b'{"ask": "show", "last_s": 1e999}')["reason"] == "malformed"
    assert ask(folder, {"ask": "show", "last_s": 3}) == {"last": 3}
