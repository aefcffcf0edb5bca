"""Edge: one life of the redactor's Kafka clients and of the partitions they own (ruling 19, docs/adr/0004).

Outputs, states and offsets of all owned partitions commit together, or nothing of it happened. After any error of a call that
belongs to a transaction this object is worthless: what an aborted transaction left in memory is never used, and whether a
commit that timed out has happened only the topics know. The worker closes it, makes another, and that one restores.

Rules are numbered as in docs/adr/0004-state-travels-with-offsets.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from byleave.control.knowledge import Knowledge
from byleave.core.errors import ByleaveError, Transient
from byleave.core.kafka import (
    Options,
    bounds,
    called,
    consumer_options,
    partitions,
    producer_options,
    sorted_out,
    translate,
)
from byleave.processors.partition import STATE_TOPIC, Output, Partition, Tally, Tools
from byleave.processors.restore import METADATA, Restorer

RAW_TOPIC = "raw.events.v1"
GROUP = "redactor"
READ_MAX = 100
READ_S = 0.02
TRANSACTION_S_MAX = 10.0
"""Also how long readers and restores wait after a crash of an instance that does not come back (rule 8)."""
ABORT_S_MAX = 5.0
FULL_POLLS_MAX = 100
QUIET_MS = 60_000
"""A partition without records for so long gets its time from the beacon, once it is known to be read to its end."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one redactor is. `slot` names its transactional id: two live processes must not share one (rule 8)."""

    connection: Options
    site: str
    slot: str
    commit_s: float = 0.2
    protocol: str = "consumer"
    """Group protocol: `consumer` (KIP-848; the session is the broker's setting), or `classic` with static members for brokers
    before 4.0 and where one instance must be back within a second or two. Never static members with `consumer`."""

    def group_options(self) -> dict[str, str | int | bool]:
        options = consumer_options(self.connection, self.site + GROUP) | {
            "group.protocol": self.protocol,
            "max.poll.interval.ms": 120_000,  # outlasts a restore
        }
        if self.protocol == "classic":
            options |= {
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6_000,
                "group.instance.id": f"{self.site}redactor-{self.slot}",
            }
        return options

    def producer_options(self) -> dict[str, str | int | bool]:
        return producer_options(self.connection) | {
            "transactional.id": f"{self.site}redactor-{self.slot}",
            "transaction.timeout.ms": int(TRANSACTION_S_MAX * 1000),
        }


