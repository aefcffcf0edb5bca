"""The beacon service: what it fixes, what it vouches for, whom it grants, and what a restart may not undo."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byleave.control import beacon, resume, trust
from byleave.control.beacon import (
    Brake,
    Braked,
    Heard,
    Memory,
    Refusal,
    Remember,
    Say,
    Service,
    Stopped,
    Tick,
    accept,
    answer,
    denied,
    vouch,
)
from byleave.control.documents import CANARY, Effective, Halt, Lifted, Request, Scope, digest, dump, load
from byleave.control.halts import DRILL_MS, Order
from byleave.control.knowledge import Knowledge
from byleave.core.dsse import load_envelope
from byleave.core.errors import Broken, Refused

NOW_MS = 1_800_000_000_000
HALT, CONSENT = "control.halt.v1", "control.consent.v1"
STATE, BEACON, ENROLMENT = "control.state.v1", "control.beacon.v1", "control.enrolment.v1"


def id_of(signed: bytes) -> str:
    return digest(load_envelope(signed).body)


def ask(site: Any, knowledge: Knowledge, endpoint: str = "ep-a", root_version: int = 1) -> Any:
    request = Request("test.", endpoint, "ee" * 16, 77, "ff" * 32, root_version)
    return answer(Memory(last_ms=NOW_MS), knowledge, request, "dd" * 32, NOW_MS + 5, b"s" * 16)


def refusal(site: Any, knowledge: Knowledge, **changes: Any) -> str:
    with pytest.raises(Refused) as caught:
        ask(site, knowledge, **changes)
    return caught.value.reason


def test_an_order_counts_from_after_the_last_beacon_and_keeps_its_time() -> None:
    halt = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 600_000, "00")
    memory = accept(Memory(last_ms=NOW_MS + 500), "aa", halt, NOW_MS, NOW_MS)
    assert memory.effective == {"aa": NOW_MS + 501}  # the clock reads less than what was signed already
    assert accept(memory, "aa", halt, NOW_MS, NOW_MS + 90_000) is memory
    assert accept(Memory(last_ms=5), "aa", halt, NOW_MS, NOW_MS).effective == {"aa": NOW_MS}


def test_an_order_published_after_its_time_is_refused_one_read_late_is_not() -> None:
    halt = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 1_000, "00")
    assert accept(Memory(), "aa", halt, NOW_MS + 1_000, NOW_MS + 10**7).effective
    with pytest.raises(Refused) as caught:
        accept(Memory(), "aa", halt, NOW_MS + 1_001, NOW_MS + 1_001)
    assert caught.value.reason == "stale-order"
    endless = replace(halt, valid_for_ms=2**62)
    with pytest.raises(Refused, match="published after its time"):
        accept(Memory(), "aa", endless, NOW_MS + 600_001, NOW_MS + 600_001)
    week_ms = 7 * 86_400_000
    assert accept(Memory(), "aa", endless, NOW_MS + week_ms, NOW_MS + week_ms, joint=True).effective
    with pytest.raises(Refused, match="published after its time"):
        accept(Memory(), "aa", endless, NOW_MS + week_ms + 1, NOW_MS + week_ms + 1, joint=True)


def test_a_beacon_names_the_state_and_every_order_in_force(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    memory = accept(Memory(NOW_MS, 3), id_of(order), knowledge.halts[id_of(order)], NOW_MS, NOW_MS)
    memory, said = vouch(memory, knowledge, NOW_MS + 1_000)
    assert (said.epoch, said.state, said.n, said.service_ms) == (1, knowledge.state_digest, 4, NOW_MS + 1_000)
    assert said.halts == (Effective(id_of(order), NOW_MS + 1),)
    assert memory == Memory(NOW_MS + 1_000, 4, {id_of(order): NOW_MS + 1}, epoch=1)


def test_nothing_is_vouched_for_without_a_state_or_with_two(site: Any) -> None:
    with pytest.raises(Refused) as caught:
        vouch(Memory(), Knowledge(site.root, "test."), NOW_MS)
    assert caught.value.reason == "no-state"
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    knowledge.learn("control.state.v1", site.state(first))
    with pytest.raises(Broken):
        knowledge.learn("control.state.v1", site.state(first, issued_ms=NOW_MS + 1))
    with pytest.raises(Refused) as caught:
        vouch(Memory(), knowledge, NOW_MS)
    assert caught.value.reason == "conflict"
    assert refusal(site, knowledge) == "no-state"


def test_of_too_many_orders_the_oldest_are_named_and_one_that_stops_everybody(site: Any) -> None:
    """Nobody is left out, nothing ends for good, and k of n lift what is named until the rest can be."""
    knowledge, effective = site.knowledge(), dict[str, int]()
    for number in range(beacon.ORDERS_MAX + 1):
        order = site.halt(Scope("endpoint", "ep-b"), nonce=f"{number:04}")
        knowledge.learn(HALT, order)
        effective[id_of(order)] = NOW_MS + number
    memory, said = vouch(Memory(effective=effective), knowledge, NOW_MS + 1_000)
    read = load(type(said), dump(said))  # it fits into a document
    assert (len(read.halts), len(memory.effective)) == (beacon.ORDERS_MAX, beacon.ORDERS_MAX + 1)
    knowledge.learn(BEACON, trust.sign(said, [site.key("beacon/beacon")]))
    assert knowledge.orders("ep-a", "capture", 1) == [Order(beacon.MORE, NOW_MS + beacon.ORDERS_MAX - 1)]
    named = [one.halt_id for one in read.halts if one.halt_id != beacon.MORE]
    knowledge.learn(
        STATE, trust.sign(resume.next_state(knowledge, named[:50], NOW_MS), site.officers("security-1", "privacy-1"))
    )
    _, said = vouch(memory, knowledge, NOW_MS + 2_000)
    knowledge.learn(BEACON, trust.sign(said, [site.key("beacon/beacon")]))
    assert len(said.halts) == beacon.ORDERS_MAX + 1 - 50
    assert knowledge.orders("ep-a", "capture", 2) == []


def test_more_orders_than_are_kept_are_not_accepted() -> None:
    halt = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 600_000, "00")
    full = Memory(effective={f"{n}": NOW_MS for n in range(beacon.REMEMBERED_MAX)})
    with pytest.raises(Refused) as caught:
        accept(full, "aa", halt, NOW_MS, NOW_MS)
    assert caught.value.reason == "too-many-orders"


def test_a_broker_that_was_put_back_does_not_make_it_vouch_for_less(site: Any) -> None:
    knowledge, first = site.knowledge(), site.bytes("trust/state.dsse")
    knowledge.learn(STATE, site.state(first))
    memory, _ = vouch(Memory(), knowledge, NOW_MS)
    with pytest.raises(Refused) as caught:
        vouch(beacon.load(beacon.dump(memory)), site.knowledge(), NOW_MS + 1_000)
    assert caught.value.reason == "rolled-back"


def test_an_order_that_is_not_known_any_more_is_not_accepted(site: Any) -> None:
    halt = Halt("test.", Scope("global"), "capture", "why", "drop", NOW_MS, 600_000, "00")
    service, outputs = beacon.step(beacon.Service(), site.knowledge(), beacon.Heard(halt, "aa", NOW_MS, bytes(16)), NOW_MS)
    assert (service.memory.effective, outputs) == ({}, ())


def test_one_drill_at_a_time_and_none_of_tomorrow() -> None:
    order = Halt("test.", Scope("endpoint", CANARY), "capture", "a drill", "drop", NOW_MS, 1_000, "dd")
    memory = accept(Memory(), "dd", order, NOW_MS, NOW_MS, drill=True)
    for name, at_ms in (("ee", NOW_MS), ("ff", NOW_MS - DRILL_MS - 1)):
        with pytest.raises(Refused):
            accept(memory if name == "ee" else Memory(), name, order, at_ms, at_ms, drill=True)


def test_whoever_was_halted_as_one_of_a_team_is_denied_under_another_name_of_it(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt(Scope("team", "team-1"))
    knowledge.learn(HALT, order)
    assert denied(knowledge) == {"ep-a"}
    moved = replace(knowledge.enrolments["ep-a"], team="team-9", until_ms=knowledge.enrolments["ep-a"].until_ms + 1)
    knowledge.learn(ENROLMENT, trust.sign(moved, site.officers("enrol-1")))
    assert denied(knowledge) == {"ep-a"}
    assert refusal(site, knowledge) == "halted"
    later = site.halt(Scope("team", "team-1"), nonce="01")
    state = resume.next_state(heard(site, knowledge, id_of(order)), [id_of(order)], NOW_MS)
    knowledge.learn(STATE, trust.sign(state, site.officers("security-1", "privacy-1")))
    knowledge.learn(HALT, later)
    assert denied(knowledge) == frozenset(), "an order of after the move is about whom it is enrolled as then"


def heard(site: Any, knowledge: Knowledge, halt_id: str) -> Knowledge:
    knowledge.learn(BEACON, site.beacon(knowledge, NOW_MS + 9, **{halt_id: NOW_MS + 5}))
    return knowledge


def test_a_grant_names_the_nonce_and_a_digest_and_nobody(site: Any) -> None:
    grant = ask(site, site.knowledge())
    assert (grant.nonce, grant.request, grant.session, grant.service_ms) == ("ee" * 16, "dd" * 32, "73" * 16, NOW_MS + 5)
    assert grant.not_after_ms == NOW_MS + 5 + beacon.SESSION_MS_MAX
    assert "ep-a" not in str(grant)
    assert "person-a" not in str(grant)


def test_no_grant_outlives_the_leave(site: Any) -> None:
    knowledge = site.knowledge()
    knowledge.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), expires_ms=NOW_MS + 60_000))
    assert ask(site, knowledge).not_after_ms == NOW_MS + 60_000


def test_requests_that_are_not_answered(site: Any) -> None:
    manifest = site.first.run[0].manifest
    assert refusal(site, site.knowledge(), endpoint="ep-x") == "unknown-endpoint"
    assert refusal(site, site.knowledge(), root_version=2) == "wrong-root"
    assert refusal(site, Knowledge(site.root, "test.")) == "no-state"
    halted = site.knowledge()
    halted.learn(HALT, site.halt(Scope("team", "team-1")))  # obeyed before it has any effective time
    assert refusal(site, halted) == "halted"
    assert ask(site, halted, endpoint="ep-b")
    withdrawn = site.knowledge()
    withdrawn.learn(CONSENT, site.consent("person-a", manifest, given=False, at_ms=NOW_MS + 1))
    assert refusal(site, withdrawn) == "no-consent"
    over = site.knowledge()
    over.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), expires_ms=NOW_MS + 5))
    assert refusal(site, over) == "no-run"
    apart = site.knowledge()
    run = replace(site.first.run[0], scope=Scope("team", "team-2"))
    apart.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), run=(run,)))
    assert refusal(site, apart) == "no-run"


def test_whom_the_broker_must_deny(site: Any) -> None:
    knowledge = site.knowledge()
    assert denied(knowledge) == frozenset()
    knowledge.learn(HALT, site.halt(what="reads"))
    assert denied(knowledge) == frozenset()
    knowledge.learn(HALT, site.halt(Scope("team", "team-1")))
    assert denied(knowledge) == {"ep-a"}
    knowledge.learn(HALT, site.halt(Scope("subject", "person-b")))
    assert denied(knowledge) == {"ep-a", "ep-b"}
    knowledge.learn(HALT, site.halt())
    assert denied(knowledge) == {"*"}


@pytest.mark.parametrize(
    "stored", [b"", b"{}", b"[]", b"null", b'{"last_ms":1,"n":1,"effective":[]}', b'{"last_ms":1', b"\xff"]
)
def test_a_damaged_memory_stops_the_service_instead_of_letting_time_run_back(stored: bytes) -> None:
    with pytest.raises(Broken) as caught:
        beacon.load(stored)
    assert caught.value.reason == "memory"


class Driver:
    """A service whose outputs are only looked at; its broker denies what it is told to, or nobody answers."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge, self.service, self.now_ms, self.brakes = knowledge, Service(), NOW_MS, True

    def does(self, given: Any) -> list[Any]:
        waiting, done = [given], []
        while waiting:
            self.service, outputs = beacon.step(self.service, self.knowledge, waiting.pop(0), self.now_ms)
            done += outputs
            waiting += [Braked(o.wanted if self.brakes else None) for o in outputs if isinstance(o, Brake)]
        return done

    def tick(self, ms: int = 20, *, caught_up: bool = True) -> list[type]:
        self.now_ms += ms
        self.told = self.does(Tick(caught_up))
        return [type(output) for output in self.told]

    def hears(self, document: Any, name: str = "", append_ms: int = NOW_MS) -> list[Any]:
        return self.does(Heard(document, name, append_ms, b"s" * 16))

    def halted(self, site: Any, **more: Any) -> str:
        order = site.halt(**more)
        self.knowledge.learn(HALT, order)
        self.hears(self.knowledge.halts[id_of(order)], id_of(order))
        return id_of(order)


