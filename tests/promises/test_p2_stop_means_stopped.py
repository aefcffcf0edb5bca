"""P2. Stop means stopped: whoever delays, drops, repeats or replays, nothing captured after the halt is ever admitted.

Here without a broker: one endpoint, one beacon service and one fence, on the project's own rules, over a network that loses,
delays, repeats and reorders, under one virtual clock with drift and sleep. Each mutant takes one rule away; the same network
must then show a leak, or capture that does not end, else the runs above would prove nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from byleave.control import beacon as service
from byleave.control import bootstrap, lease, resume, trust
from byleave.control.admission import SKEW_MS, Admitted, Claim, Refuses, Waits, decide
from byleave.control.documents import Beacon, Effective, Halt, Request, Scope, State, digest, dump
from byleave.control.knowledge import Knowledge
from byleave.control.rollcall import LEASE_OVER_MS
from byleave.core.dsse import load_envelope
from byleave.core.errors import Forged, Refused
from byleave.core.keys import read_signing_key

SITE = "test."
T0 = 1_800_000_000_000
STEP_MS = 100
RUN_MS = 60_000
SEEDS = range(16)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("site")
    bootstrap.dev_site(made, SITE, [("ep-a", "person-a", "team-1")], T0, random.Random(5).randbytes, consent=True)
    return made


@dataclass
class Network:
    """Carries (topic, value) to one reader: late, twice, out of order, or never."""

    chance: random.Random
    cut: Callable[[int], bool]
    queue: list[tuple[int, str, bytes]] = field(default_factory=list)

    def send(self, now_ms: int, topic: str, value: bytes) -> None:
        for _ in range(2 if self.chance.random() < 0.1 else 1):
            if self.chance.random() > 0.05 and not self.cut(now_ms):
                self.queue.append((now_ms + self.chance.choice((10, 50, 300, 300, 4_000)), topic, value))

    def deliver(self, now_ms: int, to: Knowledge) -> list[Any]:
        due = [item for item in self.queue if item[0] <= now_ms and not self.cut(now_ms)]
        self.queue = [item for item in self.queue if item not in due]
        self.chance.shuffle(due)
        return [document for _, topic, value in due for document in learned(to, topic, value)]


def learned(knowledge: Knowledge, topic: str, value: bytes) -> list[Any]:
    try:
        return [knowledge.learn(topic, value)]
    except (Refused, Forged):
        return []


@dataclass
class World:
    """One seeded run: the endpoint captures while it may, the fence decides as it learns. `mutant` names a rule taken away."""

    home: Path
    seed: int
    mutant: str = ""

    def __post_init__(self) -> None:
        chance = self.chance = random.Random(self.seed)
        self.halt_ms, self.resume_ms = T0 + chance.randrange(8_000, 30_000), T0 + chance.randrange(33_000, 45_000)
        self.cut_from_ms = self.halt_ms - chance.randrange(4_000) if chance.random() < 0.5 else T0 + RUN_MS * 2
        self.asleep_ms = range(T0 + 12_000, T0 + 12_000 + chance.randrange(1, 25_000)) if chance.random() < 0.4 else range(0)
        self.drift_ppm = chance.randrange(-400, 400)
        self.at_endpoint, self.at_service, self.at_fence = (self._knowledge() for _ in range(3))
        self.memory = service.Memory()
        self.to_endpoint = Network(chance, lambda now: now >= self.cut_from_ms)
        self.to_fence = Network(chance, lambda _: False)
        self.permit: lease.Permit | None = None
        self.permit_epoch = 0
        self.nonce, self.asked_boot_ms = 0, 0
        self.captured: list[tuple[int, Claim]] = []
        self.arriving: list[tuple[int, int]] = []
        self.decided: dict[int, Admitted | Refuses] = {}
        self.slept_ms = 0

    def run(self) -> World:
        for now_ms in range(T0, T0 + RUN_MS, STEP_MS):
            self._service_turn(now_ms)
            self._officers_turn(now_ms)
            if now_ms in self.asleep_ms:
                self.slept_ms += STEP_MS
            else:
                self._endpoint_turn(now_ms)
            self._fence_turn(now_ms)
        for topic, value in self.topics:  # in the end all of the topics reaches the fence
            learned(self.at_fence, topic, value)
        self._fence_turn(T0 + RUN_MS * 10)
        return self

    def verdicts(self) -> list[tuple[int, Claim, Admitted | Refuses | None]]:
        """What became of everything captured; None for what waits to the end."""
        return [(true_ms, claim, self.decided.get(n)) for n, (true_ms, claim) in enumerate(self.captured)]

    def _fence_turn(self, now_ms: int) -> None:
        """Decides what has arrived with what is known by now: an answer is final."""
        self.to_fence.deliver(now_ms, self.at_fence)
        waiting = []
        for due_ms, n in self.arriving:
            said = decide(self.captured[n][1], self.at_fence) if due_ms <= now_ms else Waits("on its way")
            if isinstance(said, Waits):
                waiting.append((due_ms, n))
            else:
                self.decided[n] = said
        self.arriving = waiting

    def leaks(self) -> int:
        """Admitted although captured between the halt's effective time and the resumption."""
        end_ms = self.effective_ms
        return sum(end_ms <= true_ms < self.resume_ms and isinstance(said, Admitted) for true_ms, _, said in self.verdicts())

    @property
    def effective_ms(self) -> int:
        return min(ms for ms in self.fixed.values())

    def _knowledge(self) -> Knowledge:
        knowledge = Knowledge(bootstrap.pinned_root(self.home, SITE), SITE)
        for topic, _, value in bootstrap.documents_to_publish(self.home):
            knowledge.learn(topic, value)
        self.topics: list[tuple[str, bytes]] = []
        self.fixed: dict[str, int] = {}
        return knowledge

    def _publish(self, now_ms: int, topic: str, value: bytes) -> None:
        self.topics.append((topic, value))
        self.to_endpoint.send(now_ms, topic, value)
        self.to_fence.send(now_ms, topic, value)

    def _officers_turn(self, now_ms: int) -> None:
        keys = [read_signing_key(self.home / "officers" / f"{name}.key") for name in ("security-1", "privacy-1")]
        if now_ms // STEP_MS == self.halt_ms // STEP_MS:
            order = Halt(SITE, Scope("global"), "capture", "why", "drop", now_ms, 600_000, "00")
            signed, halt_id = trust.sign(order, keys[:1]), digest(dump(order))
            self.at_service.learn("control.halt.v1", signed)
            self.memory = service.accept(self.memory, halt_id, order, now_ms, now_ms)
            if self.mutant == "effective in the past":
                self.memory = replace(self.memory, effective={halt_id: now_ms - 900})
            self.fixed |= self.memory.effective
            self._publish(now_ms, "control.halt.v1", signed)
        if now_ms // STEP_MS == self.resume_ms // STEP_MS:
            state = resume.next_state(self.at_service, self.at_service.in_force(), now_ms)
            signed = trust.sign(state, keys)
            self.at_service.learn("control.state.v1", signed)
            self._publish(now_ms, "control.state.v1", signed)

    def _service_turn(self, now_ms: int) -> None:
        if now_ms % 1_000 == 0:
            self.memory = service.load(service.dump(self.memory))  # a restart at every beacon
            self.memory, said = service.vouch(self.memory, self.at_service, now_ms)
            signed = trust.sign(said, [read_signing_key(self.home / "beacon" / "beacon.key")])
            self.at_service.learn("control.beacon.v1", signed)  # the officers resume on what it has said
            self._publish(now_ms, "control.beacon.v1", signed)

    def _boot_ms(self, now_ms: int) -> int:
        boot_ms = (now_ms - T0) * (1_000_000 + self.drift_ppm) // 1_000_000 + 1_000
        return boot_ms - self.slept_ms if self.mutant == "clock stops in sleep" else boot_ms

    def _endpoint_turn(self, now_ms: int) -> None:
        k, boot_ms = self.at_endpoint, self._boot_ms(now_ms)
        self.to_endpoint.deliver(now_ms, k)
        epoch = k.state.epoch if k.state else 0
        if self.permit_epoch != epoch and not self.to_endpoint.cut(now_ms) and boot_ms - self.asked_boot_ms > 400:
            self._ask(now_ms, boot_ms, epoch)
        orders = () if self.mutant in ("orders ignored", "liar") else k.orders("ep-a", "capture", epoch)
        permit = self.permit if self.permit_epoch == epoch else None
        answer = lease.verdict(permit, k.beacon, k.state_digest, halted=bool(orders), boot_ms=boot_ms)
        if self.mutant in ("no lease", "liar") and answer is lease.Verdict.STALE and permit:
            answer = lease.Verdict.CAPTURE
        if answer is lease.Verdict.CAPTURE and permit and k.leave("ep-a", now_ms):
            stamp = now_ms - 20_000 if self.mutant in ("wall clock", "liar") else lease.permit_time_ms(permit, boot_ms)
            stamped = 2 if self.mutant == "stamp without epoch" and self.resume_ms < T0 + RUN_MS else epoch
            manifest = bytes.fromhex(self.manifest)
            self.arriving.append((now_ms + self.chance.choice((50, 200, 1_500)), len(self.captured)))
            self.captured.append((now_ms, Claim("ep-a", bytes(16), stamped, stamp, now_ms + 50, manifest)))

    def _ask(self, now_ms: int, boot_ms: int, epoch: int) -> None:
        self.nonce, self.asked_boot_ms = self.nonce + 1, boot_ms
        request = Request(SITE, "ep-a", str(self.nonce), boot_ms, "00" * 32, 1)
        try:
            grant = service.answer(self.memory, self.at_service, request, digest(dump(request)), now_ms, bytes(16))
        except Refused:
            return
        if grant.epoch == epoch:
            self.permit, self.permit_epoch = lease.Permit(grant.service_ms, boot_ms, grant.not_after_ms), epoch

    @property
    def manifest(self) -> str:
        assert self.at_endpoint.state is not None
        return self.at_endpoint.state.run[0].manifest


