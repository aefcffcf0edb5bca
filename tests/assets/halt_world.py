"""The halt protocol under a virtual clock: a fleet, a beacon service, a fence and a board on the project's own cores.

What is real: `producers.window.step` for each endpoint and `control.beacon.step` for the service, with a memory that is stored
and read back, `Knowledge`, `admission.decide` behind `processors.fence`, `rollcall`, `resume`, and every signature of what is
told to all. This file only carries out what the cores say, as `producers.agent` and `control.beacon_main` do; it decides
nothing of the protocol. Made up: the network (late, lost, twice, out of order, replayed, slowed down), clocks that drift,
machines that sleep or crash, workers that outlive a kill, a broker, thieves. What one endpoint alone says or hears (requests,
grants, acks) goes unsigned: the forgery corpus is about those. The broker's own brake is left out, so that the fence is seen to
hold without it.

One seed is one run, and the same seed is the same run. `World.run().faults()` names what went wrong. Times are milliseconds
after T0 on the true clock, which the beacon service's is until somebody sets it. `Rules` holds what a mutant replaces.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import repeat
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byleave.control import beacon as service
from byleave.control import documents as d
from byleave.control import knowledge as knowing
from byleave.control import resume, rollcall, trust
from byleave.control.admission import SKEW_MS, Admitted, Claim, Refuses, Waits, decide
from byleave.control.halts import covers
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX, Permit
from byleave.core import dsse
from byleave.core.dsse import key_id, load_envelope
from byleave.core.errors import Broken, ByleaveError, Forged, Refused, Transient
from byleave.processors.fence import Fence
from byleave.producers import gate, window
from byleave.producers.gate import Answer, Permission, Switches

SITE, T0, DAY_MS = "sim.", 1_800_000_000_000, 86_400_000
CAPTURE_MS, DRAIN_MS = 60_000, 120_000
TURN_MS_MEAN = 1_500
STATE, HALT, BEACON, ROOT = "control.state.v1", "control.halt.v1", "control.beacon.v1", "control.root.v1"
AGREED = Switches()
REFUSALS = (Refused, Forged, Transient, Broken)
TEAMS = 4


@cache
def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")[:32])


def public(name: str) -> str:
    return key_id(key(name).public_key())


def sign(document: Any, *names: str) -> bytes:
    return trust.sign(document, [key(name) for name in names])


@contextmanager
def verified_once() -> Iterator[None]:
    """A thousand readers get the same bytes. What they say and whether they are signed are functions of the bytes and of the
    keys: here each is computed once."""
    pure = [(trust, "verify"), (trust, "verify_by"), (trust, "load_root"), (dsse, "load_envelope"), (knowing, "load")]
    own = [(module, name, getattr(module, name)) for module, name in pure]
    for module, name, function in own:
        setattr(module, name, _once(function))
    gc.disable()  # a fleet is large, and all of it is in use until the end
    try:
        yield
    finally:
        gc.enable()
        for module, name, function in own:
            setattr(module, name, function)


FOUND: dict[Any, tuple[Any, Any]] = {}
"""Kept from seed to seed: the documents of a fleet are the same in all."""


def _once(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Roots and keys are told apart by which they are: they are kept here, so that no other can take their place."""

    def remembered(*given: Any, **more: Any) -> Any:
        asked = (ask, *[_told_apart(one) if one.__class__ not in (bytes, str) else one for one in given])
        answer = FOUND.get(asked)
        if answer is None:
            try:
                answer = FOUND[asked] = (ask(*given, **more), given)
            except ByleaveError as error:
                answer = FOUND[asked] = (error, given)
        if answer[0].__class__ in REFUSALS:
            raise type(answer[0])(str(answer[0]), reason=answer[0].reason)
        return answer[0]

    return remembered


def _told_apart(given: Any) -> Any:
    return id(given) if isinstance(given, d.Root | type) else given.public_bytes_raw()


@dataclass(frozen=True)
class Site:
    """Documents of a fleet, signed once and used by every seed."""

    root: d.Root
    manifest: bytes
    state: bytes
    people: tuple[tuple[str, bytes, bytes], ...]
    """(endpoint, enrolment, consent)"""

    @property
    def manifest_digest(self) -> bytes:
        return bytes.fromhex(id_of(self.manifest))

    def knowledge(self, only: str = "", floor: int = 0, state: bytes | None = None) -> Knowledge:
        """What a reader knows from files and compacted topics. An endpoint knows of itself `only`."""
        found = Knowledge(self.root, SITE, floor)
        found.learn("control.manifest.v1", self.manifest)
        for endpoint, enrolment, consent in self.people:
            if only in ("", endpoint):
                found.learn("control.enrolment.v1", enrolment)
                found.learn("control.consent.v1", consent)
        if state is not None:
            found.learn(STATE, state)
        return found


@lru_cache(1_000)
def id_of(signed: bytes) -> str:
    return d.digest(load_envelope(signed).body)


