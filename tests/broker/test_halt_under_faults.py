"""Halts of real agents on a real broker while things break: what was typed after a halt is never admitted.

Marks say when they were typed (see halt_fleet): nothing here hangs on a stamp. `make test` halts a small site once under most
faults; `make prove` halts twenty endpoints a hundred times and more, with two hundred other clients on the control topic.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from halt_fleet import LEASE_MS, Halted, HaltFleet, Listeners, await_true, why_no_wire

from byleave.control.rollcall import LEASE_OVER_MS
from byleave.core.clock import boot_ms

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1_500)]
BACKLOG_S = 3.0
SENTENCE_MS = 500
"""What the board may need to say it, after the time at which it must be so."""


@dataclass(frozen=True)
class Size:
    endpoints: int
    far: int
    rounds: int
    clients: int


LARGE = Size(endpoints=20, far=4, rounds=5, clients=200)
"""Fifty halts, twice: one state holds the ends of some ninety orders, and no more are lifted before the first are past."""


@dataclass
class Ground:
    """The site of a module, and how often each fault is tried on it."""

    fleet: HaltFleet
    rounds: int
    listeners: Listeners | None
    seen: int = 0
    captured: int = 0

    @property
    def far(self) -> tuple[str, ...]:
        if not self.fleet.far:
            pytest.skip(f"no endpoint can be cut off: {why_no_wire()}")
        return self.fleet.far

    @property
    def near(self) -> tuple[str, ...]:
        return tuple(name for name in self.fleet.names if name not in self.fleet.far)

    def each(self) -> Iterator[HaltFleet]:
        """So many rounds; each begins with everybody capturing and ends with what must hold after every halt."""
        for _ in range(self.rounds):
            self.fleet.await_capturing()
            written = self.fleet.foreign.written
            yield self.fleet
            self.check(written)

    def check(self, written: int) -> None:
        fleet = self.fleet
        resumed_ms = fleet.halts[-1].resumed_ms
        assert resumed_ms is not None
        fleet.await_capturing()
        await_true(lambda: fleet.fence.decided_ms > resumed_ms, 30.0, "the fence has decided on all that was before")
        fresh = fleet.fence.admitted[self.seen :]
        self.seen += len(fresh)
        assert fresh, "nothing was admitted before or after: this proves nothing"
        assert fleet.late(fresh) == []
        assert fleet.foreign.written > written
        assert fleet.foreign.failed == {}
        if self.listeners is not None:
            assert len(self.listeners.heard(fleet.halts[-1].halt_id, 60.0)) == self.listeners.clients


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Size(endpoints=6, far=2, rounds=1, clients=0), id="small"),
        pytest.param(LARGE, id="large", marks=pytest.mark.prove),
        pytest.param(LARGE, id="large-again", marks=pytest.mark.prove),
    ],
)
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    size: Size = request.param
    far = 0 if why_no_wire() else size.far
    with HaltFleet(tmp_path_factory.mktemp("halts") / "home", size.endpoints, far) as fleet:
        listeners = Listeners(fleet.at, fleet.environment, fleet.names, size.clients) if size.clients else None
        try:
            yield Ground(fleet, size.rounds, listeners)
        finally:
            if listeners is not None:
                listeners.close()


def test_everybody_stops_and_signs_and_starts_again(ground: Ground) -> None:
    for fleet in ground.each():
        halted = fleet.halt()
        assert halted.brake == "set"
        assert fleet.effective(halted) < halted.ordered_ms + 2_000
        fleet.acked(halted)
        assert fleet.standing(halted, "UNKNOWN", "LEASE_ENDED") == []
        fleet.resume()


@pytest.mark.prove
def test_the_broker_is_killed_before_the_order(ground: Ground) -> None:
    for fleet in ground.each():
        fleet.kill_broker()
        with beside(fleet.restart_broker):
            halted = fleet.halt()
        fleet.effective(halted, 60.0)
        fleet.acked(halted, seconds=60.0)
        captured_nothing_after_the_lease(ground, halted, fleet.names)
        fleet.resume()


def test_the_broker_is_killed_right_after_the_order(ground: Ground) -> None:
    for fleet in ground.each():
        halted = fleet.halt()
        fleet.kill_broker()
        with beside(fleet.restart_broker):
            pass
        fleet.effective(halted, 60.0)
        fleet.acked(halted, seconds=60.0)
        captured_nothing_after_the_lease(ground, halted, fleet.names)
        fleet.resume()


def test_endpoints_that_no_order_reaches_end_by_their_lease(ground: Ground) -> None:
    """Cut off right before the order until all leases are over; half of them let back before the resume, half after it.

    At the same halt two others are stopped by a signal, one with its capture process and one without.
    """
    far, (alone, whole) = ground.far, ground.near[:2]
    for fleet in ground.each():
        for name in far:
            fleet.wires[name].cut()
        fleet.agents[alone].signal(signal.SIGSTOP)
        fleet.agents[whole].signal(signal.SIGSTOP, group=True)
        gone = (*far, alone, whole)
        halted = fleet.halt()
        fleet.effective(halted)
        fleet.acked(halted, ground.near[2:])
        nobody_signs_until_the_leases_are_over(fleet, halted, gone)
        kept = {name: fleet.spooled(name) for name in far}
        assert all(fleet.late(marks) for marks in kept.values()), "they captured nothing while cut off: this proves nothing"
        assert not [mark for marks in kept.values() for mark in marks if mark.typed_ms >= lease_over(halted)]
        early, late = far[::2], far[1::2]
        for name in early:
            fleet.wires[name].mend()
        fleet.acked(halted, early, seconds=40.0)
        assert not any(fleet.spooled(name) for name in early), "the order said: drop"
        refused = fleet.fence.refused.total()
        fleet.resume()
        for name in late:
            fleet.wires[name].mend()
        for name in (alone, whole):
            fleet.agents[name].signal(signal.SIGCONT, group=True)
        fleet.await_capturing()
        await_true(partial(more_refused, fleet, refused), 30.0, "the late backlog came to the fence")
        captured_nothing_after_the_lease(ground, halted, gone)


def test_an_agent_that_slept_through_halt_and_resume_hands_over_nothing_of_it(ground: Ground) -> None:
    """Stopped by a signal while halt and resume pass, both within its lease; one capture process goes on typing meanwhile."""
    alone, whole = ground.near[:2]
    for fleet in ground.each():
        fleet.agents[alone].signal(signal.SIGSTOP)
        fleet.agents[whole].signal(signal.SIGSTOP, group=True)
        halted = fleet.halt()
        fleet.effective(halted)
        fleet.acked(halted, [name for name in fleet.names if name not in (alone, whole)])
        time.sleep(1.0)
        assert sorted(fleet.standing(halted, "UNKNOWN")) == sorted((alone, whole))
        fleet.resume()
        time.sleep(1.0)
        for name in (alone, whole):
            fleet.agents[name].signal(signal.SIGCONT, group=True)


@pytest.mark.parametrize("back", ["after the halt", pytest.param("after the resume", marks=pytest.mark.prove)])
def test_a_backlog_is_let_back(ground: Ground, back: str) -> None:
    """Kept from the broker for some seconds before the order: what they captured until then waits in their spools."""
    far = ground.far
    for fleet in ground.each():
        for name in far:
            fleet.wires[name].cut()
        time.sleep(BACKLOG_S)
        assert all(fleet.spooled(name) for name in far)
        halted = fleet.halt()
        fleet.effective(halted)
        fleet.acked(halted, ground.near)
        if back == "after the resume":
            time.sleep(1.0)
            fleet.resume()
        for name in far:
            fleet.wires[name].mend()
        if back == "after the halt":
            fleet.acked(halted, far, seconds=40.0)
            fleet.resume()


def test_the_beacon_service_is_killed(ground: Ground) -> None:
    """Endpoints obey the order itself; the service, back again, gives it its time."""
    for fleet in ground.each():
        fleet.beacon.kill()
        halted = fleet.halt()
        fleet.acked(halted)
        fleet.restart_beacon()
        fleet.effective(halted)
        fleet.resume()


@pytest.mark.parametrize("lag", ["orders", "batches"])
def test_the_redactor_is_behind(ground: Ground, lag: str) -> None:
    for fleet in ground.each():
        behind = fleet.fence.deaf if lag == "orders" else fleet.fence.blind
        behind.set()
        time.sleep(1.0)
        halted = fleet.halt()
        fleet.effective(halted)
        fleet.acked(halted)
        time.sleep(1.0)
        if lag == "batches":
            fleet.resume()
        behind.clear()
        if lag == "orders":
            fleet.resume()


def test_nothing_typed_under_any_of_these_halts_was_admitted(ground: Ground) -> None:
    """All of them once more, now that whatever was on its way has come."""
    fleet = ground.fleet
    assert len(fleet.halts) >= (7 if fleet.far else 5) * ground.rounds
    assert fleet.late(fleet.fence.admitted) == []
    assert fleet.fence.refused["halted"] > 0 or not fleet.far


def nobody_signs_until_the_leases_are_over(fleet: HaltFleet, halted: Halted, gone: Sequence[str]) -> None:
    assert halted.effective_ms is not None
    while boot_ms() < halted.effective_ms + LEASE_OVER_MS:
        assert fleet.standing(halted, "ACKED", "OFF") == [name for name in fleet.names if name not in gone]
        time.sleep(0.05)
    await_true(lambda: fleet.standing(halted, "UNKNOWN") == [], SENTENCE_MS / 1000, "nobody is UNKNOWN at lease + 1 s")
    assert sorted(fleet.standing(halted, "LEASE_ENDED")) == sorted(gone)


def lease_over(halted: Halted) -> int:
    assert halted.effective_ms is not None
    return halted.effective_ms + LEASE_MS + 1_000


def captured_nothing_after_the_lease(ground: Ground, halted: Halted, names: Sequence[str]) -> None:
    """By what they sent and what lies in their spools; until the resume, for what comes after is allowed again."""
    fleet = ground.fleet
    fresh = fleet.fence.captured[ground.captured :]
    ground.captured += len(fresh)
    end_ms = halted.resumed_ms or boot_ms()
    found = [mark for mark in fresh if mark.endpoint in names]
    found += [mark for name in names for mark in fleet.spooled(name)]
    assert not [mark for mark in found if lease_over(halted) <= mark.typed_ms < end_ms]


def more_refused(fleet: HaltFleet, before: int) -> bool:
    return fleet.fence.refused.total() > before


@contextmanager
def beside(act: Callable[[], None]) -> Iterator[None]:
    """Does something meanwhile; its failure is ours."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        yield
        done.result(120)
