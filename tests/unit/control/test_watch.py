"""A next root reaches whoever reads the control topics: kept first, then everything is read again under it (P1, P2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from byleave.control import bootstrap, trust
from byleave.control.documents import Halt, Role, Root, Scope
from byleave.control.knowledge import Knowledge
from byleave.control.watch import ControlWatch
from byleave.core.broker import Received
from byleave.core.errors import Transient
from byleave.core.keys import public_hex

ROOTS = ("root-1", "root-2", "root-3")


class Topics:
    """A `broker.Tail` of records that stand in a list, one at a time."""

    def __init__(self, records: list[tuple[str, bytes]]) -> None:
        self.records, self.next, self.rewound, self.silent = records, 0, 0, 0

    def read(self, timeout_s: float) -> Sequence[Received]:  # noqa: ARG002 - the port's parameter
        found = self.records[self.next : self.next + 1]
        self.next += len(found)
        return [Received(f"test.{topic}", 0, self.next, 0, b"", value) for topic, value in found]

    @property
    def caught_up(self) -> bool:
        return self.next >= len(self.records)

    def rewind(self) -> None:
        if self.silent:
            self.silent -= 1
            raise Transient("no broker answers")
        self.next, self.rewound = 0, self.rewound + 1

    def close(self) -> None:
        """Nothing is held open."""


class World:
    """A site's records, its next root without one officer, and a watch that reads them."""

    def __init__(self, site: Any) -> None:
        self.site, self.kept = site, []
        records = [(topic, value) for topic, _, value in bootstrap.documents_to_publish(site.home)]
        self.topics = Topics(records)
        self.knowledge = Knowledge(site.root, "test.")

    def next_root(self) -> bytes:
        gone = public_hex(self.site.key("officers/security-1"))
        roles = tuple(without(role, gone) if role.name == "halt" else role for role in self.site.root.roles)
        return trust.sign(replace(self.site.root, version=2, roles=roles), self.site.officers(*ROOTS))

    def watch(self, pin: Callable[[bytes], object] | None) -> ControlWatch:
        watch = ControlWatch(self.topics, self.knowledge, "test.", pin=pin)
        for _ in range(40):
            watch.pump(0.0)
        return watch

    def pin(self, signed: bytes) -> None:
        assert self.knowledge.root.version == 1, "kept before it is believed"
        self.kept.append(signed)


def without(role: Role, key: str) -> Role:
    rows = [(k, g) for k, g in zip(role.keys, role.groups, strict=True) if k != key]
    return replace(role, keys=tuple(k for k, _ in rows), groups=tuple(g for _, g in rows))


@pytest.fixture
def world(site: Any) -> World:
    return World(site)


def test_a_next_root_is_kept_and_all_is_read_again_under_it(world: World) -> None:
    state, halt = world.site.bytes("trust/state.dsse"), world.site.halt()
    signed = world.next_root()
    world.topics.records += [("control.halt.v1", halt), ("control.root.v1", signed)]
    watch = world.watch(world.pin)
    assert (world.kept, world.topics.rewound, world.knowledge.root.version) == ([signed], 1, 2)
    assert world.knowledge.state is None, "a state of the old root is no permission under the new one"
    assert watch.refused["wrong-root"] == 1
    assert world.knowledge.halts == {}, "the officer who is gone orders nothing"
    assert world.knowledge.enrolments.keys() == {"ep-a", "ep-b"}, "what the new root still vouches for is known again"
    following = world.site.state(state, root_version=2)
    assert world.knowledge.learn("control.state.v1", following).epoch == 2


def test_the_epoch_floor_outlives_the_root(world: World) -> None:
    newer = world.site.state(world.site.bytes("trust/state.dsse"))
    world.topics.records += [("control.state.v1", newer), ("control.root.v1", world.next_root())]
    world.watch(world.pin)
    assert world.knowledge.state is None
    assert world.knowledge.epoch_floor == 2


def test_where_nobody_can_keep_a_root_it_is_refused_and_the_old_one_stands(world: World) -> None:
    world.topics.records.append(("control.root.v1", world.next_root()))
    watch = world.watch(None)
    assert (watch.refused["root-not-kept"], world.knowledge.root.version, world.topics.rewound) == (1, 1, 0)
    assert world.knowledge.state is not None


def test_a_root_that_could_not_be_kept_is_not_believed(world: World) -> None:
    def full_disk(_: bytes) -> None:
        raise OSError

    world.topics.records.append(("control.root.v1", world.next_root()))
    with pytest.raises(OSError, match=r"^$"):
        world.watch(full_disk)
    assert (world.knowledge.root.version, world.topics.rewound) == (1, 0)


def test_roots_that_lie_behind_are_passed_over(world: World) -> None:
    second = world.next_root()
    world.knowledge.restart(trust.load_next(world.site.root, second, "test."))
    world.topics.records += [
        ("control.root.v1", second),
        ("control.root.v1", trust.sign(world.site.root, world.site.officers(*ROOTS))),
    ]
    watch = world.watch(world.pin)
    assert (world.kept, world.topics.rewound, world.knowledge.root.version) == ([], 0, 2)
    assert watch.refused["conflict"] == 0


def test_of_two_steps_each_is_taken(world: World) -> None:
    second = world.next_root()
    parsed = trust.load_root(second, "test.")
    third = trust.sign(replace(parsed, version=3), world.site.officers(*ROOTS))
    world.topics.records += [("control.root.v1", second), ("control.root.v1", third)]
    world.watch(world.kept.append)
    assert (world.kept, world.knowledge.root.version) == ([second, third], 3)


def test_the_officer_who_is_gone_can_order_nothing_more(world: World) -> None:
    world.topics.records.append(("control.root.v1", world.next_root()))
    watch = world.watch(world.pin)
    late = Halt("test.", Scope("global"), "capture", "revenge", "drop", 1, 600_000, "ff")
    world.topics.records.append(("control.halt.v1", trust.sign(late, world.site.officers("security-1"))))
    watch.pump(0.0)
    assert (watch.refused["bad-signature"], world.knowledge.halts) == (1, {})
    assert isinstance(world.knowledge.root, Root)


def test_a_broker_that_is_silent_just_then_is_asked_again_and_nothing_is_known_meanwhile(world: World) -> None:
    world.topics.records.append(("control.root.v1", world.next_root()))
    world.topics.silent = 2
    watch, tried = ControlWatch(world.topics, world.knowledge, "test.", pin=world.pin), 0
    for _ in range(40):
        try:
            watch.pump(0.0)
        except Transient:
            tried += 1
            assert (watch.caught_up, world.knowledge.state) == (False, None)
    assert (tried, world.topics.rewound, watch.caught_up) == (2, 1, True)
    assert world.knowledge.enrolments.keys() == {"ep-a", "ep-b"}
