"""One contract for `core.broker`: the fake that fast tests use and real Kafka answer the same questions alike."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from byleave.control import bootstrap, trust
from byleave.control.documents import Halt, Scope
from byleave.control.knowledge import Knowledge
from byleave.control.watch import ControlWatch
from byleave.core.broker import Delivered, Publisher, Received, Tail
from byleave.core.errors import Refused
from byleave.core.kafka import KafkaPublisher, KafkaTail

READ_S_MAX = 30.0
ONE, MANY = "control.halt.v1", "raw.events.v1"


@dataclass
class MemoryBroker:
    """Topics as lists. What Kafka promises and nothing more: order in a partition, stamps that never run back."""

    site: str
    partitions: dict[str, int]
    log: dict[tuple[str, int], list[Received]] = field(default_factory=dict)
    clock_ms: int = 1_800_000_000_000

    def append(self, topic: str, key: bytes, value: bytes | None) -> None:
        self.clock_ms += 1
        place = (topic, sum(key) % self.partitions[topic])
        rows = self.log.setdefault(place, [])
        rows.append(Received(topic, place[1], len(rows), self.clock_ms, key, value))


class MemoryTail:
    """`broker.Tail` on a MemoryBroker."""

    def __init__(self, broker: MemoryBroker, topics: Sequence[str]) -> None:
        self._broker, self._topics = broker, topics
        self.rewind()

    def rewind(self) -> None:
        self._next: dict[tuple[str, int], int] = {}
        self._ends = {place: len(rows) for place, rows in self._broker.log.items() if place[0] in self._topics}

    def read(self, timeout_s: float) -> Sequence[Received]:  # noqa: ARG002 - the port's parameter
        found: list[Received] = []
        for place, rows in self._broker.log.items():
            if place[0] in self._topics:
                start = self._next.get(place, 0)
                taken = rows[start : start + 500 - len(found)]
                self._next[place] = start + len(taken)
                found += taken
        return found

    @property
    def caught_up(self) -> bool:
        return all(self._next.get(place, 0) >= end for place, end in self._ends.items())

    def at_end(self, topic: str) -> bool:
        return self._next.get((topic, 0), 0) >= len(self._broker.log.get((topic, 0), ()))

    def close(self) -> None:
        """Nothing is held open."""


class MemoryPublisher:
    """`broker.Publisher` on a MemoryBroker: delivers when it is flushed."""

    def __init__(self, broker: MemoryBroker, allowed: Callable[[str], bool]) -> None:
        self._broker, self._allowed = broker, allowed
        self._queue: list[tuple[str, bytes, bytes | None, Delivered | None]] = []
        self._denied: set[str] = set()

    def publish(self, topic: str, key: bytes, value: bytes | None, delivered: Delivered | None = None) -> None:
        if topic in self._denied:
            raise Refused(f"writing to {topic}: denied", reason="denied")
        self._queue.append((topic, key, value, delivered))

    def flush(self, timeout_s: float) -> bool:  # noqa: ARG002 - the port's parameter
        queue, self._queue = self._queue, []
        for topic, key, value, delivered in queue:
            allowed = self._allowed(topic)
            if allowed:
                self._broker.append(topic, key, value)
            else:
                self._denied.add(topic)
            if delivered is not None:
                delivered(allowed)
        return True

    def purge(self) -> None:
        for *_, delivered in self._queue:
            if delivered is not None:
                delivered(False)
        self._queue = []

    def close(self) -> None:
        self.purge()


class Ports(Protocol):
    """What the contract needs of a broker: ports for principals, and full topic names."""

    site: str

    def tail(self, principal: str, topics: Sequence[str]) -> Tail: ...
    def publisher(self, principal: str) -> Publisher: ...


class MemoryPorts:
    def __init__(self) -> None:
        self.site = "test."
        self._broker = MemoryBroker(self.site, {self.site + ONE: 1, self.site + MANY: 2})

    def tail(self, principal: str, topics: Sequence[str]) -> Tail:  # noqa: ARG002 - the port's parameter
        return MemoryTail(self._broker, topics)

    def publisher(self, principal: str) -> Publisher:
        writers = {self.site + ONE: "security", self.site + MANY: "ep-a"}
        return MemoryPublisher(self._broker, lambda topic: writers.get(topic) == principal)


class KafkaPorts:
    def __init__(self, kafka: Any, site: str) -> None:
        self.site, self._kafka = site, kafka

    def tail(self, principal: str, topics: Sequence[str]) -> Tail:
        return KafkaTail(self._kafka.conf(principal), f"{self.site}{principal}", topics)

    def publisher(self, principal: str) -> Publisher:
        return KafkaPublisher(self._kafka.conf(principal))


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def ports(request: pytest.FixtureRequest) -> Iterator[Ports]:
    if request.param == "memory":
        yield MemoryPorts()
    else:
        yield KafkaPorts(request.getfixturevalue("kafka"), request.getfixturevalue("site"))


def read(tail: Tail, count: int) -> list[Received]:
    """At least `count` records, then everything until the tail has caught up."""
    found: list[Received] = []
    until_s = time.monotonic() + READ_S_MAX
    while len(found) < count or not tail.caught_up:
        assert time.monotonic() < until_s, f"{len(found)} of {count} records"
        found += tail.read(0.2)
    return found


def write(ports: Ports, principal: str, topic: str, rows: Sequence[tuple[bytes, bytes | None]]) -> list[bool]:
    publisher, answers = ports.publisher(principal), list[bool]()
    for key, value in rows:
        publisher.publish(ports.site + topic, key, value, answers.append)
    assert publisher.flush(READ_S_MAX)
    publisher.close()
    return answers


def test_what_was_written_is_read_whole_in_order_with_the_brokers_stamp(ports: Ports) -> None:
    rows = [(b"k%d" % (n % 3), b"v%d" % n) for n in range(700)]  # more than one read returns
    assert write(ports, "security", ONE, rows) == [True] * 700
    tail = ports.tail("security", [ports.site + ONE])
    found = read(tail, 700)
    tail.close()
    assert [(r.key, r.value) for r in found] == rows
    assert [r.offset for r in found] == sorted({r.offset for r in found})
    assert all(one.append_ms <= two.append_ms for one, two in itertools.pairwise(found))
    assert found[0].append_ms > 1_700_000_000_000


def test_a_key_stays_in_its_partition_and_in_its_order(ports: Ports) -> None:
    rows = [(b"ep-%d" % (n % 5), b"%d" % n) for n in range(60)]
    write(ports, "ep-a", MANY, rows)
    tail = ports.tail("redactor", [ports.site + MANY])
    found = read(tail, 60)
    tail.close()
    for key in {key for key, _ in rows}:
        assert len({r.partition for r in found if r.key == key}) == 1
        assert [r.value for r in found if r.key == key] == [value for k, value in rows if k == key]


def test_every_tail_reads_from_the_beginning(ports: Ports) -> None:
    write(ports, "security", ONE, [(b"a", b"1"), (b"b", b"2")])
    for _ in range(2):
        tail = ports.tail("security", [ports.site + ONE])
        assert [r.value for r in read(tail, 2)] == [b"1", b"2"]
        tail.close()


def test_a_tail_that_rewinds_reads_all_of_it_again_and_then_what_is_new(ports: Ports) -> None:
    write(ports, "security", ONE, [(b"a", b"%d" % n) for n in range(700)])
    tail = ports.tail("security", [ports.site + ONE])
    tail.read(5.0)  # in the midst of it: what was fetched before must not come twice
    write(ports, "security", ONE, [(b"a", b"new")])
    for _ in range(2):
        tail.rewind()
        assert not tail.caught_up
        assert [r.value for r in read(tail, 701)] == [*(b"%d" % n for n in range(700)), b"new"]
    tail.close()


def test_caught_up_means_that_all_that_stood_there_was_returned(ports: Ports) -> None:
    write(ports, "security", ONE, [(b"a", b"%d" % n) for n in range(40)])
    tail = ports.tail("security", [ports.site + ONE])
    assert not tail.caught_up
    assert len(read(tail, 0)) == 40
    write(ports, "security", ONE, [(b"a", b"later")])
    assert tail.caught_up  # what comes later does not undo it
    assert [r.value for r in read(tail, 1)] == [b"later"]
    tail.close()


def test_a_tail_knows_whether_something_stands_there_that_it_has_not_returned(ports: Ports) -> None:
    tail = ports.tail("security", [ports.site + ONE])
    assert read(tail, 0) == []
    assert tail.at_end(ports.site + ONE)
    for value in (b"1", b"2"):
        write(ports, "security", ONE, [(b"a", value)])
        assert not tail.at_end(ports.site + ONE)
        assert [r.value for r in read(tail, 1)] == [value]
        assert tail.at_end(ports.site + ONE)
    tail.close()


def test_an_empty_topic_is_caught_up(ports: Ports) -> None:
    tail = ports.tail("security", [ports.site + ONE])
    assert read(tail, 0) == []
    assert tail.caught_up
    tail.close()


def test_a_tombstone_is_a_record_without_value(ports: Ports) -> None:
    write(ports, "security", ONE, [(b"a", b"1"), (b"a", None)])
    tail = ports.tail("security", [ports.site + ONE])
    assert read(tail, 2)[-1].value is None
    tail.close()


def test_a_denied_topic_is_told_and_nothing_is_written(ports: Ports) -> None:
    publisher, answers = ports.publisher("ep-a"), list[bool]()
    publisher.publish(ports.site + ONE, b"a", b"forged", answers.append)
    publisher.flush(READ_S_MAX)
    assert answers == [False]
    with pytest.raises(Refused) as caught:
        publisher.publish(ports.site + ONE, b"a", b"forged again", answers.append)
    assert caught.value.reason == "denied"
    publisher.close()
    tail = ports.tail("security", [ports.site + ONE])
    assert read(tail, 0) == []
    tail.close()


def test_what_is_purged_is_not_sent_and_is_told(ports: Ports) -> None:
    publisher, answers = ports.publisher("security"), list[bool]()
    for n in range(5):
        publisher.publish(ports.site + ONE, b"a", b"%d" % n, answers.append)
    publisher.purge()
    publisher.close()
    assert len(answers) == 5
    tail = ports.tail("security", [ports.site + ONE])
    assert len(read(tail, 0)) == answers.count(True)
    tail.close()


def test_content_is_in_no_repr(ports: Ports) -> None:
    write(ports, "security", ONE, [(b"secret-key", b"secret-value")])
    tail = ports.tail("security", [ports.site + ONE])
    assert "secret" not in repr(read(tail, 1))
    tail.close()


def test_a_control_watch_learns_what_is_true_counts_what_is_not_and_goes_on(ports: Ports, tmp_path: Any) -> None:
    root = bootstrap.dev_site(tmp_path, ports.site, [("ep-a", "person-a", "team-1")], 1, os.urandom)
    order = Halt(ports.site, Scope("global"), "capture", "why", "drop", 1, 600_000, "00")
    good = trust.sign(order, [bootstrap.read_signing_key(tmp_path / "officers" / "security-1.key")])
    forged = trust.sign(order, [bootstrap.read_signing_key(tmp_path / "people" / "person-a" / "person.key")])
    write(ports, "security", ONE, [(b"1", b"junk"), (b"2", None), (b"3", forged), (b"4", good)])
    watch = ControlWatch(ports.tail("security", [ports.site + ONE]), Knowledge(root, ports.site), ports.site)
    learned: list[Any] = []
    until_s = time.monotonic() + READ_S_MAX
    while not (watch.caught_up and learned):
        assert time.monotonic() < until_s
        learned += watch.pump(0.2)
    watch.close()
    assert learned == [order]
    assert dict(watch.refused) == {"malformed": 1, "tombstone": 1, "bad-signature": 1}
    assert list(watch.knowledge.halts.values()) == [order]
