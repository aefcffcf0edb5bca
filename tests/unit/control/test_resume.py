"""The next state: exactly one epoch on, exactly the named orders lifted, nothing lifted before forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from byleave.control import trust
from byleave.control.documents import BODY_BYTES_MAX, digest, dump
from byleave.control.knowledge import Knowledge, Order
from byleave.control.resume import EARLIER_MAX, next_state
from byleave.core.dsse import load_envelope
from byleave.core.errors import Refused

NOW_MS = 1_800_000_000_000
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
    assert len(dump(state)) <= BODY_BYTES_MAX
    assert len(state.earlier) <= EARLIER_MAX
    fresh = Knowledge(site.root, "test.")
    fresh.learn(STATE, trust.sign(state, site.officers("privacy-1", "council-1")))
    for epoch in range(31 - len(state.earlier), 32):
        assert sorted(fresh.orders("ep-a", "capture", epoch)) == sorted(knowledge.orders("ep-a", "capture", epoch))
    assert len(fresh.orders("ep-a", "capture", 30)) == 1


def test_more_lifted_orders_than_fit_are_refused_not_forgotten(site: Any) -> None:
    knowledge = site.knowledge()
    many = [order(site, knowledge, str(number)) for number in range(100)]
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **dict.fromkeys(many, NOW_MS + 5)))
    with pytest.raises(Refused) as caught:
        next_state(knowledge, many, NOW_MS)
    assert caught.value.reason == "too-many-orders"


def test_lifts_are_dropped_only_when_nothing_of_their_time_can_still_arrive(site: Any) -> None:
    knowledge = site.knowledge()
    one = order(site, knowledge, "01")
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{one: NOW_MS + 5}))
    take(site, knowledge, [one])
    day_ms = 86_400_000
    assert next_state(knowledge, [], NOW_MS + 29 * day_ms).lifted
    assert not next_state(knowledge, [], NOW_MS + 31 * day_ms).lifted