@cache
def site(size: int) -> Site:
    officers = tuple(public(name) for name in ("officer-1", "officer-2", "officer-3"))
    roles = (
        d.Role("root", officers, ("security", "privacy", "council"), 2, 2),
        d.Role("halt", officers, ("security", "privacy", "council"), 1, 1),
        d.Role("resume", officers, ("security", "privacy", "council"), 2, 2),
        d.Role("manifest", officers, ("security", "privacy", "council"), 2, 2),
        d.Role("enrol", (public("enrol"),), ("people",), 1, 1),
        d.Role("beacon", (public("beacon"),), ("service",), 1, 1),
    )
    root = d.Root(SITE, 1, T0 + 365 * DAY_MS, roles)
    manifest = d.Manifest(SITE, "sim", ("key",), ("editor",), (), ("train",), (), 30, "dpia", "none", T0, T0 + 20 * DAY_MS)
    signed = sign(manifest, "officer-1", "officer-2")
    run = d.Run(d.Scope("global"), id_of(signed), "k1", "00" * 32)
    state = d.State(SITE, 1, "", 1, T0, T0 + 10 * DAY_MS, (run,), ())
    people = []
    for n in range(size):
        name, person = f"ep-{n}", f"person-{n}"
        enrolled = d.Enrolment(SITE, name, public(name), person, public(person), f"team-{n % TEAMS}", T0 + 30 * DAY_MS)
        consent = d.Consent(SITE, person, run.manifest, given=True, at_ms=T0)
        people.append((name, sign(enrolled, "enrol"), sign(consent, person)))
    return Site(root, signed, sign(state, "officer-1", "officer-2"), tuple(people))


# -- what a mutant replaces -------------------------------------------------------------------------------------------


def _reaped(killed: bool) -> bool:
    return killed


@dataclass(frozen=True)
class Rules:
    """The places where a weakened protocol differs. Each default is the product's own rule and nothing else.

    `permit`, `gate` and `accept` stand in for a function of the product while a world runs; the others for what a driver does.
    """

    boot_ms: Callable[[int, int], int] = lambda boot_ms, _slept_ms: boot_ms
    permit: Callable[[Permit, int, int], Permit] | None = None
    gate: Callable[[Permission, int], Permission] | None = None
    accept: Callable[..., service.Memory] | None = None
    decide: Callable[[Claim, Knowledge], Admitted | Waits | Refuses] = decide
    reaped: Callable[[bool], bool] = _reaped
    purged: bool = True
    kept: bool = True


def _no_lease(permission: Permission, _: int) -> Permission:
    return replace(permission, answer=Answer.CAPTURE) if permission.answer is Answer.STALE and permission.run else permission


def _lease_from_receipt(permission: Permission, since_beacon_ms: int) -> Permission:
    return _no_lease(permission, 0) if since_beacon_ms < LEASE_MS_MAX else permission


def _future_believed(permission: Permission, _: int) -> Permission:
    return replace(permission, answer=Answer.CAPTURE) if permission.answer is Answer.OVER and permission.run else permission


def _flag(claim: Claim, knowledge: Knowledge) -> Admitted | Refuses:
    return Refuses("halted") if knowledge.orders(claim.endpoint, "capture", claim.epoch) else Admitted(0)


def _no_epoch(claim: Claim, knowledge: Knowledge) -> Admitted | Waits | Refuses:
    return decide(replace(claim, epoch=knowledge.state.epoch if knowledge.state else 1), knowledge)


ACCEPT = service.accept


def _when_issued(memory: service.Memory, halt_id: str, halt: d.Halt, *when: int, **kind: Any) -> service.Memory:
    found = ACCEPT(memory, halt_id, halt, *when, **kind)
    return found if found is memory else replace(found, effective={**found.effective, halt_id: halt.issued_ms})


def _one_epoch() -> Rules:
    newest: dict[int, int] = {}

    def rule(claim: Claim, knowledge: Knowledge) -> Admitted | Waits | Refuses:
        beacon, said = knowledge.beacon, decide(claim, knowledge)
        if beacon is not None:
            newest[beacon.epoch] = max(beacon.service_ms, newest.get(beacon.epoch, 0))
        covered = newest.get(claim.epoch, 0) >= max(claim.hi_max, claim.append_ms - SKEW_MS)
        return said if covered or not isinstance(said, Admitted) else Waits("uncovered")

    return Rules(decide=rule)


MUTANTS: dict[str, tuple[Callable[[], Rules], str]] = {
    "no lease": (lambda: Rules(gate=_no_lease), "lease"),
    "wall clock": (lambda: Rules(permit=lambda p, wall, boot: replace(p, service_ms=wall, request_boot_ms=boot)), "leak"),
    "clock that stops in sleep": (lambda: Rules(boot_ms=lambda boot, slept: boot - slept), "lease"),
    "flag at the processor": (lambda: Rules(decide=_flag), "leak"),
    "stamp without epoch": (lambda: Rules(decide=_no_epoch), "leak"),
    "effective when issued, not after the last beacon": (lambda: Rules(accept=_when_issued), "leak"),
    "grant counted from its receipt": (lambda: Rules(permit=lambda p, _, boot: replace(p, request_boot_ms=boot)), "leak"),
    "lease counted from the beacon's receipt": (lambda: Rules(gate=_lease_from_receipt), "lease"),
    "beacon of one epoch only": (_one_epoch, "stall"),
    "a beacon from the future believed": (lambda: Rules(gate=_future_believed), "lease"),
    "acknowledged before the worker is reaped": (lambda: Rules(reaped=lambda _: True), "ack"),
    "queue flushed, not purged": (lambda: Rules(purged=False), "sent"),
    "said before it is remembered": (lambda: Rules(kept=False), "leak"),
}
"""Name -> (the weakened rules, the property that must be seen to break)."""


