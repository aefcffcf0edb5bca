"""The drill: it passes only if every part did, each failure is told as its own part, and its key can stop nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from byleave.control import beacon, bootstrap, drill, trust
from byleave.control.admission import Admitted, Claim, Refuses, decide
from byleave.control.beacon import Memory
from byleave.control.documents import CANARY, Ack, Halt, Request, Scope, digest, load
from byleave.control.drill import Drill, Keys, Refusal, Taken, Write, obstacle
from byleave.control.drill_main import judge, sentence
from byleave.control.halts import DRILL_MS
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX, Verdict
from byleave.core.batches import parse_raw, verify_raw
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import verify_key

NOW_MS, SITE = 1_800_000_000_000, "test."
ENDPOINTS = ((CANARY, "person-canary", "team-c"), ("ep-a", "person-a", "team-1"))
HALT = "control.halt.v1"
TURN_MS = 50


@pytest.fixture(scope="session")
def room(site: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As `site`, with a canary in it."""
    home = tmp_path_factory.mktemp("drilled")
    return type(site)(home, bootstrap.dev_site(home, SITE, ENDPOINTS, NOW_MS, random.Random(8).randbytes, consent=True))


class World:
    """Everything that a drill is about, on one clock: the beacon service and the fence by their own rules, a canary that
    obeys, a broker that sets the brake. A test breaks one thing."""

    def __init__(self, room: Any, seed: int = 1) -> None:
        self.room, self.boot_ms, self.random = room, 1_000, random.Random(seed)
        self.knowledge, self.memory = room.knowledge(), Memory()
        self.keys = Keys(room.key("drill/drill"), room.key(f"endpoints/{CANARY}/device"))
        self.brake_ms, self.reap_ms, self.reaped, self.session = 300, 20, True, "aa" * 16
        self.grants = self.acks = self.fenced = self.answers = True
        self.refuse_as = ""
        self.denied: frozenset[str] = frozenset()
        self.writes: list[Write] = []
        self.verdicts: list[Any] = []
        self.heard: list[object] = []
        self.vouch()

    @property
    def service_ms(self) -> int:
        return NOW_MS + self.boot_ms

    def vouch(self) -> None:
        self.memory, said = beacon.vouch(self.memory, self.knowledge, self.service_ms)
        self.knowledge.learn("control.beacon.v1", trust.sign(said, [self.room.key("beacon/beacon")]))
        self.vouched_ms = self.boot_ms

    def run(self, *, brake: bool = True, former: str = "", turn: Callable[[World], None] = lambda _: None) -> Drill:
        tried = Drill(self.knowledge, self.keys, self.random.randbytes, former, brake=brake)
        until_ms = self.boot_ms + DRILL_MS
        while not tried.over:
            assert self.boot_ms < until_ms, "a drill ends by itself"
            heard, self.heard = self.heard, []
            for write in tried.step(heard, self.boot_ms):
                self.writes.append(write)
                self.carry(write)
            self.boot_ms += TURN_MS
            turn(self)
            if self.boot_ms - self.vouched_ms >= beacon.BEACON_EVERY_MS:
                self.vouch()
        return tried

    def carry(self, write: Write) -> None:
        {"control.request.v1": self.grant, HALT: self.obey, "raw.events.v1": self.offer}[write.topic](write)

    def grant(self, write: Write) -> None:
        request = self.knowledge.learn(write.topic, write.value)
        assert isinstance(request, Request)
        named = digest(load_envelope(write.value).body)
        if self.grants:
            self.heard.append(beacon.answer(self.memory, self.knowledge, request, named, self.service_ms, b"s" * 16))

    def obey(self, write: Write) -> None:
        halt = self.knowledge.learn(HALT, write.value)
        halt_id = digest(load_envelope(write.value).body)
        self.memory = beacon.accept(self.memory, halt_id, halt, self.service_ms, self.service_ms, drill=True)
        self.vouch()
        stopped_ms = self.memory.effective[halt_id] + self.reap_ms
        ack = Ack(SITE, CANARY, self.session, halt_id, 1, stopped_ms, stopped_ms, self.reaped, 9, 0, "dropped", "")
        signed = trust.sign(ack, [self.keys.device])
        if self.acks:
            self.heard.append(self.knowledge.learn("control.ack.v1", signed))
        self.effective_boot_ms = self.boot_ms

    def offer(self, write: Write) -> None:
        braked = self.boot_ms - self.effective_boot_ms >= self.brake_ms and write.principal == CANARY
        if write.principal in self.denied or braked:
            self.heard.append(Taken(write.part, False))
            return
        if self.answers:
            self.heard.append(Taken(write.part, True))
        self.judge(write)

    def judge(self, write: Write) -> None:
        """As the redactor does: the signature, then the fence."""
        batch = parse_raw(write.value)
        verify_raw(batch, verify_key(self.knowledge.enrolments[CANARY].key))
        header = batch.header
        answer = decide(
            Claim(header.endpoint, header.session, header.epoch, header.hi_max, self.service_ms, header.manifest),
            self.knowledge,
        )
        self.verdicts.append(answer)
        if isinstance(answer, Refuses) and self.fenced:
            self.heard.append(Refusal(header.seq0, self.refuse_as or answer.reason))