class Membership:
    """Every method may raise ByleaveError; after that only `close` may be called."""

    def __init__(self, plan: Plan, tools: Tools, knowledge: Knowledge) -> None:
        self._plan, self._tools, self._knowledge = plan, tools, knowledge
        self._partitions: dict[int, Partition] = {}
        self._paused: set[int] = set()
        self._state_offsets: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._open = False
        self._broken: ByleaveError | None = None
        self._done: list[Tally] = []
        self._producer = Producer(plan.producer_options())
        called(lambda: self._producer.init_transactions(3 * TRANSACTION_S_MAX), "taking the transactional id")
        self._restorer = Restorer(plan.connection, f"{plan.site}{GROUP}-restore", plan.site)
        self._consumer = Consumer(plan.group_options())
        self._topic = plan.site + RAW_TOPIC
        self._count = len(partitions(self._consumer, self._topic))
        self._consumer.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    @property
    def partitions(self) -> Sequence[Partition]:
        """The partitions that are owned now."""
        return [*self._partitions.values()]

    def read(self) -> None:
        """Takes what is there; rebalances happen in here."""
        messages = self._consumer.consume(READ_MAX, READ_S)
        self._check()  # first: what failed in a rebalance is the cause of whatever else arrives now
        for record in sorted_out(messages, "reading the input", grouped=True):
            partition = self._partitions.get(record.partition)
            if partition is not None:  # else fetched before the revoke (rule 10)
                partition.accept(record, self._knowledge)

    def wake(self) -> None:
        """Control documents came: whatever waits is looked at again."""
        for partition in self._partitions.values():
            partition.fence.wake()

    def decide(self) -> None:
        """Lets each partition decide what it can, and stops reading those whose waiting rooms are full."""
        for number, partition in self._partitions.items():
            try:
                partition.step(self._knowledge, self._emit)
            finally:
                self._hold_back(number, partition)

    def sweep(self) -> None:
        """Closes endpoints that were halted or vanished, forgets sessions long over."""
        for partition in self._partitions.values():
            partition.sweep(self._quiet_ms(partition), self._knowledge, self._emit)

    def commit(self) -> bool:
        """One transaction of everything since the last one (rule 7). False if nothing moved."""
        offsets = {number: partition.committable for number, partition in self._partitions.items()}
        unsettled = any(partition.unsettled for partition in self._partitions.values())
        if not (self._open or unsettled) and offsets == self._committed:
            return False
        self._begin()
        for partition in self._partitions.values():
            partition.settle(self._emit)
        if called(lambda: self._producer.flush(TRANSACTION_S_MAX), "waiting for the broker"):
            raise Transient("the broker did not acknowledge in time", reason="flush")
        self._check()
        self._send_offsets(offsets)
        called(lambda: self._producer.commit_transaction(TRANSACTION_S_MAX), "committing")
        self._open, self._committed = False, offsets
        for partition in self._partitions.values():
            self._done.append(partition.tally)
            partition.tally = Tally()
        return True

    @property
    def lagging(self) -> bool:
        """Whether records stand on owned partitions that were not read, as of the last fetch; held-back ones do not count."""
        for number, partition in self._partitions.items():
            if number not in self._paused:
                _, high = self._consumer.get_watermark_offsets(self._place(number), cached=True)
                if high > partition.next_offset:
                    return True
        return False

    def tallies(self) -> list[Tally]:
        """What was committed since this was last asked, also inside a rebalance."""
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Leaves the group. What is open is aborted, bounded, and a failure of that is ignored (rule 12)."""
        if self._open:
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(ABORT_S_MAX)
        self._broken = self._broken or Transient("closing", reason="closing")
        self._partitions.clear()
        with contextlib.suppress(KafkaException, RuntimeError):
            self._consumer.close()
        self._restorer.close()

    def _check(self) -> None:
        if self._broken is not None:
            raise self._broken

    def _place(self, number: int, offset: int = -1001, metadata: str = "") -> TopicPartition:
        return TopicPartition(self._topic, number, offset, metadata)

    def _hold_back(self, number: int, partition: Partition) -> None:
        if partition.fence.full and number not in self._paused:
            self._paused.add(number)
            called(lambda: self._consumer.pause([self._place(number)]), "pausing")
        elif number in self._paused and partition.fence.roomy:
            self._paused.discard(number)
            called(lambda: self._consumer.resume([self._place(number)]), "resuming")

    def _quiet_ms(self, partition: Partition) -> int:
        """The beacon's time, if the partition was silent for long, or a halt waits for it, and is read to its end; else 0
        (docs/adr/0005)."""
        beacon = self._knowledge.beacon
        if beacon is None or len(partition.fence):
            return 0
        halted_ms = partition.closing_ms(self._knowledge)
        due = halted_ms is not None and beacon.service_ms > halted_ms
        if not due and beacon.service_ms - partition.stamp_ms < QUIET_MS:
            return 0
        _, high = bounds(self._consumer, self._topic, partition.number)
        return beacon.service_ms if high == partition.next_offset else 0

    def _begin(self) -> None:
        if not self._open:
            called(self._producer.begin_transaction, "beginning")
            self._open = True

    def _emit(self, output: Output) -> None:
        self._begin()
        number = -1 if output.partition is None else output.partition
        delivered = self._state_written if output.topic == STATE_TOPIC else self._written
        for _ in range(FULL_POLLS_MAX):
            try:
                self._producer.produce(
                    self._plan.site + output.topic, output.value, output.key, partition=number, on_delivery=delivered
                )
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise translate(error.args[0], f"writing {output.topic}") from None
        raise Transient("the queue to the broker stays full", reason="queue-full")

    def _written(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._broken = self._broken or translate(error, "writing")

    def _state_written(self, error: KafkaError | None, message: Message) -> None:
        self._written(error, message)
        if error is None:
            number, offset = message.partition() or 0, message.offset() or 0
            self._state_offsets[number] = max(offset, self._state_offsets.get(number, -1))

    def _send_offsets(self, offsets: dict[int, int]) -> None:
        """The group's own word on who is a member is asked for anew each time: it is what fences a zombie (rules 7, 8)."""
        places = [self._place(n, offset, f"{METADATA}{self._state_offsets.get(n, -1)}") for n, offset in offsets.items()]
        if places:
            member = self._consumer.consumer_group_metadata()
            called(lambda: self._producer.send_offsets_to_transaction(places, member, TRANSACTION_S_MAX), "sending offsets")

    # Rebalances. An error in here marks the membership broken; the partitions are (un)assigned all the same (rule 11).

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if self._broken is None and places:
            try:
                partitions, named = self._restorer.restore(consumer, places, self._count, self._tools)
            except ByleaveError as error:
                self._broken = error
            else:
                self._partitions |= {partition.number: partition for partition in partitions}
                self._state_offsets |= named
                self._committed |= {partition.number: partition.next_offset for partition in partitions}
                places = [self._place(partition.number, partition.next_offset) for partition in partitions]
        consumer.incremental_assign(places)

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if self._broken is None:
            try:
                self.commit()
            except ByleaveError as error:
                self._broken = error
        self._drop(consumer, places)

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._broken = self._broken or Transient("the group went on without this member", reason="lost")
        self._drop(consumer, places)

    def _drop(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        for place in places:
            self._partitions.pop(place.partition, None)
            self._committed.pop(place.partition, None)
            self._state_offsets.pop(place.partition, None)
            self._paused.discard(place.partition)
        consumer.incremental_unassign(places)
