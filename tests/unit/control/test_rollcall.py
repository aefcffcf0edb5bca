"""The board says "stopped" of nobody but on the endpoint's own signed word."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from byleave.control import bootstrap, desk, ordering, resume, trust
from byleave.control.cli import app
from byleave.control.documents import Beacon, Lifted, Scope, digest
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX, Permit, Verdict, verdict
from byleave.control.rollcall import LEASE_OVER_MS, Board, Standing, call
from byleave.control.watch import ControlWatch
from byleave.core.broker import Received
from byleave.core.dsse import load_envelope
from byleave.core.settings import Installation

T = 1_800_000_100_000
HALT, BEACON = "control.halt.v1", "control.beacon.v1"


def ordered(
    site: Any, scope: Scope | None = None, nonce: str = "00", knowledge: Knowledge | None = None
) -> tuple[Knowledge, str]:
    found, order = knowledge or site.knowledge(), site.halt(scope, nonce=nonce)
    halt_id = digest(load_envelope(order).body)
    found.learn(HALT, order)
    at = found.beacon.service_ms + 1 if found.beacon else T
    found.learn(BEACON, site.beacon(found, at, **{halt_id: T}))
    return found, halt_id


def standings(board: Board) -> dict[str, Standing]:
    return {row.endpoint: row.standing for row in board.rows}


def test_silence_is_unknown_until_the_last_possible_lease_is_over(site: Any) -> None:
    knowledge, halt_id = ordered(site)
    for service_ms in (0, T, T + LEASE_OVER_MS - 1):
        board = call(knowledge, halt_id, [], service_ms)
        assert standings(board) == {"ep-a": Standing.UNKNOWN, "ep-b": Standing.UNKNOWN}
        assert not board.settled
        assert board.sentence == "0 of 2 signed that they stopped; of 2 it is not known"
    board = call(knowledge, halt_id, [], T + LEASE_OVER_MS)
    assert standings(board) == {"ep-a": Standing.LEASE_ENDED, "ep-b": Standing.LEASE_ENDED}
    assert board.settled
    assert board.proved == 0


def test_an_ack_counts_for_its_own_order_and_only_with_the_worker_reaped(site: Any) -> None:
    knowledge, halt_id = ordered(site)
    other = site.ack("ep-a", "ff" * 32)
    alive = site.ack("ep-b", halt_id, reaped=False)
    assert call(knowledge, halt_id, [other, alive], T).proved == 0
    board = call(knowledge, halt_id, [site.ack("ep-a", halt_id, stopped_ms=T + 40), other, alive], T)
    assert standings(board) == {"ep-a": Standing.ACKED, "ep-b": Standing.UNKNOWN}
    assert (board.rows[0].stopped_after_ms, board.rows[0].disposition, board.rows[0].last_seq) == (40, "dropped", 41)


def test_who_proved_that_it_stopped_for_an_earlier_order_that_stands_is_off(site: Any) -> None:
    knowledge, first = ordered(site)
    knowledge, second = ordered(site, nonce="02", knowledge=knowledge)
    acks = [site.ack("ep-a", first)]
    assert standings(call(knowledge, second, acks, T)) == {"ep-a": Standing.OFF, "ep-b": Standing.UNKNOWN}
    lifted = (Lifted(first, Scope("global"), "capture", T, 2),)
    knowledge.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), lifted))
    assert standings(call(knowledge, second, acks, T))["ep-a"] is Standing.UNKNOWN


def test_an_order_that_the_service_never_accepted_proves_nothing_by_time(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    board = call(knowledge, digest(load_envelope(order).body), [], T + 10**9)
    assert not board.settled


def test_only_those_whom_the_order_is_about_are_counted(site: Any) -> None:
    knowledge, halt_id = ordered(site, Scope("team", "team-2"))
    assert list(standings(call(knowledge, halt_id, [], T))) == ["ep-b"]


def test_the_board_is_the_same_whether_a_person_agreed_refused_withdrew_or_said_nothing(site: Any) -> None:
    """Compared as what is printed: nobody can read from a roll call who did not want to."""
    manifest = site.first.run[0].manifest
    agreed, withdrew, to_another = (), ((manifest, False),), (("00" * 32, True),)
    shown = set()
    for words in (agreed, withdrew, to_another, (*to_another, ("00" * 32, False)), None):
        knowledge, halt_id = ordered(site)
        for n, (named, yes) in enumerate(words or ()):
            knowledge.learn("control.consent.v1", site.consent("person-a", named, given=yes, at_ms=T + n))
        if words is None:  # enrolled, and silent
            known = knowledge.enrolments["ep-a"]
            fresh = replace(known, until_ms=known.until_ms + 1, subject="person-new")
            knowledge.learn("control.enrolment.v1", trust.sign(fresh, site.officers("enrol-1")))
        board = call(knowledge, halt_id, [], T)
        assert list(standings(board)) == ["ep-a", "ep-b"]
        shown.add(json.dumps(board.report()))
    assert len(shown) == 1


def test_everybody_stays_counted_when_an_enrolment_brings_another_key(site: Any) -> None:
    """Else whoever may enrol empties the board while everybody captures on."""
    knowledge, halt_id = ordered(site)
    known = knowledge.enrolments["ep-a"]
    moved = replace(known, until_ms=known.until_ms + 1, person_key=site.root.roles[0].keys[0])
    knowledge.learn("control.enrolment.v1", trust.sign(moved, site.officers("enrol-1")))
    assert "person-a" not in knowledge.consents
    assert list(standings(call(knowledge, halt_id, [], T))) == ["ep-a", "ep-b"]


@pytest.mark.parametrize(("what", "who"), [("reads", "keyring"), ("processing", "redactor")])
def test_of_an_order_that_stops_no_capture_the_board_says_what_it_does_and_of_no_endpoint_that_it_stopped(
    site: Any, what: str, who: str
) -> None:
    knowledge, order = site.knowledge(), site.halt(what=what)
    knowledge.learn(HALT, order)
    board = call(knowledge, digest(load_envelope(order).body), [], T + LEASE_OVER_MS)
    assert (board.rows, board.settled, who in board.sentence, "stopped" in board.sentence) == ((), True, True, False)
    assert not knowledge.standing("ep-a", "capture", 1)


def test_an_order_to_stop_what_nobody_knows_stops_capture_too_and_is_counted(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(what="everything")
    knowledge.learn(HALT, order)
    assert len(call(knowledge, digest(load_envelope(order).body), [], T).rows) == 2


class Listed:
    """A `broker.Tail` of records that stand in a list, each of them a read of its own."""

    def __init__(self, *records: tuple[str, bytes]) -> None:
        self._records, self._next, self.closed = records, 0, False

    @property
    def caught_up(self) -> bool:
        return self._next >= len(self._records)

    def read(self, timeout_s: float) -> list[Received]:  # noqa: ARG002 - the port's parameter
        assert not self.closed
        found = self._records[self._next : self._next + 1]
        self._next += len(found)
        return [Received(f"test.{topic}", 0, self._next, 0, b"", value) for topic, value in found]

    def rewind(self) -> None:
        self._next = 0

    def at_end(self, topic: str) -> bool:  # noqa: ARG002 - the port's parameter
        return self.caught_up

    def close(self) -> None:
        self.closed = True


def test_an_ack_that_is_read_before_the_enrolment_with_its_key_counts(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    order = site.halt()
    halt_id = digest(load_envelope(order).body)
    ack = trust.sign(site.ack("ep-a", halt_id), [site.key("endpoints/ep-a/device")])
    stranger = trust.sign(site.ack("ep-z", halt_id), [site.key("endpoints/ep-a/device")])
    site_says = [(topic, value) for topic, _, value in bootstrap.documents_to_publish(site.home)]
    tails: list[Listed] = []

    def listen(*_: Any) -> ControlWatch:
        tails.append(Listed(("control.ack.v1", ack), ("control.ack.v1", stranger), (HALT, order), *site_says))
        return ControlWatch(tails[-1], Knowledge(site.root, "test."), "test.")

    monkeypatch.setattr(desk, "open_watch", listen)
    follower = ordering.Follower(Installation(site.home, "test.", "127.0.0.1:1", site.home, "127.0.0.1:1", 0))
    for _ in range(40):
        follower.pump()
    board = follower.board(halt_id)
    assert board
    assert standings(board) == {"ep-a": Standing.ACKED, "ep-b": Standing.UNKNOWN}
    assert [tail.closed for tail in tails] == [True, False], "once more, and not for ever"


@pytest.mark.slow
def test_an_order_whose_record_is_gone_stands_on_the_board_and_the_command_ends_with_one(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowledge, gone = site.knowledge(), "ab" * 32
    knowledge.learn(BEACON, site.beacon(knowledge, T, **{gone: T - 5}))
    assert knowledge.standing("ep-a", "capture", 1)
    monkeypatch.setattr(desk, "open_watch", lambda *_: ControlWatch(Listed(), knowledge, "test."))
    env = {"BYLEAVE_HOME": str(site.home), "BYLEAVE_BOOTSTRAP": "127.0.0.1:1", "BYLEAVE_SITE": "test."}
    done = CliRunner().invoke(app, ["board"], env=env)
    assert f"Order {gone[:12]} (capture, global): its record is gone: it stops everybody" in done.output
    assert ("No order" in done.output, done.exit_code) == (False, 1)
    state = resume.next_state(knowledge, [ordering.named(knowledge, gone[:8])], T + 1)
    knowledge.learn("control.state.v1", trust.sign(state, site.officers("security-1", "privacy-1")))
    done = CliRunner().invoke(app, ["board"], env=env)
    assert ("No order to stop is in force." in done.output, done.exit_code) == (True, 0)


@given(last_before=st.integers(1, 20_000), sent=st.integers(0, 20_000), drift=st.integers(-500, 500), lag=st.integers(0, 5_000))
def test_lease_ended_is_never_said_while_a_genuine_endpoint_could_still_capture(
    last_before: int, sent: int, drift: int, lag: int
) -> None:
    """An endpoint that hears nothing after a beacon from just before the order, at the moment the board calls it over."""
    effective_ms = T + 20_000
    beacon = Beacon("test.", 1, "aa", effective_ms - last_before, 1, LEASE_MS_MAX, ())
    permit = Permit(T + sent + lag, 0, 2**60)  # sent at true time T + sent
    true_ms = effective_ms + LEASE_OVER_MS
    boot_ms = (true_ms - T - sent) * (1_000_000 + drift) // 1_000_000
    assert verdict(permit, beacon, "aa", halted=False, boot_ms=boot_ms) is Verdict.STALE