def failed(tried: Drill) -> dict[str, str]:
    return {name: part.why for name, part in tried.parts.items() if part.passed is False}


def test_a_drill_passes_when_every_part_did_and_says_how_long_each_took(room: Any) -> None:
    world = World(room)
    tried = world.run()
    assert failed(tried) == {}
    assert set(tried.parts) == set(drill.PARTS)
    assert tried.parts["halt"].ms == world.reap_ms
    assert 9_000 < (tried.parts["lease"].ms or 0) <= LEASE_MS_MAX
    assert tried.parts["late"].ms == TURN_MS
    assert 300 <= (tried.parts["brake"].ms or 0) <= 1_100
    assert [w.principal for w in world.writes[:3]] == ["drill", "drill", "drill"]
    assert world.verdicts
    assert set(world.verdicts) == {Refuses("halted")}, "whatever was offered, none was ever admitted"
    assert judge(tried.parts) == "passed"


def never(world: World) -> None:
    world.brake_ms = 10**9


def unanswered(world: World) -> None:
    world.answers, world.brake_ms = False, 10**9


BREAKS: dict[str, tuple[str, str, Callable[[World], None]]] = {
    "an endpoint that does not ack": ("halt", "no-ack", lambda w: setattr(w, "acks", False)),
    "an endpoint that is slow": ("halt", "too-slow", lambda w: setattr(w, "reap_ms", drill.HALT_MS_MAX + 1)),
    "a worker that does not die": ("halt", "not-reaped", lambda w: setattr(w, "reaped", False)),
    "a canary that captured nothing": ("halt", "was-not-capturing", lambda w: setattr(w, "session", "")),
    "a service that does not grant": ("lease", "permit-no-grant", lambda w: setattr(w, "grants", False)),
    "a redactor that is not there": ("late", "not-refused", lambda w: setattr(w, "fenced", False)),
    "a fence that refuses for another reason": ("late", "refused-as-no-run", lambda w: setattr(w, "refuse_as", "no-run")),
    "a broker that denies the drill": ("late", "not-taken", lambda w: setattr(w, "denied", frozenset({"drill"}))),
    "a brake that is not set": ("brake", "not-denied", never),
    "a broker that does not answer": ("brake", "no-answer", unanswered),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_part_that_fails_alone_is_told_as_that_part(room: Any, name: str) -> None:
    part, why, breaks = BREAKS[name]
    world = World(room)
    breaks(world)
    tried = world.run()
    assert failed(tried) == {part: why}
    assert tried.over
    assert judge(tried.parts) == "failed"
    assert f"({why})" in sentence(tried.parts)


def test_a_session_that_the_last_ack_named_already_proves_no_halt(room: Any) -> None:
    assert failed(World(room).run(former="aa" * 16)) == {"halt": "was-not-capturing"}


def test_a_lease_that_does_not_end_is_told(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drill, "verdict", lambda *_, **__: Verdict.CAPTURE)
    assert failed(World(room).run()) == {"lease": "not-over"}


def test_a_drill_that_could_not_watch_the_lease_does_not_claim_that_it_did(room: Any) -> None:
    """The machine stood still when the lease ended: nobody saw it."""

    def stall(world: World) -> None:
        if 6_000 < world.boot_ms < 7_000:
            world.boot_ms += 6_000

    assert failed(World(room).run(turn=stall)) == {"lease": "noticed-late"}


def test_a_lease_that_beacons_after_the_order_would_feed_ends_all_the_same(room: Any) -> None:
    world = World(room)
    tried = world.run()
    assert world.knowledge.beacon is not None
    assert world.knowledge.beacon.service_ms > world.service_ms - 2_000  # beacons went on throughout
    assert tried.parts["lease"].passed


def test_without_an_effective_time_all_that_needs_one_has_failed(room: Any) -> None:
    world = World(room)
    world.obey = lambda _: None  # type: ignore[method-assign]
    assert failed(world.run()) == dict.fromkeys(("halt", "late", "brake"), "no-effective-time")
    assert [w.topic for w in world.writes] == ["control.request.v1", HALT]


def test_where_there_is_no_broker_brake_its_part_is_not_tried_and_fails_nothing(room: Any) -> None:
    world = World(room)
    never(world)
    tried = world.run(brake=False)
    assert judge(tried.parts) == "passed"
    assert (tried.parts["brake"].passed, tried.parts["brake"].why) == (None, "not-available")
    assert all(write.principal == "drill" for write in world.writes)


def test_answers_to_another_drill_count_for_nothing(room: Any) -> None:
    """An ack of another order, an ack of another endpoint, a grant to another nonce, a refusal of another batch."""
    world = World(room)
    world.acks = world.grants = world.fenced = False
    stranger = Ack(SITE, CANARY, "bb" * 16, "cc" * 32, 1, 1, 1, True, 9, 0, "empty", "")

    def noise(w: World) -> None:
        w.heard += [stranger, replace(stranger, endpoint="ep-a"), Refusal(7, "halted")]

    assert failed(world.run(turn=noise)) == {"halt": "no-ack", "lease": "permit-no-grant", "late": "not-refused"}


def test_one_drill_after_another_passes_and_none_begins_before_the_last_is_over(room: Any) -> None:
    world = World(room)
    assert obstacle(world.knowledge) is None
    assert judge(world.run().parts) == "passed"
    assert obstacle(world.knowledge) == "drill-not-over"
    while obstacle(world.knowledge):
        world.boot_ms += 1_000
        world.vouch()
        assert world.boot_ms < 3 * DRILL_MS
    assert judge(world.run(former="bb" * 16).parts) == "passed"


def test_what_stands_in_the_way_of_a_drill_is_said(room: Any) -> None:
    assert obstacle(Knowledge(room.root, SITE)) == "no-state"
    world = World(room)
    world.knowledge.learn(HALT, room.halt())
    assert obstacle(world.knowledge) == "halted"
    assert judge({"start": drill.Part(None, "halted")}) == "not-tried"
    over = World(room)
    late_ms = room.first.expires_ms
    over.boot_ms += late_ms
    over.vouch()
    assert obstacle(over.knowledge) == "no-run"
    stranger = room.knowledge()
    stranger._enrolments.clear()
    stranger.learn("control.beacon.v1", room.beacon(stranger, NOW_MS + 1))
    assert obstacle(stranger) == "not-enrolled"


def order(room: Any, scope: Scope, what: str = "capture", **changes: Any) -> bytes:
    halt = Halt(SITE, scope, what, "drill", "drop", NOW_MS, drill.ORDER_VALID_MS, "00")
    return trust.sign(replace(halt, **changes), [room.key("drill/drill")])


@pytest.mark.parametrize(
    "signed",
    [
        (Scope("endpoint", "ep-a"), "capture", {}),
        (Scope("global"), "capture", {}),
        (Scope("site", SITE), "capture", {}),
        (Scope("team", "team-c"), "capture", {}),
        (Scope("subject", "person-canary"), "capture", {}),
        (Scope("endpoint", CANARY), "processing", {}),
        (Scope("endpoint", CANARY), "reads", {}),
        (Scope("endpoint", CANARY), "everything", {}),
        (Scope("endpoint", CANARY), "capture", {"discard_since_ms": NOW_MS - 1}),
        (Scope("endpoint", CANARY), "capture", {"valid_for_ms": DRILL_MS + 1}),
    ],
    ids=str,
)
def test_the_drill_key_stops_nothing_but_the_canarys_capture(room: Any, signed: Any) -> None:
    knowledge = room.knowledge()
    scope, what, changes = signed
    with pytest.raises((Forged, Refused)):
        knowledge.learn(HALT, order(room, scope, what, **changes))
    assert dict(knowledge.halts) == {}
    assert knowledge.in_force() == ()
    assert beacon.denied(knowledge) == frozenset()
    assert not any(knowledge.orders(name, kind, 1) for name in (CANARY, "ep-a") for kind in ("capture", "processing", "reads"))


def test_a_drill_stops_the_canary_alone_and_only_while_it_lasts(room: Any) -> None:
    world = World(room)
    assert judge(world.run().parts) == "passed"
    halt_id = next(iter(world.knowledge.halts))
    assert [o.halt_id for o in world.knowledge.standing(CANARY, "capture", 1)] == [halt_id]
    assert world.knowledge.orders("ep-a", "capture", 1) == []
    assert beacon.denied(world.knowledge) == {CANARY}
    world.boot_ms += DRILL_MS
    world.vouch()
    assert world.knowledge.standing(CANARY, "capture", 1) == []
    assert beacon.denied(world.knowledge) == frozenset()


def test_a_drill_of_the_past_does_not_stop_the_canary_again(room: Any) -> None:
    """The order is replayed: to whoever knew it, and to a service and a fence that start anew."""
    world = World(room)
    world.run()
    signed = next(w.value for w in world.writes if w.topic == HALT)
    world.boot_ms += 3 * DRILL_MS
    world.vouch()
    fresh = room.knowledge()
    fresh.learn("control.beacon.v1", room.beacon(fresh, world.service_ms))
    with pytest.raises(Refused) as caught:
        beacon.accept(Memory(), "aa", load(Halt, load_envelope(signed).body), world.service_ms, world.service_ms, drill=True)
    assert caught.value.reason == "stale-order"
    for knowledge in (world.knowledge, fresh):
        knowledge.learn(HALT, signed)
        knowledge.learn("control.beacon.v1", room.beacon(knowledge, world.service_ms + 5_000))
        assert knowledge.standing(CANARY, "capture", 1) == []
        manifest = bytes.fromhex(room.first.run[0].manifest)
        claim = Claim(CANARY, b"n" * 16, 1, world.service_ms, world.service_ms, manifest)
        assert isinstance(decide(claim, knowledge), Admitted)


def test_a_write_shows_no_batch_and_no_key_in_its_repr(room: Any) -> None:
    world = World(room)
    world.run()
    assert all("value" not in repr(write) for write in world.writes)
    assert "Ed25519" not in repr(world.keys)
