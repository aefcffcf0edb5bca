"""The fence: what is refused, what waits, what passes; and for all orders, times and delays, that nothing late passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byleave.control import trust
from byleave.control.admission import SKEW_MS, SPOOL_AGE_MS_MAX, Admitted, Claim, Refuses, Waits, decide
from byleave.control.documents import Lifted, Scope, digest
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken

STATE, HALT, BEACON = "control.state.v1", "control.halt.v1", "control.beacon.v1"
T = 1_800_000_100_000
HOURS_13 = 13 * 3_600_000


def id_of(signed: bytes) -> str:
    return digest(load_envelope(signed).body)


def claim(site: Any, hi: int = T, **changes: Any) -> Claim:
    manifest = bytes.fromhex(site.first.run[0].manifest)
    return replace(Claim("ep-a", b"s" * 16, 1, hi, hi + 100, manifest), **changes)


def at(site: Any, service_ms: int, knowledge: Knowledge | None = None, **effective: int) -> Knowledge:
    """Knowledge with a beacon of this time."""
    found = knowledge or site.knowledge()
    found.learn(BEACON, site.beacon(found, service_ms, **effective))
    return found


def test_a_batch_passes_once_a_beacon_covers_it_and_not_a_moment_before(site: Any) -> None:
    assert decide(claim(site), site.knowledge()) == Waits("uncovered")
    assert decide(claim(site), at(site, T - 1)) == Waits("uncovered")
    assert decide(claim(site), at(site, T)) == Admitted(T)


def test_a_renewal_of_the_state_does_not_stall_batches_of_the_epoch_before(site: Any) -> None:
    """The mutant 'beacon of this epoch only' waits here for ever."""
    knowledge = site.knowledge()
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse")))
    assert decide(claim(site), at(site, T + 5, knowledge)) == Admitted(T + 5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"append_ms": T - SKEW_MS - 1}, "future"),
        ({"append_ms": T + SPOOL_AGE_MS_MAX + 1}, "too-old"),
        ({"append_ms": T + 61_000, "spool_age_ms_max": 60_000}, "too-old"),
        ({"endpoint": "ep-x"}, "unknown-endpoint"),
        ({"manifest": b"\0" * 32}, "wrong-manifest"),
        ({"manifest": b""}, "wrong-manifest"),
        ({"epoch": 0}, "epoch-not-kept"),
        ({"epoch": -5}, "epoch-not-kept"),
    ],
)
def test_what_can_never_pass_is_refused_at_once(site: Any, changes: dict[str, Any], reason: str) -> None:
    assert decide(claim(site, **changes), at(site, T + HOURS_13)) == Refuses(reason)
    if reason != "epoch-not-kept":
        assert decide(claim(site, **changes), site.knowledge()) == Refuses(reason)  # before any waiting


def test_an_epoch_that_is_not_known_yet_waits_until_it_must_have_been(site: Any) -> None:
    ahead = claim(site, epoch=2)
    assert decide(ahead, at(site, ahead.append_ms + SKEW_MS)) == Waits("unknown-epoch")
    assert decide(ahead, at(site, ahead.append_ms + SKEW_MS + 1)) == Refuses("unknown-epoch")
    knowledge = site.knowledge()
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse")))
    assert decide(ahead, at(site, T, knowledge)) == Admitted(T)


def test_without_a_state_nothing_passes(site: Any) -> None:
    knowledge = Knowledge(site.root, "test.")
    knowledge.learn("control.enrolment.v1", site.bytes("endpoints/ep-a/enrolment.dsse"))
    assert decide(claim(site), knowledge) == Waits("no-state")


def test_two_states_of_one_epoch_let_nothing_pass(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    knowledge.learn(STATE, site.state(first))
    at(site, T, knowledge)
    with pytest.raises(Broken):
        knowledge.learn(STATE, site.state(first, issued_ms=1_800_000_000_001))
    assert decide(claim(site), knowledge) == Waits("conflict")


def test_a_withdrawn_consent_refuses_what_still_waits(site: Any) -> None:
    knowledge = at(site, T)
    manifest = site.first.run[0].manifest
    knowledge.learn("control.consent.v1", site.consent("person-a", manifest, given=False, at_ms=T))
    assert decide(claim(site), knowledge) == Refuses("no-consent")
    assert decide(claim(site, endpoint="ep-b"), knowledge) == Admitted(T)


def test_a_consent_that_was_never_given_refuses_once_it_cannot_be_on_its_way(site: Any) -> None:
    for service_ms, answer in ((T, Waits("no-consent")), (T + 100 + SKEW_MS + 1, Refuses("no-consent"))):
        knowledge = Knowledge(site.root, "test.")
        for topic, path in ((STATE, "trust/state"), ("control.manifest.v1", "trust/manifest"),
                            ("control.enrolment.v1", "endpoints/ep-a/enrolment")):  # fmt: skip
            knowledge.learn(topic, site.bytes(f"{path}.dsse"))
        assert decide(claim(site), at(site, service_ms, knowledge)) == answer


def test_an_endpoint_without_a_run_is_refused(site: Any) -> None:
    knowledge = site.knowledge()
    run = replace(site.first.run[0], scope=Scope("team", "team-2"))
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse"), run=(run,)))
    at(site, T, knowledge)
    assert decide(claim(site, epoch=2), knowledge) == Refuses("no-run")
    assert decide(claim(site, epoch=2, endpoint="ep-b"), knowledge) == Admitted(T)


def test_capture_after_the_leave_ran_out_is_refused_however_fresh_the_beacon(site: Any) -> None:
    over = site.first.expires_ms
    assert decide(claim(site, over), at(site, over + 10)) == Refuses("leave-over")
    assert decide(claim(site, over - 1), at(site, over + 10)) == Admitted(over + 10)


def test_what_was_captured_at_or_after_the_halt_is_refused_and_what_was_before_passes(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    at(site, T + 5_000, knowledge, **{id_of(order): T})
    assert decide(claim(site, T), knowledge) == Refuses("halted")
    assert decide(claim(site, T - 1), knowledge) == Admitted(T + 5_000)


def test_an_order_without_its_effective_time_waits_and_neither_drops_nor_admits(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    at(site, T + 50, knowledge)
    knowledge.learn(HALT, order)
    assert decide(claim(site), knowledge) == Waits("halt-time-unknown")
    at(site, T + 1_000, knowledge, **{id_of(order): T + 51})
    assert decide(claim(site), knowledge) == Admitted(T + 1_000)


def test_an_endpoint_that_backdates_is_caught_by_the_brokers_stamp(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    at(site, T + 60_000, knowledge, **{id_of(order): T})
    assert decide(claim(site, T - 5_000, append_ms=T + SKEW_MS), knowledge) == Admitted(T + 60_000)
    assert decide(claim(site, T - 5_000, append_ms=T + SKEW_MS + 1), knowledge) == Refuses("halted")


def test_a_backdated_batch_is_never_admitted_however_far_the_fence_lags(site: Any) -> None:
    """The counterexample of docs/adr/0006: the newest beacon covers what the batch says, not what the broker says of it."""
    knowledge, order = at(site, T - 1), site.halt()
    backdated = claim(site, T - 1, append_ms=T + SKEW_MS + 1)
    assert decide(backdated, knowledge) == Waits("uncovered")
    at(site, T, knowledge)
    assert decide(backdated, knowledge) == Waits("uncovered")
    knowledge.learn(HALT, order)
    assert decide(backdated, knowledge) == Waits("halt-time-unknown")
    at(site, T + 1_000, knowledge, **{id_of(order): T})
    assert decide(backdated, knowledge) == Refuses("halted")


def test_what_arrives_late_waits_for_the_beacon_that_closes_the_brokers_stamp_and_not_a_moment_longer(site: Any) -> None:
    spooled = claim(site, T - 60_000, append_ms=T + SKEW_MS)
    assert decide(spooled, at(site, T - 1)) == Waits("uncovered")
    assert decide(spooled, at(site, T)) == Admitted(T)


def test_an_order_for_others_does_not_touch_this_endpoint(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(Scope("team", "team-2"))
    knowledge.learn(HALT, order)
    at(site, T + 1, knowledge, **{id_of(order): T - 10_000})
    assert decide(claim(site), knowledge) == Admitted(T + 1)
    assert decide(claim(site, endpoint="ep-b"), knowledge) == Refuses("halted")


def test_an_order_that_only_a_beacon_names_makes_wait_what_it_could_stop(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(Scope("team", "team-2"))
    at(site, T + 1, knowledge, **{id_of(order): T})
    assert decide(claim(site), knowledge) == Waits("halt-unread")
    assert decide(claim(site, T - 1), knowledge) == Waits("halt-unread")  # it may be a halt of processing
    knowledge.learn(HALT, order)
    assert decide(claim(site), knowledge) == Admitted(T + 1)


def test_a_short_halt_does_not_let_its_window_slip_into_the_next_epoch(site: Any) -> None:
    """Halt at T, resumed at once: what epoch 1 captured at T stays refused, what epoch 2 captures passes."""
    order = site.halt()
    second = site.state(site.bytes("trust/state.dsse"), (Lifted(id_of(order), Scope("global"), "capture", T, 2),))
    knowledge = site.knowledge()
    knowledge.learn(STATE, second)
    at(site, T + 5_000, knowledge)
    for known in (False, True):  # a fence that never read the order refuses the same
        if known:
            knowledge.learn(HALT, order)
        assert decide(claim(site, T + 1), knowledge) == Refuses("halted")
        assert decide(claim(site, T + 1, epoch=2), knowledge) == Admitted(T + 5_000)


def test_a_beacon_of_a_state_that_was_not_read_closes_nothing(site: Any) -> None:
    """It has dropped the order that its state lifted: believing it would admit what the order refuses."""
    order = site.halt()
    second = site.state(site.bytes("trust/state.dsse"), (Lifted(id_of(order), Scope("global"), "capture", T, 2),))
    ahead, behind = site.knowledge(), site.knowledge()
    ahead.learn(STATE, second)
    behind.learn(BEACON, site.beacon(ahead, T + 5_000))
    assert decide(claim(site, T + 1), behind) == Waits("state-unread")
    behind.learn(STATE, second)
    assert decide(claim(site, T + 1), behind) == Refuses("halted")


def test_a_halt_of_processing_makes_everything_wait_until_it_is_lifted(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(what="processing")
    knowledge.learn(HALT, order)
    at(site, T, knowledge, **{id_of(order): T - 9_000})
    assert decide(claim(site), knowledge) == Waits("processing-halted")
    lifted = (Lifted(id_of(order), Scope("global"), "processing", T - 9_000, 2),)
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse"), lifted))
    assert decide(claim(site), at(site, T + 1, knowledge)) == Admitted(T + 1)


def test_an_enrolment_that_ended_refuses_what_came_after(site: Any) -> None:
    known = site.knowledge().enrolments["ep-a"]
    brief = trust.sign(replace(known, until_ms=T + 1), site.officers("enrol-1"))
    knowledge = Knowledge(site.root, "test.")
    for topic, value in (
        (STATE, site.bytes("trust/state.dsse")),
        ("control.manifest.v1", site.bytes("trust/manifest.dsse")),
        ("control.enrolment.v1", brief),
        ("control.consent.v1", site.bytes("endpoints/ep-a/consent.dsse")),
    ):
        knowledge.learn(topic, value)
    at(site, T + 50, knowledge)
    assert decide(claim(site, T), knowledge) == Admitted(T + 50)
    assert decide(claim(site, T + 1), knowledge) == Refuses("enrolment-over")


def test_a_claim_of_absurd_numbers_is_refused_and_raises_nothing(site: Any) -> None:
    knowledge = at(site, T)
    for odd in (
        claim(site, 2**62),
        claim(site, epoch=2**62, append_ms=T),
        claim(site, -1, append_ms=T),
        claim(site, endpoint=""),
    ):
        assert not isinstance(decide(odd, knowledge), Admitted)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    hi=st.integers(-3_000, 3_000),
    delay=st.integers(-SKEW_MS, 8_000),
    effective=st.integers(-2_000, 2_000),
    beacon_ms=st.integers(-3_000, 9_000),
    order_read=st.booleans(),
    named=st.booleans(),
    lifted=st.booleans(),
    epoch=st.sampled_from([1, 2]),
)
@pytest.mark.slow
def test_nothing_at_or_after_the_end_is_admitted_and_all_that_is_covered_before_it_is(
    site: Any, hi: int, delay: int, effective: int, beacon_ms: int, order_read: bool, named: bool, lifted: bool, epoch: int
) -> None:
    order = site.halt()
    knowledge = site.knowledge()
    named = named or effective <= beacon_ms  # the service's promise: a beacon names every order effective at or before it
    if order_read:
        knowledge.learn(HALT, order)
    if lifted:
        lifts = (Lifted(id_of(order), Scope("global"), "capture", T + effective, 2),)
        knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse"), lifts))
    at(site, T + beacon_ms, knowledge, **({id_of(order): T + effective} if named and not lifted else {}))
    answer = decide(claim(site, T + hi, append_ms=T + hi + delay, epoch=epoch), knowledge)
    stops, known = not (lifted and epoch == 2), (order_read and named) or lifted
    if isinstance(answer, Admitted):
        assert max(hi, hi + delay - SKEW_MS) <= beacon_ms
        assert not stops or hi < effective
        assert not stops or hi + delay <= effective + SKEW_MS  # whoever lies is bounded by the stamp, heard of or not
        if stops and not lifted:  # and it is final: hearing of the order later changes nothing
            knowledge.learn(HALT, order)
            at(site, T + beacon_ms + 60_000, knowledge, **{id_of(order): T + effective})
            assert isinstance(decide(claim(site, T + hi, append_ms=T + hi + delay, epoch=epoch), knowledge), Admitted)
    if (
        epoch == 1
        and known
        and max(hi, hi + delay - SKEW_MS) <= beacon_ms
        and hi < effective
        and hi + delay <= effective + SKEW_MS
    ):
        assert answer == Admitted(T + beacon_ms)
    if epoch == 1 and known and hi >= effective:
        assert answer == Refuses("halted")
