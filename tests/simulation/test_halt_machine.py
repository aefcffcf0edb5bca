"""The halt protocol as a state machine: hypothesis looks for the shortest course that breaks it.

Goal: whatever is lost, late, repeated, forged or restarted, in whatever order, four sentences stay true (P2). Method: rules are
the steps that a network, a machine, an officer or a thief may take, one at a time; every decision is the product's own:
`producers.window.step`, `control.beacon.step`, `admission.decide`, `rollcall.call`. `halt_world` runs the same cores by chance
and in large; here a failure comes out as a few steps to read.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from halt_world import BEACON, HALT, ROOT, SITE, STATE, T0, Captured, Order, id_of, sign, site, verified_once
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from byleave.control import beacon as service
from byleave.control import documents as d
from byleave.control import resume, rollcall
from byleave.control.admission import Admitted, Claim, Refuses, Waits, decide
from byleave.control.halts import covers
from byleave.control.knowledge import Knowledge
from byleave.control.lease import LEASE_MS_MAX
from byleave.core.errors import ByleaveError
from byleave.producers import window
from byleave.producers.gate import Switches

SIZE = 2
SCOPES = (d.Scope("global"), d.Scope("site", SITE), d.Scope("team", "team-0"), d.Scope("endpoint", "ep-1"))
WHO = st.integers(0, SIZE - 1)
LONG_MS = st.sampled_from((1, 20, 300, 1_000, 2_500, 6_000, 9_900, 11_000))


@dataclass
class Machine:
    """One endpoint's machine: what its process knows, its worker, and what is on its way to it."""

    name: str
    knowledge: Knowledge
    window: window.RunWindow
    unread: deque[tuple[str, bytes]] = field(default_factory=deque)
    grants: list[d.Grant] = field(default_factory=list)
    switches: Switches = field(default_factory=Switches)
    worker: bool = False
    outlives: int = 0
    """How many kills its worker outlives."""
    caught_up: bool = True