@pytest.fixture
def driver(site: Any) -> Driver:
    made = Driver(site.knowledge())
    assert made.tick() == [Brake, Remember, Say]  # what the broker denies is not known yet
    return made


def test_a_beacon_is_said_once_a_second_after_it_is_remembered(driver: Driver) -> None:
    assert driver.tick(999) == []
    assert driver.tick(1) == [Remember, Say]
    remember, say = driver.told
    assert (remember.memory.last_ms, remember.memory.n) == (say.document.service_ms, say.document.n)


def test_an_order_is_remembered_told_and_then_braked_for_without_waiting_for_the_second(site: Any, driver: Driver) -> None:
    order = site.halt()
    halt_id, halt = id_of(order), driver.knowledge.learn(HALT, order)
    assert driver.hears(halt, halt_id) == [Remember(driver.service.memory)]
    assert driver.hears(halt, halt_id) == []
    assert driver.tick() == [Remember, Say, Brake]
    _, say, brake = driver.told
    assert [order.halt_id for order in say.document.halts] == [halt_id]
    assert brake.wanted == {"*"}
    assert driver.tick(1_000) == [Remember, Say]


def test_a_brake_is_released_before_the_state_that_lifts_the_order_is_vouched_for(site: Any, driver: Driver) -> None:
    halt_id = driver.halted(site)
    driver.tick()
    lifted = Lifted(halt_id, Scope("global"), "capture", NOW_MS, 2)
    state = driver.knowledge.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), (lifted,)))
    driver.hears(state)
    assert driver.tick() == [Brake, Remember, Say]
    assert (driver.told[0].wanted, driver.told[2].document.epoch) == (frozenset(), 2)


