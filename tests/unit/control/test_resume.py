"""The next state: exactly one epoch on, exactly the named orders lifted, nothing lifted before forgotten."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from byleave.control import beacon, deciding, proposal, trust
from byleave.control.admission import Admitted, Claim, decide
from byleave.control.beacon import MORE, Memory
from byleave.control.documents import STATE_BYTES_MAX, Halt, Scope, State, digest, dump
from byleave.control.halts import Order
from byleave.control.knowledge import Knowledge
from byleave.control.proposal import Basis
from byleave.control.resume import EARLIER_MAX, NEVER_MS, STALE_MS, next_state
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken, Refused
from byleave.sinks.orders import standing_of

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
STATE, HALT, BEACON = "control.state.v1", "control.halt.v1", "control.beacon.v1"


def order(site: Any, knowledge: Knowledge, nonce: str) -> str:
    signed = site.halt(nonce=nonce)
    knowledge.learn(HALT, signed)
    return digest(load_envelope(signed).body)


def take(site: Any, knowledge: Knowledge, lift: list[str], now_ms: int = NOW_MS) -> Any:
    state = next_state(knowledge, lift, now_ms)
    return knowledge.learn(STATE, trust.sign(state, site.officers("privacy-1", "council-1")))


def test_an_order_that_is_not_named_still_stands(site: Any) -> None:
    knowledge = site.knowledge()
    one, two = order(site, knowledge, "01"), order(site, knowledge, "02")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5, two: NOW_MS + 6}))
    state = take(site, knowledge, [one])
    assert [(row.halt_id, row.effective_ms, row.epoch) for row in state.lifted] == [(one, NOW_MS + 5, 2)]
    assert knowledge.in_force() == (two,)
    assert knowledge.orders("ep-a", "capture", 2) == [Order(two, NOW_MS + 6)]


def test_an_order_is_not_lifted_before_a_beacon_said_from_when_it_counts(site: Any) -> None:
    """Any time named here could lie before a beacon that was signed meanwhile, under which a batch was admitted."""
    knowledge = site.knowledge()
    one = order(site, knowledge, "01")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 7_000))
    with pytest.raises(Refused) as caught:
        next_state(knowledge, [one], NOW_MS + 8_000)
    assert caught.value.reason == "no-effective-time"
    assert knowledge.in_force() == (one,)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9_000, **{one: NOW_MS + 8_500}))
    assert take(site, knowledge, [one]).lifted[0].effective_ms == NOW_MS + 8_500


def test_what_is_not_in_force_cannot_be_lifted(site: Any) -> None:
    knowledge = site.knowledge()
    one = order(site, knowledge, "01")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5}))
    take(site, knowledge, [one])
    for unknown in ("ff" * 32, one):
        with pytest.raises(Refused) as caught:
            next_state(knowledge, [unknown], NOW_MS)
        assert caught.value.reason == "unknown-order"
    with pytest.raises(Refused) as caught:
        next_state(Knowledge(site.root, "test."), [], NOW_MS)
    assert caught.value.reason == "no-state"


def test_nothing_resumes_on_a_manifest_that_ran_out(site: Any) -> None:
    knowledge = site.knowledge()
    with pytest.raises(Refused) as caught:
        next_state(knowledge, [], next(iter(knowledge.manifests.values())).expires_ms)
    assert caught.value.reason == "manifest-over"


def test_thirty_halts_in_a_row_fit_and_a_fence_that_starts_then_refuses_what_each_of_them_refused(site: Any) -> None:
    knowledge, ids = site.knowledge(), []
    for number in range(30):
        ids.append(order(site, knowledge, f"{number:02}"))
        at = NOW_MS + number * 10
        knowledge.learn(BEACON, site.beacon(knowledge, at + 5, **{ids[-1]: at}))
        state = take(site, knowledge, ids[-1:], at + 6)
    assert len(dump(state)) <= STATE_BYTES_MAX
    assert len(state.earlier) <= EARLIER_MAX
    fresh = Knowledge(site.root, "test.")
    fresh.learn(STATE, trust.sign(state, site.officers("privacy-1", "council-1")))
    for epoch in range(31 - len(state.earlier), 32):
        assert sorted(fresh.orders("ep-a", "capture", epoch)) == sorted(knowledge.orders("ep-a", "capture", epoch))
    assert len(fresh.orders("ep-a", "capture", 30)) == 1


def test_more_lifted_orders_than_fit_are_refused_not_forgotten(site: Any) -> None:
    knowledge = site.knowledge()
    many = [order(site, knowledge, str(number)) for number in range(400)]
    for at in range(0, 400, 100):  # as many as fit into a beacon
        knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9 + at, **dict.fromkeys(many[at : at + 100], NOW_MS + 5)))
    assert len(next_state(knowledge, many[:100], NOW_MS).lifted) == 100
    with pytest.raises(Refused) as caught:
        next_state(knowledge, many, NOW_MS)
    assert caught.value.reason == "too-many-orders"


def test_lifts_are_dropped_only_when_nothing_of_their_time_can_still_arrive(site: Any) -> None:
    knowledge = site.knowledge()
    one = order(site, knowledge, "01")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5}))
    take(site, knowledge, [one])
    assert take(site, knowledge, [], NOW_MS + 29 * DAY_MS).lifted
    assert not next_state(knowledge, [], NOW_MS + 31 * DAY_MS).lifted


def test_after_a_month_without_a_state_the_next_one_still_names_what_was_lifted_so_that_its_record_is_cleared(
    site: Any,
) -> None:
    """Else the order would be in force again for whoever reads the topics from then on."""
    knowledge, signed = site.knowledge(), site.halt(nonce="01")
    knowledge.learn(HALT, signed)
    one = digest(load_envelope(signed).body)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5}))
    take(site, knowledge, [one])
    third = next_state(knowledge, [], NOW_MS + 60 * DAY_MS, run=())
    assert [row.halt_id for row in third.lifted] == [one]
    wall_ms = time.time_ns() // 1_000_000
    long_ago = replace(third, lifted=tuple(replace(row, effective_ms=wall_ms - 3 * DAY_MS) for row in third.lifted))
    assert deciding._spent(long_ago) == [(HALT, one.encode(), None)]
    knowledge.learn(STATE, trust.sign(third, site.officers("privacy-1", "council-1")))
    assert next_state(knowledge, [], NOW_MS + 61 * DAY_MS, run=()).lifted == ()


@pytest.mark.parametrize(
    ("officers", "says_ms", "valid_for_ms"), [(1, 600_000, 600_000), (1, 2**62, 600_000), (2, 2**62, 7 * DAY_MS)]
)
def test_an_order_that_came_too_late_to_be_accepted_can_be_lifted_and_refuses_and_erases_nothing(
    site: Any, officers: int, says_ms: int, valid_for_ms: int
) -> None:
    """An officer's clock runs eleven minutes slow: the service never gives the order a time, yet it stops everybody."""
    knowledge = site.knowledge()
    late = Halt("test.", Scope("global"), "capture", "r", "drop", NOW_MS, says_ms, "00", NOW_MS - 1_000)
    knowledge.learn(HALT, trust.sign(late, site.officers("security-1", "privacy-1")[:officers]))
    one, last_ms = digest(dump(late)), NOW_MS + valid_for_ms + STALE_MS
    with pytest.raises(Refused):
        late_ms = NOW_MS + valid_for_ms + 1
        beacon.accept(Memory(), one, late, late_ms, late_ms, joint=knowledge.is_joint(one))
    knowledge.learn(BEACON, site.beacon(knowledge, last_ms))
    with pytest.raises(Refused) as caught:
        next_state(knowledge, [one], last_ms)
    assert caught.value.reason == "no-effective-time", "it may only be unread so far"
    knowledge.learn(BEACON, site.beacon(knowledge, last_ms + 1))
    state = take(site, knowledge, [one], last_ms + 2)
    assert [(row.halt_id, row.effective_ms) for row in state.lifted] == [(one, NEVER_MS + last_ms + 2)]
    knowledge.learn(BEACON, site.beacon(knowledge, last_ms + 5_000))
    assert (knowledge.standing("ep-a", "capture", 2), knowledge.in_force()) == ([], ())
    assert standing_of(knowledge, caught_up=True).discards == ()
    assert [row for row in knowledge.discards() if row[3] <= last_ms + 20 * 365 * DAY_MS] == []
    claim = Claim("ep-a", b"", 1, last_ms, last_ms, bytes.fromhex(site.first.run[0].manifest))
    assert isinstance(decide(claim, knowledge), Admitted)
    knowledge.learn(STATE, trust.sign(next_state(knowledge, [], last_ms + 3 * DAY_MS), site.officers("privacy-1", "council-1")))
    assert next_state(knowledge, [], last_ms + 31 * DAY_MS, run=()).lifted == ()


