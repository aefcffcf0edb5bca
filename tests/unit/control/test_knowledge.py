"""The view of the control documents: rollback, replay, gaps, conflicts, tombstones, and what is left in the view after each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from byleave.control import trust
from byleave.control.documents import Lifted, Scope, digest
from byleave.control.halts import Order, covers
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken, Forged, Refused

STATE, HALT, BEACON, CONSENT = "control.state.v1", "control.halt.v1", "control.beacon.v1", "control.consent.v1"
NOW_MS = 1_800_000_000_000


def refused(knowledge: Knowledge, topic: str, unverified: bytes | None) -> str:
    """The reason; and nothing of the view may have moved."""
    before = view(knowledge)
    with pytest.raises((Forged, Refused)) as caught:
        knowledge.learn(topic, unverified)
    assert view(knowledge) == before
    return caught.value.reason


def view(k: Knowledge) -> tuple[Any, ...]:
    stops = [k.orders(name, "capture", epoch) for name in ("ep-a", "ep-b") for epoch in range(4)]
    return (k.state, k.state_digest, k.conflict, k.beacon, k.epoch_floor, dict(k.halts), dict(k.manifests), dict(k.enrolments),
            dict(k.consents), k.in_force(), stops, [k.window(epoch) for epoch in range(4)])  # fmt: skip


def id_of(signed: bytes) -> str:
    return digest(load_envelope(signed).body)


def test_an_old_state_replayed_is_a_rollback(site: Any) -> None:
    knowledge = site.knowledge()
    first = site.bytes("trust/state.dsse")
    knowledge.learn(STATE, site.state(first))
    knowledge.learn(STATE, first)  # the very same record again is no attack while it is known: nothing changes
    assert knowledge.state is not None
    assert knowledge.state.epoch == 2
    fresh = Knowledge(site.root, site.root.site, epoch_floor=2)
    assert refused(fresh, STATE, first) == "rolled-back"
    assert fresh.state is None


def test_a_floor_is_never_a_permission(site: Any) -> None:
    assert Knowledge(site.root, site.root.site, epoch_floor=7).leave("ep-a", NOW_MS) is None


def test_the_highest_epoch_wins_not_the_last_record(site: Any) -> None:
    knowledge = site.knowledge()
    first = site.bytes("trust/state.dsse")
    other = trust.sign(replace(site.first, issued_ms=1, expires_ms=2), site.officers("security-1", "privacy-1"))
    knowledge.learn(STATE, site.state(first))
    assert refused(knowledge, STATE, other) == "rolled-back"


def test_a_state_that_skips_an_epoch_or_names_another_past_is_refused(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    second = site.state(first)
    assert refused(knowledge, STATE, site.state(second)) == "broken-chain"
    assert refused(knowledge, STATE, site.state(first, epoch=2**62)) == "broken-chain"  # fast-forward
    body = load_envelope(second).body
    stray = trust.sign(replace(site.first, epoch=2, prev=digest(body)), site.officers("security-1", "privacy-1"))
    assert refused(knowledge, STATE, stray) == "broken-chain"


def test_the_chain_goes_on_and_earlier_windows_stay_known(site: Any) -> None:
    knowledge, after = site.knowledge(), site.bytes("trust/state.dsse")
    for epoch in range(2, 6):
        after = site.state(after)
        assert knowledge.learn(STATE, after).epoch == epoch
    late = Knowledge(site.root, site.root.site)
    assert late.learn(STATE, after).epoch == 5  # a reader that starts today accepts it without its predecessors
    assert [late.window(epoch) == knowledge.window(epoch) for epoch in range(1, 6)] == [True] * 5


def test_two_states_of_one_epoch_stop_everybody_until_the_next_settles_it(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    one, two = site.state(first), site.state(first, issued_ms=NOW_MS + 1)
    knowledge.learn(STATE, one)
    assert knowledge.leave("ep-a", NOW_MS)
    with pytest.raises(Broken) as caught:
        knowledge.learn(STATE, two)
    assert caught.value.reason == "conflict"
    assert knowledge.leave("ep-a", NOW_MS) is None
    assert knowledge.state_digest == id_of(two), "the next names what a compacted topic still holds"
    knowledge.learn(STATE, site.state(two))
    assert knowledge.leave("ep-a", NOW_MS)


@pytest.mark.parametrize("topic", [STATE, HALT, BEACON, CONSENT, "control.manifest.v1", "control.enrolment.v1"])
def test_a_tombstone_takes_nothing_away(site: Any, topic: str) -> None:
    knowledge = site.knowledge()
    knowledge.learn(HALT, site.halt())
    assert refused(knowledge, topic, None) == "tombstone"


def test_a_topic_that_holds_no_control_documents(site: Any) -> None:
    assert refused(site.knowledge(), "raw.events.v1", site.halt()) == "wrong-topic"


def test_an_order_in_another_topics_place_is_refused(site: Any) -> None:
    assert refused(site.knowledge(), STATE, site.halt()) == "wrong-type"


def test_states_that_live_too_long_or_speak_of_the_future_are_refused(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    assert refused(knowledge, STATE, site.state(first, expires_ms=NOW_MS + 31 * 86_400_000)) == "too-long"
    assert refused(knowledge, STATE, site.state(first, root_version=2)) == "wrong-root"
    ahead = Lifted("aa", Scope("global"), "capture", 1, epoch=3)
    assert refused(knowledge, STATE, site.state(first, (ahead,))) == "malformed"


def test_leave_ends_with_state_manifest_and_root(site: Any) -> None:
    knowledge = site.knowledge()
    assert knowledge.leave("ep-a", site.first.expires_ms - 1)
    assert knowledge.leave("ep-a", site.first.expires_ms) is None
    manifest = next(iter(knowledge.manifests.values()))
    lasting = trust.sign(replace(manifest, expires_ms=NOW_MS + 5), site.officers("security-1", "privacy-1"))
    knowledge.learn("control.manifest.v1", lasting)
    run = replace(site.first.run[0], manifest=id_of(lasting))
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse"), run=(run,)))
    assert knowledge.leave("ep-a", NOW_MS + 4)
    assert knowledge.leave("ep-a", NOW_MS + 5) is None


def test_orders_only_add_up_until_a_state_lifts_them_by_name(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    one, two = site.halt(nonce="01"), site.halt(nonce="02")
    for order in (one, two, one):
        knowledge.learn(HALT, order)
    knowledge.learn(BEACON, site.beacon(knowledge, 900, **{id_of(one): 500, id_of(two): 700}))
    knowledge.learn(STATE, site.state(first, (Lifted(id_of(one), Scope("global"), "capture", 500, 2),)))
    assert knowledge.orders("ep-a", "capture", 2) == [Order(id_of(two), 700)]
    assert sorted(knowledge.orders("ep-a", "capture", 1)) == sorted([Order(id_of(one), 500), Order(id_of(two), 700)])
    knowledge.learn(HALT, one)  # replayed after it was lifted
    assert knowledge.in_force() == (id_of(two),)


def test_a_lift_stays_known_with_its_own_epoch_through_later_states(site: Any) -> None:
    first, order = site.bytes("trust/state.dsse"), site.halt()
    second = site.state(first, (Lifted(id_of(order), Scope("global"), "capture", 500, 2),))
    third = site.state(second)
    late = Knowledge(site.root, site.root.site)  # has read neither order nor epoch 2
    late.learn(STATE, third)
    assert late.orders("ep-a", "capture", 1) == [Order(id_of(order), 500)]
    assert late.orders("ep-a", "capture", 2) == []


def test_an_order_that_a_beacon_names_but_nobody_has_read_stops_everybody(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(Scope("endpoint", "ep-b"))
    knowledge.learn(BEACON, site.beacon(knowledge, 900, **{id_of(order): 800}))
    assert knowledge.orders("ep-a", "capture", 1) == [Order(id_of(order), 800)]
    knowledge.learn(HALT, order)
    assert knowledge.orders("ep-a", "capture", 1) == []
    assert knowledge.orders("ep-b", "capture", 1) == [Order(id_of(order), 800)]


def test_the_effective_time_of_an_order_never_moves_later(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    assert knowledge.orders("ep-a", "capture", 1) == [Order(id_of(order))]
    for service_ms, effective_ms in ((900, 800), (901, 850), (902, 790)):
        knowledge.learn(BEACON, site.beacon(knowledge, service_ms, **{id_of(order): effective_ms}))
    assert knowledge.effective_ms(id_of(order)) == 790


@pytest.mark.parametrize(
    ("scope", "endpoint", "expected"),
    [
        (Scope("global"), "ep-a", True),
        (Scope("site", "test."), "ep-a", True),
        (Scope("site", "other."), "ep-a", False),
        (Scope("team", "team-1"), "ep-a", True),
        (Scope("team", "team-1"), "ep-b", False),
        (Scope("subject", "person-a"), "ep-a", True),
        (Scope("endpoint", "ep-a"), "ep-b", False),
        (Scope("planet", "earth"), "ep-a", None),
        (Scope("team", "team-1"), "stranger", None),
    ],
)
def test_whom_a_scope_is_about(site: Any, scope: Scope, endpoint: str, expected: bool | None) -> None:
    assert covers(scope, "test.", endpoint, site.knowledge().enrolments.get(endpoint)) is expected


def test_where_that_cannot_be_told_a_stop_counts_and_a_leave_does_not(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn(HALT, site.halt(Scope("planet", "earth")))
    assert knowledge.orders("ep-a", "capture", 1)
    run = replace(site.first.run[0], scope=Scope("planet", "earth"))
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse"), run=(run,)))
    assert knowledge.run_of("ep-a", 2) is None


def test_old_and_replayed_beacons_are_ignored(site: Any) -> None:
    knowledge = site.knowledge()
    old, new = site.beacon(knowledge, 900), site.beacon(knowledge, 901)
    knowledge.learn(BEACON, new)
    assert refused(knowledge, BEACON, old) == "replayed"
    assert refused(knowledge, BEACON, new) == "replayed"


def test_a_beacon_of_an_epoch_that_is_over_is_refused_even_with_a_later_time(site: Any) -> None:
    knowledge = site.knowledge()
    stale = site.beacon(knowledge, 902)
    knowledge.learn(STATE, site.state(site.bytes("trust/state.dsse")))
    knowledge.learn(BEACON, site.beacon(knowledge, 901))
    assert refused(knowledge, BEACON, stale) == "rolled-back"


def test_the_newest_word_of_the_person_counts_in_whatever_order_it_arrives(site: Any) -> None:
    knowledge, manifest = site.knowledge(), site.first.run[0].manifest
    assert knowledge.consented("ep-a", manifest)
    taken = site.consent("person-a", manifest, given=False, at_ms=NOW_MS + 10)
    knowledge.learn(CONSENT, taken)
    assert not knowledge.consented("ep-a", manifest)
    assert refused(knowledge, CONSENT, site.consent("person-a", manifest, given=True, at_ms=NOW_MS + 9)) == "rolled-back"
    same_moment = site.consent("person-a", manifest, given=True, at_ms=NOW_MS + 10)
    assert refused(knowledge, CONSENT, same_moment) == "rolled-back"
    knowledge.learn(CONSENT, site.consent("person-a", manifest, given=True, at_ms=NOW_MS + 11))
    assert knowledge.consented("ep-a", manifest)
    assert not knowledge.consented("ep-a", "00" * 32)
    assert knowledge.consented("ep-b", manifest)


def test_nobody_can_consent_for_another(site: Any) -> None:
    knowledge, manifest = site.knowledge(), site.first.run[0].manifest
    knowledge.learn(CONSENT, site.consent("person-a", manifest, given=False, at_ms=NOW_MS + 1))
    document = replace(knowledge.consents["person-a"], given=True, at_ms=NOW_MS + 2)
    forged = trust.sign(document, [site.key("people/person-b/person")])
    assert refused(knowledge, CONSENT, forged) == "bad-signature"


def test_a_consent_that_arrives_before_its_enrolment_waits_for_it_and_is_then_verified(site: Any) -> None:
    for name, expected in (("person-a", True), ("person-b", False)):
        knowledge = Knowledge(site.root, site.root.site)
        consent = replace(site.knowledge().consents["person-a"])
        knowledge.learn(CONSENT, trust.sign(consent, [site.key(f"people/{name}/person")]))
        assert not knowledge.consents
        knowledge.learn("control.enrolment.v1", site.bytes("endpoints/ep-a/enrolment.dsse"))
        assert bool(knowledge.consents) is expected


def test_an_enrolment_that_was_replaced_cannot_come_back(site: Any) -> None:
    knowledge = site.knowledge()
    known = knowledge.enrolments["ep-a"]
    newer = replace(known, key=knowledge.enrolments["ep-b"].key, until_ms=known.until_ms + 1)
    knowledge.learn("control.enrolment.v1", trust.sign(newer, site.officers("enrol-1")))
    assert refused(knowledge, "control.enrolment.v1", site.bytes("endpoints/ep-a/enrolment.dsse")) == "rolled-back"
    assert knowledge.enrolments["ep-a"] == newer


def test_a_person_with_a_new_key_has_to_consent_anew(site: Any) -> None:
    knowledge = site.knowledge()
    known = knowledge.enrolments["ep-a"]
    newer = replace(known, person_key=knowledge.enrolments["ep-b"].person_key, until_ms=known.until_ms + 1)
    knowledge.learn("control.enrolment.v1", trust.sign(newer, site.officers("enrol-1")))
    assert not knowledge.consented("ep-a", site.first.run[0].manifest)


def test_an_ack_counts_only_from_the_endpoint_that_it_names(site: Any) -> None:
    knowledge = site.knowledge()
    ack = site.ack("ep-a", "aa")
    assert knowledge.learn("control.ack.v1", trust.sign(ack, [site.key("endpoints/ep-a/device")])) == ack
    assert refused(knowledge, "control.ack.v1", trust.sign(ack, [site.key("endpoints/ep-b/device")])) == "bad-signature"
    stranger = trust.sign(replace(ack, endpoint="ep-x"), [site.key("endpoints/ep-a/device")])
    assert refused(knowledge, "control.ack.v1", stranger) == "unknown-endpoint"


def test_a_view_is_of_one_site(site: Any) -> None:
    with pytest.raises(Forged) as caught:
        Knowledge(site.root, "other.")
    assert caught.value.reason == "wrong-site"


def test_a_state_signed_by_one_officer_alone_changes_nothing(site: Any) -> None:
    first = site.bytes("trust/state.dsse")
    alone = trust.sign(replace(site.first, epoch=2, prev=id_of(first)), site.officers("security-1"))
    assert refused(site.knowledge(), STATE, alone) == "below-threshold"