def test_a_brake_that_could_not_be_set_is_tried_again_and_holds_no_beacon_up(site: Any, driver: Driver) -> None:
    driver.brakes = False
    driver.halted(site)
    assert driver.tick() == [Remember, Say, Brake]
    assert [driver.tick(1_000) for _ in range(4)] == [[Remember, Say]] * 4
    assert driver.tick(1_000) == [Remember, Say, Brake]


def test_a_brake_whose_setting_failed_is_released_all_the_same_once_the_order_is_lifted(site: Any, driver: Driver) -> None:
    """The officer's own command may have set it, or the broker may have taken it and died before it answered."""
    driver.brakes = False
    halt_id = driver.halted(site)
    driver.tick()
    lifted = Lifted(halt_id, Scope("global"), "capture", NOW_MS, 2)
    driver.hears(driver.knowledge.learn("control.state.v1", site.state(site.bytes("trust/state.dsse"), (lifted,))))
    driver.brakes = True
    said = [driver.tick(1_000) for _ in range(6)]
    assert said.count([Remember, Say, Brake]) == 1
    assert driver.service.braked == frozenset()


def test_nothing_is_said_before_all_is_read_or_without_a_state(site: Any) -> None:
    driver = Driver(site.knowledge())
    assert driver.tick(caught_up=False) == []
    assert driver.hears(Request("test.", "ep-a", "ee" * 16, 77, "ff" * 32, 1)) == []
    driver = Driver(Knowledge(site.root, "test."))
    assert driver.tick() == [Brake, Refusal]
    assert driver.told[1] == Refusal("Beacon", "no-state")
    driver.tick(1_000)
    driver.knowledge.restart()  # the topics were made anew, and hold nothing
    assert driver.tick(1_000) == [Refusal]