# -- the world --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Endpoint:
    """One machine: what it knows, its clocks, its troubles, its spool, what its Kafka client still holds."""

    name: str
    team: str
    knowledge: Knowledge
    window: window.RunWindow
    boot_zero_ms: int
    drift_ppm: int
    wall_off_ms: int
    deaf: bool = False
    """Orders never reach it; beacons may."""
    line_ms: int = 0
    """What everything takes longer on the way to it."""
    slow_ms: int = 0
    """From then on somebody on its line lets beacons through six times slower than they were said."""
    cut: tuple[int, int] = (0, 0)
    asleep: tuple[int, int] = (0, 0)
    down: tuple[int, int] = (0, 0)
    tough_ms: int = 0
    """How long its worker outlives a kill."""
    runs_until_ms: int = 0
    boot_at: tuple[int, int] = (-1, 0)
    """The true time, and what its boot clock reads then."""
    caught_up: bool = True
    restarted: bool = False
    mail: list[tuple[int, int, str, bytes]] = field(default_factory=list)
    state_due_ms: int = 0
    spool: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    nonce: int = 0
    worker: bool = False
    stopped_ms: int = 10 * DAY_MS
    """Since when, after an order was obeyed, nothing may leave it."""

    def blocked(self, now_ms: int) -> bool:
        return self.cut[0] <= now_ms < self.cut[1] or self.frozen(now_ms)

    def frozen(self, now_ms: int) -> bool:
        return self.asleep[0] <= now_ms < self.asleep[1] or self.down[0] <= now_ms < self.down[1]

    def free_ms(self, now_ms: int) -> int:
        return max((end for start, end in (self.cut, self.asleep, self.down) if start <= now_ms < end), default=now_ms)

    def true_boot_ms(self, now_ms: int) -> int:
        return self.boot_zero_ms + now_ms * (1_000_000 + self.drift_ppm) // 1_000_000

    def slept_ms(self, now_ms: int) -> int:
        return max(0, min(now_ms, self.asleep[1]) - self.asleep[0])


@dataclass(frozen=True, slots=True)
class Captured:
    """An event: who, the true time, and what its batch will claim."""

    endpoint: str
    at_ms: int
    hi_ms: int
    epoch: int


@dataclass(slots=True)
class Order:
    """An order and its truth: when it was accepted, from when it counts, when the state that lifts it was signed."""

    halt: d.Halt
    signed: bytes
    append_ms: int
    accepted_ms: int | None = None
    effective_ms: int | None = None
    lifted_ms: int = 10 * DAY_MS
    lift_epoch: int = 2**62

    def forbids(self, at_ms: int) -> bool:
        """By the true time: a service whose clock was set back counts from an earlier T, which it has not reached again."""
        if self.accepted_ms is None or self.effective_ms is None:
            return False
        return max(self.accepted_ms, self.effective_ms) <= at_ms < self.lifted_ms