class Halt(RuleBasedStateMachine):
    """`weak` names what a mutant leaves out, to show that the sentences can be seen to break."""

    weak = ""
    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.whole = ExitStack()
        self.whole.enter_context(verified_once())
        self.site, self.now_ms, self.nonces = site(SIZE), T0, 0
        self.desk = self.site.knowledge(state=self.site.state)
        self.served, self.service = self.site.knowledge(state=self.site.state), service.Service()
        self.disk = service.dump(service.Memory())
        self.to_service: deque[tuple[str, bytes, int]] = deque()
        self.requests: list[tuple[d.Request, int]] = []
        self.fence, self.to_fence = self.site.knowledge(state=self.site.state), deque[tuple[str, bytes]]()
        self.topics: list[tuple[str, bytes]] = [(STATE, self.site.state)]
        self.orders: dict[str, Order] = {}
        self.acks: list[d.Ack] = []
        self.waiting: list[tuple[Captured, Claim]] = []
        self.admitted: list[Captured] = []
        self.machines = [
            Machine(name, self.site.knowledge(only=name, state=self.site.state), window.RunWindow(name))
            for name, _, _ in self.site.people
        ]

    def teardown(self) -> None:
        """In the end all of the topics reaches the fence."""
        try:
            self.fence_reads(10_000)
            self.nothing_captured_while_halted_is_admitted()
        finally:
            self.seen.update(admitted=len(self.admitted), acks=len(self.acks), orders=len(self.orders), courses=1)
            self.whole.close()

    # -- what happens -------------------------------------------------------------------------------------------------

    @initialize()
    def everybody_works(self) -> None:
        self.service_ticks()
        for who in range(SIZE):
            self.all_goes_well(who)

    @rule(ms=LONG_MS)
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def service_ticks(self) -> None:
        self.service_does(service.Tick(True))

    @rule()
    def service_reads(self) -> None:
        """Orders and states in their order, each with the broker's stamp; then requests."""
        while self.to_service:
            topic, value, append_ms = self.to_service.popleft()
            document = self.learns(self.served, topic, value)
            if document is not None:
                self.service_does(service.Heard(document, id_of(value), append_ms, b""))
        for request, append_ms in self.requests:
            fresh = len(self.topics).to_bytes(8) + self.now_ms.to_bytes(8)
            self.service_does(service.Heard(request, d.digest(d.dump(request)), append_ms, fresh))
        self.requests.clear()
        self.service_does(service.Tick(True))

    @rule()
    def service_crashes(self) -> None:
        """It comes back with what is on its disk, and reads the topics again."""
        self.service, self.served = service.Service(service.load(self.disk)), self.site.knowledge()
        self.to_service = deque((topic, value, self.now_ms) for topic, value in self.topics if topic in (STATE, HALT))
        self.requests.clear()

    @rule(who=WHO, count=st.integers(1, 6))
    def records_arrive(self, who: int, count: int) -> None:
        machine = self.machines[who]
        for _ in range(min(count, len(machine.unread))):
            self.hears(machine, *machine.unread.popleft())

    @rule(who=WHO, most=st.sampled_from((1, 3, 100)))
    def records_are_lost(self, who: int, most: int) -> None:
        """Orders and beacons alike. What the state topic held is read again after a restart only."""
        for _ in range(min(most, len(self.machines[who].unread))):
            self.machines[who].unread.popleft()

    @rule(who=WHO, data=st.data())
    def a_record_is_replayed(self, who: int, data: st.DataObject) -> None:
        self.hears(self.machines[who], *data.draw(st.sampled_from(self.topics)))

    @rule(who=WHO, data=st.data(), keep=st.booleans())
    def a_grant_arrives(self, who: int, data: st.DataObject, keep: bool) -> None:
        """At once, late, or a second time."""
        machine = self.machines[who]
        if machine.grants:
            grant = machine.grants[data.draw(st.integers(0, len(machine.grants) - 1))]
            self.does(machine, window.Heard(grant))
            machine.grants = machine.grants if keep else []

    @rule(who=WHO)
    def an_endpoint_turns(self, who: int) -> None:
        """What an agent does fifty times a second. One that sleeps does not."""
        machine = self.machines[who]
        self.nonces += 1
        self.does(machine, window.Tick(machine.switches, machine.caught_up, f"{who}/{self.nonces}"))
        session = machine.window.session
        if session is not None:
            assert machine.worker
            hi_ms = window.service_ms(machine.window, machine.knowledge, self.now_ms)
            event = Captured(machine.name, self.now_ms - T0, hi_ms, session.epoch)
            self.capture_ended_by_its_lease(event)
            self.no_board_says_that_it_stopped(event)
            claim = Claim(machine.name, session.id, session.epoch, hi_ms, self.now_ms, self.site.manifest_digest)
            self.waiting.append((event, claim))

    @rule(who=WHO)
    def all_goes_well(self, who: int) -> None:
        """The usual course, so that there is always something to stop."""
        machine = self.machines[who]
        for _ in range(2):
            self.service_reads()
            self.records_arrive(who, 10_000)
            machine.caught_up = True
            self.an_endpoint_turns(who)
            self.service_reads()
            for grant in machine.grants[-1:]:
                self.does(machine, window.Heard(grant))
            self.now_ms += 20
        self.an_endpoint_turns(who)

    @rule(who=WHO)
    def an_endpoint_crashes(self, who: int) -> None:
        """The process dies and its worker with it; the floor is left, and the topics are read again."""
        machine = self.machines[who]
        machine.knowledge = self.site.knowledge(only=machine.name, floor=machine.knowledge.epoch_floor)
        machine.window, machine.worker, machine.caught_up = window.RunWindow(machine.name), False, False
        newest = [(STATE, value) for topic, value in self.topics if topic == STATE][-1:]
        machine.unread = deque([*newest, *(item for item in self.topics if item[0] == HALT)])
        machine.grants = []

    @rule(who=WHO, kills=st.integers(1, 3))
    def a_worker_hangs(self, who: int, kills: int) -> None:
        self.machines[who].outlives = kills if self.machines[who].worker else 0

    @rule()
    def all_is_heard(self) -> None:
        self.service_reads()
        for who, machine in enumerate(self.machines):
            self.records_arrive(who, len(machine.unread))
            self.an_endpoint_turns(who)

    @rule(who=WHO, paused=st.booleans(), halted=st.booleans())
    def a_person_switches(self, who: int, paused: bool, halted: bool) -> None:
        self.machines[who].switches = Switches(paused=paused, halted=halted)

    @rule(scope=st.sampled_from(SCOPES), what=st.sampled_from(("capture", "capture", "processing")), buffer=st.booleans())
    @precondition(lambda self: len(self.orders) < 6)
    def somebody_orders_a_halt(self, scope: d.Scope, what: str, buffer: bool) -> None:
        name = "seal" if buffer else "drop"
        order = d.Halt(SITE, scope, what, "why", name, self.now_ms, 600_000, str(len(self.orders)))
        signed = sign(order, "officer-1")
        self.orders[id_of(signed)] = Order(order, signed, self.now_ms)
        self.publish(HALT, signed)

    @rule(data=st.data())
    @precondition(lambda self: len(self.topics) < 400)
    def officers_resume_or_renew(self, data: st.DataObject) -> None:
        known = sorted(i for i in self.desk.in_force() if self.desk.effective_ms(i) is not None)
        lifts = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        made = resume.next_state(self.desk, lifts, self.now_ms)
        for halt_id in lifts:
            self.orders[halt_id].lifted_ms, self.orders[halt_id].lift_epoch = self.now_ms - T0, made.epoch
        self.publish(STATE, sign(made, "officer-1", "officer-3"))

    @rule(who=WHO, ahead_ms=st.sampled_from((0, 5_000, 10**9)))
    def one_officers_key_is_stolen(self, who: int, ahead_ms: int) -> None:
        """What one officer alone may not: resume, vouch, change the root, lift. Nobody may believe any of it."""
        state = self.desk.state
        assert state is not None
        alone = replace(state, epoch=state.epoch + 1, prev=self.desk.state_digest)
        vouched = d.Beacon(SITE, state.epoch, self.desk.state_digest, self.now_ms + ahead_ms, 1, 10_000, ())
        root = replace(self.site.root, version=2)
        states = [(STATE, sign(alone, "officer-1")), (STATE, sign(alone, "officer-1", "beacon"))]
        forged = [*states, (BEACON, sign(vouched, "officer-1")), (ROOT, sign(root, "officer-1"))]
        for reader in (self.machines[who].knowledge, self.served, self.fence):
            before = (reader.state, reader.beacon, reader.root, reader.in_force())
            assert [self.learns(reader, *record) for record in forged] == [None] * len(forged)
            assert (reader.state, reader.beacon, reader.root, reader.in_force()) == before

    @rule(count=st.integers(1, 20))
    def fence_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.to_fence))):
            self.learns(self.fence, *self.to_fence.popleft())
        waiting = []
        for event, claim in self.waiting:
            said: Admitted | Refuses | Waits = decide(claim, self.fence)
            if isinstance(said, Waits):
                waiting.append((event, claim))
            elif isinstance(said, Admitted):
                self.admitted.append(event)
        self.waiting = waiting

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_captured_while_halted_is_admitted(self) -> None:
        for event in self.admitted:
            assert not [order for order in self.about(event) if order.forbids(event.at_ms)], event

    def capture_ended_by_its_lease(self, event: Captured) -> None:
        for order in self.about(event):
            over_ms = 10**12 if order.accepted_ms is None else order.accepted_ms + LEASE_MS_MAX
            assert not over_ms <= event.at_ms < order.lifted_ms, (event, order)

    def no_board_says_that_it_stopped(self, event: Captured) -> None:
        for halt_id, order in self.orders.items():
            if order.halt.what == "capture" and event.at_ms < order.lifted_ms:
                board = rollcall.call(self.desk, halt_id, self.acks, self.now_ms)
                said = {row.endpoint: row.standing for row in board.rows}
                assert said.get(event.endpoint, rollcall.Standing.UNKNOWN) is rollcall.Standing.UNKNOWN, (event, order)

    @invariant()
    def what_is_remembered_is_what_is_said(self) -> None:
        assert service.load(self.disk).last_ms >= (self.served.beacon.service_ms if self.served.beacon else 0)

    # -- how it is carried out ----------------------------------------------------------------------------------------

    def about(self, event: Captured) -> list[Order]:
        enrolment = self.desk.enrolments[event.endpoint]
        orders = [order for order in self.orders.values() if order.halt.what == "capture"]
        return [order for order in orders if covers(order.halt.scope, SITE, event.endpoint, enrolment)]

    def learns(self, reader: Knowledge, topic: str, value: bytes) -> Any:
        try:
            return reader.learn(topic, value)
        except ByleaveError:
            return None

    def publish(self, topic: str, value: bytes) -> None:
        self.topics.append((topic, value))
        self.learns(self.desk, topic, value)
        self.to_fence.append((topic, value))
        self.to_service.extend([(topic, value, self.now_ms)] if topic != BEACON else [])
        for machine in self.machines:
            machine.unread.append((topic, value))

    def hears(self, machine: Machine, topic: str, value: bytes) -> None:
        document = self.learns(machine.knowledge, topic, value)
        if document is not None:
            self.does(machine, window.Heard(document))
        machine.caught_up = machine.caught_up or not machine.unread

    def does(self, machine: Machine, given: window.Input) -> None:
        waiting = deque([given])
        while waiting:
            after, outputs = window.step(machine.window, machine.knowledge, waiting.popleft(), self.now_ms)
            for output in outputs:
                match output:
                    case window.Open():
                        machine.worker = True
                    case window.Kill():
                        machine.outlives -= machine.outlives > 0
                        machine.worker = machine.worker and machine.outlives > 0
                        waiting.append(window.Reaped(not machine.worker or self.weak == "ack"))
                    case window.Acknowledge():
                        assert not machine.worker, "acknowledged while a worker runs"
                        told = (output.halt_id, output.epoch, output.seen_ms, output.stopped_ms)
                        self.acks.append(d.Ack(SITE, machine.name, "", *told, True, 0, 0, "dropped", ""))
                    case window.Ask():
                        self.requests.append((output.request, self.now_ms))
            machine.window = after

    def service_does(self, given: service.Input) -> None:
        self.service, outputs = service.step(self.service, self.served, given, self.now_ms)
        for output in outputs:
            match output:
                case service.Remember():
                    self.disk = service.dump(output.memory) if self.weak != "memory" else self.disk
                    for halt_id, effective_ms in output.memory.effective.items():
                        order = self.orders[halt_id]
                        if order.accepted_ms is None:
                            order.accepted_ms, order.effective_ms = self.now_ms - T0, effective_ms - T0
                case service.Say("control.beacon.v1", _, beacon):
                    signed = sign(beacon, "beacon")
                    self.served.learn(BEACON, signed)
                    self.publish(BEACON, signed)
                case service.Say(_, nonce, grant):
                    self.machines[int(nonce.split("/")[0])].grants.append(grant)


COURSES = settings(
    max_examples=250, stateful_step_count=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


def test_no_course_of_events_breaks_the_four_sentences() -> None:
    Halt.seen.clear()
    run_state_machine_as_test(Halt, settings=COURSES)
    assert Halt.seen["admitted"] > 500
    assert Halt.seen["orders"] > 300
    assert Halt.seen["acks"] > 150


@pytest.mark.parametrize("weak", ["ack", "memory"])
def test_a_course_is_found_where_one_step_is_left_out(weak: str) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(type("Weak", (Halt,), {"weak": weak}), settings=settings(COURSES, phases=[Phase.generate]))


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_no_long_course_breaks_them_either() -> None:
    run_state_machine_as_test(Halt, settings=settings(COURSES, max_examples=1_000, stateful_step_count=100, derandomize=False))