def test_a_request_is_answered_once_and_not_after_ten_seconds(driver: Driver) -> None:
    request = Request("test.", "ep-a", "ee" * 16, 77, "ff" * 32, 1)
    (said,) = driver.hears(request, "dd" * 32)
    assert (said.topic, said.key, said.document.request) == ("control.grant.v1", request.nonce, "dd" * 32)
    assert driver.hears(request, "dd" * 32) == []
    late = replace(request, nonce="aa" * 16)
    driver.now_ms = NOW_MS + 10_001
    assert driver.hears(late, "dd" * 32) == []
    assert driver.hears(replace(late, endpoint="ep-x"), append_ms=driver.now_ms) == [Refusal("Request", "unknown-endpoint")]
    assert driver.hears(late, append_ms=driver.now_ms) == [], "refused is answered, too"
    assert list(driver.service.answered) == [late.nonce], "what is too old to be answered need not be remembered"


def test_an_order_that_is_too_late_changes_nothing(site: Any, driver: Driver) -> None:
    before, order = driver.service, site.halt()
    halt = driver.knowledge.learn(HALT, order)
    assert driver.hears(halt, id_of(order), NOW_MS + 600_001) == [Refusal("Halt", "stale-order")]
    assert driver.service == before


def test_how_long_an_endpoint_took_is_counted_once_an_order(site: Any, driver: Driver) -> None:
    halt_id = driver.halted(site)
    effective_ms = driver.service.memory.effective[halt_id]
    ack = site.ack("ep-a", halt_id, stopped_ms=effective_ms + 250)
    assert driver.hears(site.ack("ep-a", halt_id, reaped=False)) == []
    assert driver.hears(ack) == [Stopped(0.25)]
    assert driver.hears(ack) == []
    assert driver.hears(site.ack("ep-b", halt_id, stopped_ms=effective_ms - 5)) == [Stopped(0.0)]
    assert driver.hears(site.ack("ep-a", "ff" * 32)) == []
    driver.service = Service(driver.service.memory)  # started anew: what it now reads again was counted
    assert driver.hears(ack) == []
    driver.tick()
    assert driver.hears(ack) == []


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("halt"), st.integers(0, 5)),
        st.tuples(st.just("beacon"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("clock"), st.integers(-5_000, 5_000)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_time_only_goes_forward_and_no_order_counts_from_before_a_beacon_that_did_not_name_it(
    site: Any, steps: list[tuple[str, int]]
) -> None:
    """Restarts from what was written, and a wall clock that jumps, at any moment."""
    knowledge, memory, now_ms = site.knowledge(), Memory(), NOW_MS
    said: list[Any] = []
    for step, value in steps:
        now_ms += value if step == "clock" else 1
        if step == "halt":
            order = site.halt(nonce=str(value))
            knowledge.learn(HALT, order)
            memory = accept(memory, id_of(order), knowledge.halts[id_of(order)], NOW_MS, now_ms)
        elif step == "beacon":
            memory, one = vouch(memory, knowledge, now_ms)
            said.append(one)
        elif step == "restart":
            memory = beacon.load(beacon.dump(memory))
    times = [one.service_ms for one in said]
    assert times == sorted(set(times))
    assert [one.n for one in said] == list(range(1, len(said) + 1))
    for one in said:
        names = {order.halt_id for order in one.halts}
        for halt_id, effective_ms in memory.effective.items():
            assert halt_id in names or effective_ms > one.service_ms


def test_an_order_whose_record_was_taken_from_the_topic_still_stands(site: Any) -> None:
    """A tombstone, compaction, or a topic made anew: a restarted service has only its memory, and its memory is enough."""
    knowledge, order = site.knowledge(), site.halt(Scope("team", "team-2"))
    knowledge.learn(HALT, order)
    memory = accept(Memory(NOW_MS), id_of(order), knowledge.halts[id_of(order)], NOW_MS, NOW_MS)
    robbed = site.knowledge()
    kept, said = vouch(beacon.load(beacon.dump(memory)), robbed, NOW_MS + 1_000)
    assert said.halts == (Effective(id_of(order), NOW_MS + 1),)
    assert kept.effective == memory.effective
    assert denied(robbed, kept) == {"*"}, "whom it was about is not known any more"
    robbed.learn(BEACON, trust.sign(said, [site.key("beacon/beacon")]))
    assert [refusal(site, robbed, endpoint=endpoint) for endpoint in ("ep-a", "ep-b")] == ["halted"] * 2
    state = resume.next_state(robbed, [id_of(order)], NOW_MS + 2_000)
    assert (state.lifted[0].scope, state.lifted[0].effective_ms) == (Scope("global"), NOW_MS + 1)
    robbed.learn(STATE, trust.sign(state, site.officers("security-1", "privacy-1")))
    assert vouch(kept, robbed, NOW_MS + 3_000)[1].halts == (), "k of n can still lift it"
    assert denied(robbed, kept) == frozenset()


def test_a_drill_is_forgotten_when_it_is_over_whatever_became_of_its_record(site: Any) -> None:
    order = Halt("test.", Scope("endpoint", CANARY), "capture", "a drill", "drop", NOW_MS, 1_000, "dd")
    memory = accept(Memory(NOW_MS), "dd", order, NOW_MS, NOW_MS, drill=True)
    robbed = site.knowledge()
    assert vouch(memory, robbed, NOW_MS + DRILL_MS)[1].halts == (Effective("dd", NOW_MS + 1),)
    kept, said = vouch(beacon.load(beacon.dump(memory)), robbed, NOW_MS + 1 + DRILL_MS)
    assert (said.halts, kept.effective, kept.drills) == ((), {}, frozenset())
    with pytest.raises(Refused, match="published after its time"):
        accept(kept, "dd", order, NOW_MS, NOW_MS + 1 + DRILL_MS, drill=True)


def test_who_has_not_answered_is_counted_until_no_lease_can_run(site: Any) -> None:
    knowledge, order = site.knowledge(), site.halt()
    knowledge.learn(HALT, order)
    service = beacon.Service(Memory(effective={id_of(order): NOW_MS}), caught_up=True)
    assert beacon.unproved(service, knowledge, NOW_MS + 1) == 2
    heard = beacon.Heard(site.ack("ep-a", id_of(order)), "aa", NOW_MS, bytes(16))
    service, _ = beacon.step(service, knowledge, heard, NOW_MS + 2)
    assert beacon.unproved(service, knowledge, NOW_MS + 3) == 1
    assert beacon.unproved(service, knowledge, NOW_MS + 60_000) == 0
    assert beacon.unproved(beacon.Service(), knowledge, NOW_MS + 3) == 0