class World:
    """One seed. `thief` is "", "beacon" or "officer": who has that key from the first order on."""

    def __init__(self, seed: int, size: int, rules: Rules | None = None, thief: str | None = None, ahead_ms: int = 0) -> None:
        self.chance = chance = random.Random(seed)
        self.seed, self.rules, self.site = seed, rules or Rules(), site(size)
        self.thief = chance.choice(("", "", "", "beacon", "officer")) if thief is None else thief
        self.stolen_ms = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._n = 0
        self.now_ms = 0
        self.halt_ms = chance.randrange(12_000, 25_000)
        self.service_knows, self.service = self.site.knowledge(state=self.site.state), service.Service()
        self.desk = self.site.knowledge(state=self.site.state)
        self.disk = service.dump(service.Memory())
        self.service_down = self._span(0.25, 500, 6_000)
        self.set_back_ms = chance.randrange(1_000, 30_000) if chance.random() < 0.2 else 0
        if ahead_ms:
            self.set_back_ms, self.service_down = -ahead_ms, (self.halt_ms - 8_000, self.halt_ms - 7_000)
        self.fence_knowledge = self.site.knowledge(state=self.site.state)
        self.fence_down = self._span(0.4, 500, 20_000)
        self.fence: Fence[str, tuple[int, int]] = Fence()
        self.fence_due_ms = Counter[str]()
        self.fence_halt_lag_ms = chance.randrange(4_000) if chance.random() < 0.4 else 0
        self.broker_off_ms = chance.randrange(-400, 400)
        self.states, self.orders = [self.site.state], dict[str, Order]()
        self.captured: list[Captured] = []
        self.appended: dict[tuple[int, int], int] = {}
        self.decided: dict[tuple[int, int], Admitted | Refuses] = {}
        self.acks: list[d.Ack] = []
        self.lies: list[str] = []
        self.boards: list[tuple[int, rollcall.Board]] = []
        self.refused_documents: Counter[str] = Counter()
        self._orders_of: dict[str, list[Order]] = {}
        self.endpoints = [self._endpoint(name, n) for n, (name, _, _) in enumerate(self.site.people)]
        self._plan()

    def run(self) -> World:
        with self._weakened():
            while self._queue:
                self.now_ms, _, act, arguments = heapq.heappop(self._queue)
                act(*arguments)
        return self

    @contextmanager
    def _weakened(self) -> Iterator[None]:
        """The product with a mutant's rule in the place of its own."""
        rules, decided, accepted = self.rules, gate.decide, gate.accept

        def weak_decide(*known: Any, boot_ms: int, **more: Any) -> Permission:
            said = decided(*known, boot_ms=boot_ms, **more)
            return rules.gate(said, boot_ms - self.acting.window.beacon_ms) if rules.gate else said

        def weak_accept(grant: d.Grant, *, boot_ms: int, **more: Any) -> Permit | None:
            permit = accepted(grant, boot_ms=boot_ms, **more)
            wall_ms = T0 + self.now_ms + self.acting.wall_off_ms
            return rules.permit(permit, wall_ms, boot_ms) if rules.permit and permit else permit

        gate.decide = weak_decide if rules.gate else decided
        gate.accept = weak_accept if rules.permit else accepted
        service.accept = rules.accept or ACCEPT
        try:
            yield
        finally:
            gate.decide, gate.accept, service.accept = decided, accepted, ACCEPT

    def at(self, at_ms: int, act: Callable[..., None], *arguments: Any) -> None:
        self._n += 1
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), self._n, act, arguments))

    def delay_ms(self) -> int:
        return int(self.chance.expovariate(1 / 50)) + 1 if self.chance.random() < 0.97 else self.chance.randrange(20_000)

    def _span(self, probability: float, low_ms: int, high_ms: int) -> tuple[int, int]:
        """A trouble, most often one that is on when the order comes."""
        if self.chance.random() >= probability:
            return (0, 0)
        start_ms = self.halt_ms + self.chance.randrange(-12_000, 20_000 if self.chance.random() < 0.3 else 1_000)
        return (max(1, start_ms), max(1, start_ms) + self.chance.randrange(low_ms, high_ms))

    def _endpoint(self, name: str, n: int) -> Endpoint:
        chance = self.chance
        made = Endpoint(
            name, f"team-{n % TEAMS}", self.site.knowledge(only=name, state=self.site.state), window.RunWindow(name),
            chance.randrange(10**6, 10**9), chance.randrange(-240, 240), int(chance.gauss(0, 30_000)), chance.random() < 0.1,
        )  # fmt: skip
        made.line_ms = chance.randrange(300, 1_300) if chance.random() < 0.25 else 0
        made.tough_ms = chance.randrange(1, 4_000) if chance.random() < 0.05 else 0
        dice = chance.random()
        if dice < 0.2:
            made.cut = self._span(1, 1_000, 40_000)
        elif dice < 0.4:
            made.asleep = self._span(1, 2_000, 40_000)
            made.cut = (made.asleep[1], made.asleep[1] + chance.randrange(5_000))  # it wakes before its line does
        elif dice < 0.5:
            made.down = self._span(1, 500, 10_000)
        elif dice < 0.55:
            made.deaf, made.slow_ms = True, self.halt_ms - chance.randrange(1, 10_000)
        self.at(chance.randrange(2_000), self._turns, made)
        return made

    def _plan(self) -> None:
        chance = self.chance
        halt_ms = self.halt_ms
        scope = d.Scope("global") if chance.random() < 0.7 else d.Scope("team", "team-0")
        self.at(halt_ms, self._order, scope, "capture", 1)
        resume_ms = halt_ms + chance.choice((1_500, 4_000, 15_000, 30_000))
        self.at(resume_ms, self._next_state, True)
        for _ in range(2):  # renewals, and orders for others
            self.at(chance.randrange(5_000, 50_000), self._next_state, False)
        self.at(chance.randrange(8_000, 50_000), self._order, d.Scope("team", "team-3"), "capture", 2)
        self.at(chance.randrange(8_000, resume_ms), self._order, d.Scope("endpoint", "ep-1"), "processing", 3)
        self.at(CAPTURE_MS, self._next_state, True)
        self.at(0, self._ticks)
        if self.service_down[1]:
            self.at(self.service_down[0], self._service_crashes)

    # -- the service and the officers ---------------------------------------------------------------------------------

    def _serving(self) -> bool:
        return not self.service_down[0] <= self.now_ms < self.service_down[1]

    def _wall_ms(self) -> int:
        """The service's wall clock: right, until a restart sets it back for good, or ahead where a test asks for that."""
        back = self.set_back_ms if self.service_down[1] and self.now_ms >= self.service_down[1] else 0
        return T0 + self.now_ms - back

    def _ticks(self) -> None:
        """A Tick whenever a beacon may be due."""
        if self.now_ms > CAPTURE_MS + DRAIN_MS:
            return
        if self._serving():
            self._service_does(service.Tick(True))
        due_ms = self.now_ms + self.service.due_ms - self._wall_ms()
        self.at(max(self.now_ms + 20, due_ms if self._serving() else self.service_down[1] + 1), self._ticks)

    def _service_crashes(self) -> None:
        """In a beacon, anywhere in what it was to do; it comes back with what is on its disk and on the topics."""
        due = replace(self.service, due_ms=0)
        _, outputs = service.step(due, self.service_knows, service.Tick(True), self._wall_ms())
        for output in outputs[: self.chance.randrange(len(outputs) + 1)]:
            self._service_carries_out(output)
        self.at(self.service_down[1], self._service_returns)

    def _service_returns(self) -> None:
        self.service = service.Service(service.load(self.disk))
        self.service_knows = self.site.knowledge(state=self.states[-1])
        for halt_id, order in self.orders.items():
            self.service_knows.learn(HALT, order.signed)
            self._service_does(service.Heard(order.halt, halt_id, order.append_ms, b""))

    def _service_does(self, given: service.Input) -> None:
        self.service, outputs = service.step(self.service, self.service_knows, given, self._wall_ms())
        for output in outputs:
            self._service_carries_out(output)

    def _service_carries_out(self, output: service.Output) -> None:
        match output:
            case service.Remember():
                self.disk = service.dump(output.memory) if self.rules.kept else self.disk
                for halt_id, effective_ms in output.memory.effective.items():
                    if self.orders[halt_id].accepted_ms is None:
                        self._accepted(halt_id, effective_ms)
            case service.Say("control.beacon.v1", _, beacon):
                signed = sign(beacon, "beacon")
                self.service_knows.learn(BEACON, signed)
                self._hears(self.desk, BEACON, signed)
                self._tell_all(BEACON, signed)
            case service.Say(_, nonce, grant):
                endpoint = self.endpoints[int(nonce.split("/")[0])]
                self.at(self.now_ms + self.delay_ms() + endpoint.line_ms, self._granted, endpoint, grant)
                if self.chance.random() < 0.05:  # a replay, long after
                    self.at(self.now_ms + self.chance.randrange(5_000, 30_000), self._granted, endpoint, grant)

    def _accepted(self, halt_id: str, effective_ms: int) -> None:
        order = self.orders[halt_id]
        order.accepted_ms, order.effective_ms = self.now_ms, effective_ms - T0
        for after_ms in (1_000, 5_000, rollcall.LEASE_OVER_MS):
            if order.halt.what == "capture":
                self.at(self.now_ms + after_ms, self._board, halt_id)

    def _order(self, scope: d.Scope, what: str, number: int) -> None:
        order = d.Halt(SITE, scope, what, "sim", self.chance.choice(("drop", "seal")), T0 + self.now_ms, 600_000, str(number))
        signed = sign(order, self.chance.choice(("officer-1", "officer-2", "officer-3")))
        self.orders[id_of(signed)] = Order(order, signed, T0 + self.now_ms)
        self.desk.learn(HALT, signed)
        self._tell_all(HALT, signed)
        self.at(self.now_ms + self.chance.randrange(1, 1_500), self._service_hears, signed)
        if self.thief and number == 1:
            self.at(self.now_ms, self._steals, 0)

    def _service_hears(self, signed: bytes) -> None:
        if not self._serving():
            self.at(self.service_down[1] + 1, self._service_hears, signed)
            return
        halt_id, order = id_of(signed), self.orders[id_of(signed)]
        self.service_knows.learn(HALT, signed)
        self._service_does(service.Heard(order.halt, halt_id, order.append_ms, b""))
        self._service_does(service.Tick(True))

    def _board(self, halt_id: str) -> None:
        """The service's clock has reached this time if the wall clock was not set back; then the board has to say less."""
        service_ms = service.service_ms(self.service.memory, self._wall_ms())
        self.boards.append((self.now_ms, rollcall.call(self.desk, halt_id, self.acks, service_ms)))

    def _next_state(self, lift: bool) -> None:
        """k of n renew the state, or resume: `lift` takes back all but the orders for team-3."""
        accepted = all(self.desk.effective_ms(halt_id) is not None for halt_id in self.desk.in_force())
        if not self._serving() or not accepted:
            self.at(self.now_ms + 500, self._next_state, lift)
            return
        lifts = [i for i in self.desk.in_force() if self.orders[i].halt.scope.name != "team-3"] if lift else []
        made = resume.next_state(self.desk, lifts, T0 + self.now_ms)
        for halt_id in lifts:
            self.orders[halt_id].lifted_ms, self.orders[halt_id].lift_epoch = self.now_ms, made.epoch
        signed = sign(made, *self.chance.sample(("officer-1", "officer-2", "officer-3"), 2))
        self.states.append(signed)
        for reader in (self.desk, self.service_knows):
            reader.learn(STATE, signed)
        self._tell_all(STATE, signed)
        self._service_does(service.Heard(made, id_of(signed), T0 + self.now_ms, b""))
        self._service_does(service.Tick(True))

    # -- the network --------------------------------------------------------------------------------------------------

    def _tell_all(self, topic: str, value: bytes, *, fence: bool = True) -> None:
        if self.now_ms < CAPTURE_MS:
            for endpoint in self.endpoints:
                self._tell(endpoint, topic, value)
        if fence:
            due_ms = self.now_ms + self.delay_ms() + (self.fence_halt_lag_ms if topic == HALT else 0)
            due_ms = self.fence_due_ms[topic] = max(due_ms, self.fence_due_ms[topic] + 1)  # a topic is read in its order
            self.at(due_ms, self._fence_hears, topic, value)

    def _tell(self, endpoint: Endpoint, topic: str, value: bytes) -> None:
        """Beacons get lost, come twice and late; orders get lost for the deaf; states come late, in their order."""
        chance, due_ms = self.chance, self.now_ms + self.delay_ms() + endpoint.line_ms
        if topic == STATE:
            due_ms = endpoint.state_due_ms = max(due_ms, endpoint.state_due_ms + 1)
        elif (topic == HALT and endpoint.deaf) or (topic == BEACON and chance.random() < 0.02):
            return
        if topic == BEACON and endpoint.slow_ms and self.now_ms > endpoint.slow_ms:
            due_ms += 5 * (self.now_ms - endpoint.slow_ms)
        self._post(endpoint, due_ms, topic, value)
        if chance.random() < 0.02:
            self._post(endpoint, due_ms + chance.randrange(100, 40_000), topic, value)

    def _post(self, endpoint: Endpoint, due_ms: int, topic: str, value: bytes) -> None:
        self._n += 1
        heapq.heappush(endpoint.mail, (due_ms, self._n, topic, value))
        if topic == HALT:
            self.at(due_ms, self._turn, endpoint)

    def _hears(self, knowledge: Knowledge, topic: str, value: bytes) -> Any:
        try:
            return knowledge.learn(topic, value)
        except ByleaveError as error:
            self.refused_documents[error.reason] += 1
            return None

    # -- an endpoint --------------------------------------------------------------------------------------------------

    def _turns(self, endpoint: Endpoint) -> None:
        self._turn(endpoint)
        if self.now_ms < CAPTURE_MS:
            self.at(self.now_ms + int(self.chance.expovariate(1 / TURN_MS_MEAN)) + 1, self._turns, endpoint)

    def _boot_ms(self, endpoint: Endpoint) -> int:
        if endpoint.boot_at[0] != self.now_ms:
            boot_ms = self.rules.boot_ms(endpoint.true_boot_ms(self.now_ms), endpoint.slept_ms(self.now_ms))
            endpoint.boot_at = (self.now_ms, boot_ms)
        return endpoint.boot_at[1]

    def _does(self, endpoint: Endpoint, given: window.Input) -> None:
        """As the agent: all outputs in order, then what became of them."""
        self.acting, waiting = endpoint, [given]
        while waiting:
            boot_ms = self._boot_ms(endpoint)
            after, outputs = window.step(endpoint.window, endpoint.knowledge, waiting.pop(), boot_ms)
            for output in outputs:
                answer = self._carries_out(endpoint, output)
                if answer is not None:
                    waiting.append(answer)
            endpoint.window = after

    def _carries_out(self, endpoint: Endpoint, output: window.Output) -> window.Input | None:
        now_ms = self.now_ms
        match output:
            case window.Open():
                endpoint.worker, endpoint.stopped_ms = True, 10 * DAY_MS
            case window.Kill():
                if endpoint.worker:
                    endpoint.worker, endpoint.runs_until_ms = False, now_ms + endpoint.tough_ms
                return window.Reaped(self.rules.reaped(now_ms >= endpoint.runs_until_ms))
            case window.ThrowAway() if self.rules.purged:
                endpoint.spool, endpoint.queue = endpoint.queue + endpoint.spool, []
            case window.Dispose():
                endpoint.spool = []
            case window.Acknowledge():
                if now_ms < endpoint.runs_until_ms:
                    self.lies.append(f"ack: {endpoint.name} at {now_ms}, its worker runs until {endpoint.runs_until_ms}")
                endpoint.stopped_ms = now_ms
                when = (output.epoch, output.seen_ms, output.stopped_ms)
                ack = d.Ack(SITE, endpoint.name, "", output.halt_id, *when, True, 0, 0, "dropped", "")
                self.at(endpoint.free_ms(now_ms) + self.delay_ms(), self._acknowledged, ack)
            case window.Ask():
                if not endpoint.blocked(now_ms):
                    self.at(now_ms + self.delay_ms(), self._asked, output.request)
        return None

    def _turn(self, endpoint: Endpoint) -> None:
        """As the agent's process: read, let the core decide, capture while a window is open, send."""
        now_ms = self.now_ms
        if endpoint.down[1] and now_ms >= endpoint.down[0] and not endpoint.restarted:
            self._restart(endpoint)
        if endpoint.frozen(now_ms):
            return
        self._read(endpoint)
        self._does(endpoint, window.Tick(AGREED, endpoint.caught_up, self._nonce(endpoint)))
        session = endpoint.window.session
        if session is not None:
            endpoint.spool.append(len(self.captured))
            hi_ms = window.service_ms(endpoint.window, endpoint.knowledge, self._boot_ms(endpoint))
            self.captured.append(Captured(endpoint.name, now_ms, hi_ms, session.epoch))
        if endpoint.spool and not endpoint.blocked(now_ms) and endpoint.window.answer not in window.CLOSED:
            self._send(endpoint)

    def _nonce(self, endpoint: Endpoint) -> str:
        endpoint.nonce += 1
        return f"{endpoint.name[3:]}/{endpoint.nonce}"

    def _read(self, endpoint: Endpoint) -> None:
        if endpoint.blocked(self.now_ms):
            return
        while endpoint.mail and endpoint.mail[0][0] <= self.now_ms:
            _, _, topic, value = heapq.heappop(endpoint.mail)
            document = self._hears(endpoint.knowledge, topic, value)
            if document is not None:
                self._does(endpoint, window.Heard(document))

    def _restart(self, endpoint: Endpoint) -> None:
        """The process dies; its spool and its floor stay. What stands on the compacted topics is read again, later."""
        endpoint.restarted, endpoint.caught_up, endpoint.worker = True, False, False
        endpoint.runs_until_ms = 0  # the kernel ends a worker with its parent
        endpoint.knowledge = self.site.knowledge(only=endpoint.name, floor=endpoint.knowledge.epoch_floor)
        endpoint.window = window.RunWindow(endpoint.name)
        endpoint.spool, endpoint.queue = endpoint.queue + endpoint.spool, []
        self.at(endpoint.down[1] + self.delay_ms(), self._reread, endpoint)

    def _reread(self, endpoint: Endpoint) -> None:
        if endpoint.blocked(self.now_ms):
            self.at(endpoint.free_ms(self.now_ms), self._reread, endpoint)
            return
        endpoint.mail = [item for item in endpoint.mail if item[2] != STATE]
        heapq.heapify(endpoint.mail)
        endpoint.state_due_ms = self.now_ms
        for topic, value in [(STATE, self.states[-1]), *((HALT, order.signed) for order in self.orders.values())]:
            document = self._hears(endpoint.knowledge, topic, value)
            if document is not None:
                self._does(endpoint, window.Heard(document))
        endpoint.caught_up = True

    def _asked(self, request: d.Request) -> None:
        if self._serving():
            name = d.digest(d.dump(request))
            self._service_does(service.Heard(request, name, T0 + self.now_ms, self.chance.randbytes(16)))

    def _granted(self, endpoint: Endpoint, grant: d.Grant) -> None:
        if not endpoint.blocked(self.now_ms):
            self._does(endpoint, window.Heard(grant))

    def _acknowledged(self, ack: d.Ack) -> None:
        self.acks.append(ack)
        if self._serving():
            self._service_does(service.Heard(ack, "", T0 + self.now_ms, b""))

    def _send(self, endpoint: Endpoint) -> None:
        """First in, first out; now and then the client is slow, or the line, and now and then a batch is sent twice."""
        if self.chance.random() < 0.1:
            return
        endpoint.queue += endpoint.spool
        endpoint.spool = []
        if self.chance.random() < 0.9:
            self._leaves(endpoint)
        else:
            self.at(self.now_ms + self.chance.randrange(3_000), self._leaves, endpoint)

    def _leaves(self, endpoint: Endpoint) -> None:
        """What a client held is on the wire: nobody takes it back any more."""
        if endpoint.blocked(self.now_ms) or not endpoint.queue:
            return
        sent, endpoint.queue = endpoint.queue, []
        if self.now_ms > endpoint.stopped_ms:
            self.lies.append(f"sent: {len(sent)} left {endpoint.name} at {self.now_ms}, it stopped at {endpoint.stopped_ms}")
        due_ms = self.now_ms + self.delay_ms()
        self.at(due_ms, self._append, sent, 0)
        again = [n for n in sent if self.chance.random() < 0.02]
        if again:
            self.at(due_ms + self.chance.randrange(30_000), self._append, again, 1)

    # -- the fence ----------------------------------------------------------------------------------------------------

    def _append(self, sent: list[int], copy: int) -> None:
        for n in sent:
            self.appended[n, copy] = T0 + self.now_ms + self.broker_off_ms
        self.at(self.now_ms + int(self.chance.expovariate(1 / 100)), self._arrives, sent, copy)

    def _fence_up(self) -> bool:
        return not self.fence_down[0] <= self.now_ms < self.fence_down[1]

    def _arrives(self, sent: list[int], copy: int) -> None:
        for n in sent:
            self.fence.offer(self.captured[n].endpoint, n, (n, copy))
        self._decide()

    def _fence_hears(self, topic: str, value: bytes) -> None:
        if not self._fence_up():
            self.at(self.fence_down[1], self._fence_hears, topic, value)  # in the order in which they stand
            return
        self._hears(self.fence_knowledge, topic, value)
        self.fence.wake()
        self._decide()

    def _decide(self) -> None:
        if not self._fence_up():
            return
        for endpoint, item in self.fence.due():
            event = self.captured[item[0]]
            claim = Claim(endpoint, b"", event.epoch, event.hi_ms, self.appended[item], self.site.manifest_digest)
            said = self.rules.decide(claim, self.fence_knowledge)
            if isinstance(said, Waits):
                self.fence.waits(endpoint)
            else:
                self.decided[item] = said
                self.fence.passed(endpoint)

    # -- thieves ------------------------------------------------------------------------------------------------------

    def _steals(self, n: int) -> None:
        """With the beacon's key: vouch to endpoints that nothing is ordered. With an officer's: all that one alone may not."""
        state = self.desk.state
        assert state is not None
        if self.thief == "beacon":
            ahead_ms = self.chance.choice((0, 0, 300, 20_000))
            self.stolen_ms = max(self.stolen_ms, self.now_ms + ahead_ms)
            forged = d.Beacon(SITE, state.epoch, self.desk.state_digest, T0 + self.now_ms + ahead_ms, n, 3_600_000, ())
            self._tell_all(BEACON, sign(forged, "beacon"), fence=False)
        else:
            known = [i for i in self.desk.in_force() if self.desk.effective_ms(i) is not None]
            alone = resume.next_state(self.desk, known, T0 + self.now_ms)
            self._tell_all(STATE, sign(alone, "officer-1"))
            self._tell_all(STATE, sign(alone, "officer-1", "beacon"))
            self._tell_all(ROOT, sign(replace(self.site.root, version=2), "officer-1"))
            vouched = d.Beacon(SITE, state.epoch + 1, "00" * 32, T0 + self.now_ms + 60_000, n, 10_000, ())
            self._tell_all(BEACON, sign(vouched, "officer-1"))
        if n < 10:
            self.at(self.now_ms + 1_000, self._steals, n + 1)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """What went wrong, each line headed by the property: leak, lease, board, stall, lost, ack, sent."""
        return [*self.lies, *self._leaks(), *self._overruns(), *self._boards_that_lie(), *self._stalls(), *self._losses()]

    def _about(self, endpoint: str) -> list[Order]:
        """Orders that stop capture at an endpoint."""
        if endpoint not in self._orders_of:
            enrolment = self.desk.enrolments[endpoint]
            orders = [order for order in self.orders.values() if order.halt.what == "capture"]
            self._orders_of[endpoint] = [o for o in orders if covers(o.halt.scope, SITE, endpoint, enrolment)]
        return self._orders_of[endpoint]

    def _leaks(self) -> Iterator[str]:
        """Admitted although captured at or after the effective time of an order and before k of n lifted it."""
        for (n, _), said in self.decided.items():
            event = self.captured[n]
            if isinstance(said, Admitted):
                for order in self._about(event.endpoint):
                    stamped_in = order.effective_ms is not None and event.hi_ms >= T0 + order.effective_ms
                    if order.forbids(event.at_ms) or (stamped_in and event.epoch < order.lift_epoch):
                        yield f"leak: {event} admitted, order effective {order.effective_ms}"

    def _overruns(self) -> Iterator[str]:
        """Captured a lease or more after an order was accepted, heard of or not; or after the last time a thief named:
        what he dated ahead and held back is fresh when its time comes."""
        for event in self.captured:
            for order in self._about(event.endpoint):
                end_ms = max(order.accepted_ms or 10 * DAY_MS, self.stolen_ms) + LEASE_MS_MAX
                if end_ms <= event.at_ms < order.lifted_ms:
                    yield f"lease: {event}, order accepted {order.accepted_ms}"

    def _boards_that_lie(self) -> Iterator[str]:
        """UNKNOWN is left at lease + 1 s, or one who is said to have stopped captured after that, while the order stood."""
        last: dict[str, list[int]] = {}
        for event in self.captured:
            last.setdefault(event.endpoint, []).append(event.at_ms)
        for at_ms, board in self.boards:
            order = self.orders[board.halt_id]
            over_ms = (order.effective_ms or 0) + rollcall.LEASE_OVER_MS
            reached = order.effective_ms is not None and self.set_back_ms == 0 and at_ms >= over_ms
            if reached and not board.settled:
                yield f"board: {board.sentence} at {at_ms}, order effective {order.effective_ms}"
            for row in board.rows:
                stopped = row.standing is not rollcall.Standing.UNKNOWN and self.thief != "beacon"
                after = [t for t in last.get(row.endpoint, ()) if at_ms <= t < order.lifted_ms]
                if stopped and after:
                    yield f"board: {row.endpoint} {row.standing} at {at_ms}, captured at {after[0]}"

    def _stalls(self) -> Iterator[str]:
        """Long after the last event every record has arrived, and nothing waits."""
        if len(self.fence):
            self.fence.wake()
            _, item = next(iter(self.fence.due()))
            yield f"stall: {len(self.fence)} wait at the end, {self.captured[item[0]]} among them"

    def _losses(self) -> Iterator[str]:
        """Refused although no order stops it: neither by the capture's time nor by the broker's stamp."""
        for item, said in self.decided.items():
            event, append_ms = self.captured[item[0]], self.appended[item] - T0
            if isinstance(said, Refuses):
                ends = [order.effective_ms for order in self._about(event.endpoint) if event.epoch < order.lift_epoch]
                why = any(end is not None and (event.hi_ms - T0 >= end or append_ms > end + SKEW_MS) for end in ends)
                if said.reason != "halted" or not why:
                    yield f"lost: {event} refused {said.reason}, appended {append_ms}"

    def counts(self) -> Counter[str]:
        """What a run was about: a run without late capture, waiting or refusals proves nothing."""
        said = Counter("admitted" if isinstance(a, Admitted) else "refused" for a in self.decided.values())
        late = sum(any(order.forbids(event.at_ms) for order in self._about(event.endpoint)) for event in self.captured)
        late_sent = sum(
            any(order.forbids(self.captured[n].at_ms) for order in self._about(self.captured[n].endpoint))
            for n, _ in self.appended
        )
        resumed = sum(
            event.epoch > 1 and event.at_ms > order.lifted_ms for event in self.captured for order in self.orders.values()
        )
        return said + Counter(captured=len(self.captured), late=late, late_sent=late_sent, resumed=resumed, acks=len(self.acks),
                              seeds=1, thefts=bool(self.thief), set_back=bool(self.set_back_ms))  # fmt: skip