def test_where_no_beacon_can_name_all_orders_those_that_are_named_go_first_and_none_is_taken_for_late(site: Any) -> None:
    knowledge = site.knowledge()
    named, other = order(site, knowledge, "01"), order(site, knowledge, "02")
    last_ms = NOW_MS + 600_000 + STALE_MS + 1
    knowledge.learn(BEACON, site.beacon(knowledge, last_ms, **{named: NOW_MS + 5, MORE: NOW_MS + 6}))
    assert deciding._chosen(knowledge, None) == {named}
    for halt_id, reason in ((other, "no-effective-time"), (MORE, "unknown-order")):
        with pytest.raises(Refused) as caught:
            next_state(knowledge, [halt_id], last_ms)
        assert caught.value.reason == reason
    take(site, knowledge, [named], last_ms)
    knowledge.learn(BEACON, site.beacon(knowledge, last_ms + 1, **{other: NOW_MS + 6}))
    assert deciding._chosen(knowledge, None) == {other}


def test_of_two_states_in_conflict_the_next_one_follows_one_and_ends_it(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    one = order(site, knowledge, "01")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5}))
    knowledge.learn(STATE, site.state(first, issued_ms=NOW_MS + 10))
    with pytest.raises(Broken):
        knowledge.learn(STATE, site.state(first, issued_ms=NOW_MS + 11))
    assert knowledge.conflict
    basis = Basis(site.root, knowledge)
    made = proposal.propose([next_state(knowledge, [one], NOW_MS + 12)])
    proposal.check(made, basis, NOW_MS + 12)
    rotation = deciding.rotation(basis, {}, replace(site.root, version=2), [one])
    assert (rotation.one(State).epoch, rotation.one(State).prev) == (3, knowledge.state_digest)
    take(site, knowledge, [one], NOW_MS + 12)
    assert (knowledge.conflict, knowledge.in_force()) == (False, ())
    assert knowledge.leave("ep-a", NOW_MS + 13)