@pytest.fixture(scope="module")
def worlds(home: Path) -> list[World]:
    return [World(home, seed).run() for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_captured_after_the_halt_is_admitted(worlds: list[World], seed: int) -> None:
    world = worlds[seed]
    verdicts = world.verdicts()
    assert world.leaks() == 0
    late = [true_ms for true_ms, _ in world.captured if world.effective_ms <= true_ms < world.resume_ms]
    assert max(late, default=0) < world.effective_ms + LEASE_OVER_MS  # silence ended it within the lease
    before = [said for true_ms, _, said in verdicts if true_ms < world.effective_ms - 1_000]
    assert before
    assert all(isinstance(said, Admitted) for said in before)  # and nothing that was allowed got lost
    assert not any(said is None for _, claim, said in verdicts if claim.hi_max < T0 + RUN_MS - 2_000)  # nothing waits for ever


def test_the_runs_include_capture_that_went_on_after_the_halt_because_nothing_was_heard(worlds: list[World]) -> None:
    """Else the runs above would be about nothing."""
    late = [sum(w.effective_ms <= true_ms < w.resume_ms for true_ms, _ in w.captured) for w in worlds]
    assert sum(count > 20 for count in late) >= 4
    assert any(true_ms > w.resume_ms and claim.epoch == 2 for w in worlds for true_ms, claim in w.captured)


@pytest.mark.parametrize("mutant", ["clock stops in sleep", "wall clock", "stamp without epoch", "effective in the past"])
def test_a_protocol_without_this_rule_leaks_on_the_same_network(home: Path, mutant: str) -> None:
    assert any(World(home, seed, mutant).run().leaks() for seed in SEEDS)


def test_without_a_lease_capture_does_not_end_and_the_fence_still_holds(home: Path) -> None:
    worlds = [World(home, seed, "no lease").run() for seed in range(8)]
    assert any(
        max((true_ms for true_ms, _ in w.captured if true_ms < w.resume_ms), default=0) >= w.effective_ms + LEASE_OVER_MS
        for w in worlds
    )
    assert sum(w.leaks() for w in worlds) == 0


def test_an_endpoint_that_ignores_orders_gets_nothing_past_the_fence(home: Path) -> None:
    worlds = [World(home, seed, "orders ignored").run() for seed in range(8)]
    assert any(w.effective_ms <= true_ms < w.resume_ms for w in worlds for true_ms, _ in w.captured)
    assert sum(w.leaks() for w in worlds) == 0


def test_an_endpoint_that_lies_about_the_time_gets_nothing_past_the_fence_that_the_broker_stamped_too_late(home: Path) -> None:
    """It ignores orders and lease and backdates by 20 s, and the network lets the fence lag (docs/adr/0006)."""
    worlds = [World(home, seed, "liar").run() for seed in range(8)]
    late = [
        (claim.hi_max < w.effective_ms, said)
        for w in worlds
        for _, claim, said in w.verdicts()
        if claim.epoch == 1 and claim.append_ms > w.effective_ms + SKEW_MS
    ]
    assert sum(backdated for backdated, _ in late) > 100
    assert {said.reason for _, said in late if isinstance(said, Refuses)} <= {"halted", "epoch-not-begun"}
    assert all(isinstance(said, Refuses) for _, said in late)


def test_the_same_seed_gives_the_same_run(home: Path, worlds: list[World]) -> None:
    again = World(home, 3).run()
    assert (again.captured, again.decided) == (worlds[3].captured, worlds[3].decided)


def test_one_officer_stops_everything_and_no_one_officer_starts_it_again(home: Path) -> None:
    knowledge = World(home, 0).at_endpoint
    alone = [read_signing_key(home / "officers" / "council-1.key")]
    knowledge.learn("control.halt.v1", trust.sign(Halt(SITE, Scope("global"), "capture", "why", "drop", T0, 1, "00"), alone))
    assert knowledge.orders("ep-a", "capture", 1)
    (halt_id,), state_now = knowledge.in_force(), knowledge.state
    assert state_now
    said = Beacon(SITE, state_now.epoch, knowledge.state_digest, T0 + 1, 1, 10_000, (Effective(halt_id, T0),))
    knowledge.learn("control.beacon.v1", trust.sign(said, [read_signing_key(home / "beacon" / "beacon.key")]))
    state = resume.next_state(knowledge, knowledge.in_force(), T0)
    with pytest.raises(Forged):
        knowledge.learn("control.state.v1", trust.sign(state, alone))
    assert knowledge.orders("ep-a", "capture", 1)
    assert load_envelope(trust.sign(state, alone)).payload_type == State.TYPE
