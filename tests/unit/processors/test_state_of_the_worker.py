"""The loop around the clients: what it starts anew, when it gives up, and that it never stops with something undecided."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from byleave.core.errors import Broken, ByleaveError, Refused, Transient
from byleave.processors.partition import Tally
from byleave.processors.worker import FAILURES_MAX, FENCED_MAX, STALLED_S_MAX, Clocks, Worker


class World:
    """A clock that moves when somebody waits, and memberships that do what a test says."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stop_at_s = 1_000.0
        self.members: list[Member] = []
        self.read: Callable[[Member], None] = lambda _: None
        self.decide: Callable[[Member], None] = lambda _: None
        self.lagging = False
        self.moves = True
        self.watch = Silence()

    def stopped(self, seconds: float) -> bool:
        self.now_s += max(seconds, 0.02)
        return self.now_s >= self.stop_at_s

    def join(self) -> Member:
        self.members.append(Member(self))
        return self.members[-1]

    def run(self) -> None:
        clocks = Clocks(lambda: self.now_s, lambda: 0)
        Worker(self.join, self.watch, clocks, self.stopped, 0.2).run(lambda: None)


class Silence:
    caught_up = True

    def pump(self, timeout_s: float) -> list[object]:  # noqa: ARG002 - the port's
        return []


class Member:
    partitions = ()

    def __init__(self, world: World) -> None:
        self.world, self.calls = world, []

    @property
    def lagging(self) -> bool:
        return self.world.lagging

    def read(self) -> None:
        self.calls.append("read")
        self.world.read(self)

    def wake(self) -> None:
        self.calls.append("wake")

    def decide(self) -> None:
        self.calls.append("decide")
        self.world.decide(self)

    def sweep(self) -> None:
        self.calls.append("sweep")

    def commit(self) -> bool:
        self.calls.append("commit")
        return self.world.moves

    def tallies(self) -> list[Tally]:
        return [Tally()] if self.world.moves else []

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture
def world() -> World:
    return World()


def failing(error: ByleaveError) -> Callable[[Member], None]:
    def fail(_: Member) -> None:
        raise error

    return fail


def test_it_stops_with_what_was_decided_committed(world: World) -> None:
    world.stop_at_s = 101.0
    world.run()
    [member] = world.members
    assert member.calls[-4:] == ["read", "decide", "commit", "close"]


def test_nothing_is_read_or_decided_while_the_control_topics_are_read_again(world: World) -> None:
    """Under a next root: an endpoint that is not known then may only not have been read yet."""
    world.stop_at_s, world.watch.caught_up = 110.0, False
    world.run()
    [member] = world.members
    assert set(member.calls) == {"commit", "close"}


def test_after_an_error_of_a_transaction_nothing_but_close_is_called(world: World) -> None:
    def once(member: Member) -> None:
        if len(world.members) == 1:
            raise Transient("timed out", reason="broker")
        world.stop_at_s = 0

    world.read = once
    world.run()
    assert world.members[0].calls == ["read", "close"]
    assert world.members[1].calls[-1] == "close"


def test_memberships_that_do_not_live_end_it_within_a_bound(world: World) -> None:
    world.read = failing(Transient("no broker"))
    with pytest.raises(Broken, match="in a row"):
        world.run()
    assert len(world.members) == FAILURES_MAX
    assert all(member.calls[-1] == "close" for member in world.members)


def test_two_processes_with_one_slot_do_not_throw_each_other_out_for_ever(world: World) -> None:
    world.read = failing(Broken("fenced", reason="client-fatal"))
    with pytest.raises(Broken, match="--slot"):
        world.run()
    assert len(world.members) == FENCED_MAX


@pytest.mark.parametrize("error", [Broken("state cut off"), Refused("denied", reason="denied")], ids=["broken", "refused"])
def test_what_a_restart_cannot_mend_ends_it_at_once(world: World, error: ByleaveError) -> None:
    world.read = failing(error)
    with pytest.raises(type(error)):
        world.run()
    assert len(world.members) == 1


def test_it_ends_loudly_when_records_wait_and_nothing_moves(world: World) -> None:
    world.lagging, world.moves, world.stop_at_s = True, False, 100.0 + 2 * STALLED_S_MAX
    with pytest.raises(Broken, match="while records wait"):
        world.run()
    assert world.now_s < 100.0 + STALLED_S_MAX + 5


def test_a_quiet_night_is_no_stall(world: World) -> None:
    world.lagging, world.moves, world.stop_at_s = False, False, 100.0 + 2 * STALLED_S_MAX
    world.run()
    assert len(world.members) == 1


def test_a_keyring_that_does_not_answer_costs_no_membership_and_is_not_asked_in_a_rush(world: World) -> None:
    world.decide = failing(Transient("no answer", reason="keyring"))
    world.stop_at_s = 110.0
    world.run()
    [member] = world.members
    assert member.calls.count("decide") <= 21
    assert member.calls.count("read") > 100