# -- many seeds -------------------------------------------------------------------------------------------------------


def one(seed: int, size: int) -> tuple[int, list[str], Counter[str]]:
    """A seed on its own: what a process of the pool does, and what a replay does."""
    with verified_once():
        world = World(seed, size).run()
        told = seed, world.faults(), world.counts()
    del world
    gc.collect()
    return told


def killed_by(mutant: str, seeds: range, size: int) -> int | None:
    """The first seed in which the property that a mutant weakens is seen to break."""
    make, kind = MUTANTS[mutant]
    ahead_ms = 60_000 if mutant == "a beacon from the future believed" else 0
    with verified_once():
        for seed in seeds:
            world = World(seed, size, make(), thief="", ahead_ms=ahead_ms).run()
            if any(fault.startswith(kind) for fault in world.faults()):
                return seed
    return None


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Runs seeds on all cores; 0 if none shows a fault, else 1, with the first failing seed and how to run it again."""
    parser = argparse.ArgumentParser(description="The halt protocol in many seeded runs.")
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--endpoints", type=int, default=1_000)
    asked = parser.parse_args(arguments)
    total, failed, started_s = Counter[str](), list[int](), time.monotonic()
    seeds = range(asked.first, asked.first + asked.seeds)
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, asked.seeds)) as pool:
        for done, (seed, faults, counts) in enumerate(pool.map(one, seeds, repeat(asked.endpoints)), 1):
            total += counts
            if faults:
                failed.append(seed)
                say(f"seed {seed}: {len(faults)} faults\n  " + "\n  ".join(faults[:5]))
                say(f"  again: make simulate SEEDS=1 FIRST={seed} ENDPOINTS={asked.endpoints}")
            if done % 50 == 0:
                say(f"{done} of {asked.seeds} seeds, {len(failed)} failed, {time.monotonic() - started_s:.0f} s")
    numbers = ", ".join(f"{name} {count:,}" for name, count in sorted(total.items()))
    say(f"{asked.seeds} seeds of {asked.endpoints} endpoints in {time.monotonic() - started_s:.0f} s: {numbers}")
    say(f"failed: {failed[:20]}" if failed else "0 leaks, every capture ended by its lease, no UNKNOWN at lease + 1 s")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
