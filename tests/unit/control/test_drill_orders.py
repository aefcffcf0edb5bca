"""Orders that end by themselves, orders that erase, and when an epoch began (rulings 2, 7, 8)."""

from __future__ import annotations

from typing import Any

from byleave.control import trust
from byleave.control.documents import CANARY, Halt, Scope, digest
from byleave.control.halts import DISCARD_MS_MAX, DRILL_MS, DRILLS_MAX, Order
from byleave.core.dsse import load_envelope

STATE, HALT, BEACON = "control.state.v1", "control.halt.v1", "control.beacon.v1"
NOW_MS = 1_800_000_000_000


def id_of(signed: bytes) -> str:
    return digest(load_envelope(signed).body)


def drill(site: Any, nonce: str = "dd", issued_ms: int = NOW_MS) -> bytes:
    order = Halt("test.", Scope("endpoint", CANARY), "capture", "a drill", "drop", issued_ms, DRILL_MS, nonce)
    return trust.sign(order, [site.key("drill/drill")])


def test_a_drill_stops_the_canary_for_a_minute_and_nobody_else(site: Any) -> None:
    knowledge, order = site.knowledge(), drill(site)
    knowledge.learn(HALT, order)
    assert knowledge.standing(CANARY, "capture", 1) == [Order(id_of(order), None, NOW_MS + 3 * DRILL_MS)]
    assert knowledge.standing("ep-a", "capture", 1) == []
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 500, **{id_of(order): NOW_MS + 400}))
    assert knowledge.standing(CANARY, "capture", 1) == [Order(id_of(order), NOW_MS + 400, NOW_MS + 400 + DRILL_MS)]
    assert knowledge.in_force() == (id_of(order),)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 400 + DRILL_MS))
    assert knowledge.standing(CANARY, "capture", 1) == []
    assert knowledge.in_force() == ()
    assert knowledge.orders(CANARY, "capture", 1) == [Order(id_of(order), NOW_MS + 400, NOW_MS + 400 + DRILL_MS)], (
        "what was captured in its minute stays refused"
    )


def test_a_drill_whose_time_nobody_heard_is_over_for_a_reader_who_comes_later(site: Any) -> None:
    late, order = site.knowledge(), drill(site)
    late.learn(HALT, order)
    late.learn(BEACON, site.beacon(late, NOW_MS + 3 * DRILL_MS))
    assert late.standing(CANARY, "capture", 1) == []
    assert late.orders(CANARY, "capture", 1) == [Order(id_of(order), NOW_MS, NOW_MS + 3 * DRILL_MS)]


def test_one_officer_erases_the_last_hour_and_no_more(site: Any) -> None:
    knowledge, reach, counts = site.knowledge(), DISCARD_MS_MAX, NOW_MS + 5
    signers = {"near": ("security-1",), "far alone": ("security-1",), "said to be of before": ("security-1",),
               "far": ("security-1", "privacy-1")}  # fmt: skip
    since = {"near": counts - reach, "far alone": counts - reach - 1, "said to be of before": counts - 20 * reach,
             "far": counts - 20 * reach}  # fmt: skip
    issued = {"said to be of before": counts - 20 * reach + 1}
    ids = {}
    for name, officers in signers.items():
        made = Halt("test.", Scope("global"), "capture", name, "drop", issued.get(name, NOW_MS), 600_000, name, since[name])
        signed = trust.sign(made, site.officers(*officers))
        assert knowledge.learn(HALT, signed) == made, "as a halt each of them counts"
        ids[name] = id_of(signed)
    assert knowledge.discards() == [], "not before it is known from when they count"
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **dict.fromkeys(ids.values(), counts)))
    found = {halt_id: (since_ms, effective_ms) for halt_id, _, since_ms, effective_ms in knowledge.discards()}
    assert found == {ids[name]: (since[name], counts) for name in ("near", "far")}


def test_an_epoch_begins_with_its_first_beacon(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    assert knowledge.begun_ms(1) == site.first.issued_ms
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 5_000))
    assert knowledge.begun_ms(1) == site.first.issued_ms, "who came in its midst has the word of the state"
    knowledge.learn(STATE, site.state(first))
    assert knowledge.begun_ms(2) == site.first.issued_ms
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9_000))
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 10_000))
    assert knowledge.begun_ms(2) == NOW_MS + 9_000
    assert knowledge.begun_ms(7) == 0


def test_after_a_restart_nothing_is_known_but_the_floor(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn(HALT, site.halt())
    knowledge.restart()
    assert (knowledge.state, knowledge.beacon, knowledge.epoch_floor) == (None, None, 1)
    assert [len(t) for t in (knowledge.halts, knowledge.manifests, knowledge.enrolments, knowledge.consents)] == [0] * 4


def test_drills_of_long_ago_are_forgotten_and_orders_never(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    for number in range(DRILLS_MAX + 3):
        knowledge.learn(HALT, drill(site, f"{number}"))
    assert id_of(order) in knowledge.halts
    assert len(knowledge.halts) == DRILLS_MAX + 1
    assert id_of(drill(site, "2")) not in knowledge.halts
    assert knowledge.is_drill(id_of(drill(site, "3")))


def test_an_order_that_a_beacon_named_and_nobody_read_is_forgotten_when_it_stands_no_more(site: Any) -> None:
    """A drill whose record was compacted away, or the invention of a stolen beacon key: it must not stop everybody for ever."""
    knowledge = site.knowledge()
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 1_000, **{"aa": NOW_MS + 900}))
    assert knowledge.standing("ep-a", "capture", 1) == [Order("aa", NOW_MS + 900)]
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 2_000))
    assert knowledge.standing("ep-a", "capture", 1) == []


def test_a_flood_of_drills_does_not_make_the_one_that_counts_unknown(site: Any) -> None:
    knowledge, real = site.knowledge(), drill(site)
    knowledge.learn(HALT, real)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 500, **{id_of(real): NOW_MS + 400}))
    for number in range(DRILLS_MAX + 3):
        knowledge.learn(HALT, drill(site, f"{number}", issued_ms=NOW_MS - 10**7))
    assert knowledge.is_drill(id_of(real))
    assert knowledge.standing("ep-a", "capture", 1) == []


def test_nobody_erases_what_is_still_to_come(site: Any) -> None:
    knowledge = site.knowledge()
    order = Halt("test.", Scope("global"), "capture", "x", "drop", NOW_MS, 600_000, "00", 2**62)
    signed = trust.sign(order, site.officers("security-1"))
    knowledge.learn(HALT, signed)
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{id_of(signed): NOW_MS + 5}))
    assert knowledge.discards() == []
