"""Edge: sanitized topics as the sink reads them, assigned at the offsets that the lake itself holds.

No group decides where reading begins and no offset is committed to the broker: rows and offsets live in one place (P8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from byleave.core.broker import Received
from byleave.core.errors import ByleaveError
from byleave.core.kafka import READ_MAX, Options, bounds, called, consumer_options, partitions, sorted_out


class SanitizedStream:
    """All partitions of the given topics, read_committed, for as long as it lives."""

    def __init__(self, connection: Options, group: str, topics: Sequence[str], offsets: Mapping[str, int]) -> None:
        """Begins where `offsets` ('topic/partition': next) say, else at the beginning.

        Raises Transient: no answer. Refused: not allowed. An offset that retention has passed raises Broken in `read`.
        """
        self._consumer = Consumer(consumer_options(connection, group))
        self._held: set[str] = set()
        try:
            places = [
                TopicPartition(topic, number, self._start(topic, number, offsets))
                for topic in topics for number in partitions(self._consumer, topic)
            ]  # fmt: skip
            called(lambda: self._consumer.assign(places), "assigning sanitized topics")
        except ByleaveError:
            self._consumer.close()
            raise

    def read(self, timeout_s: float) -> list[Received]:
        """The next records, at most 500. Raises Broken: records that the lake does not have are gone from the broker."""
        return sorted_out(self._consumer.consume(READ_MAX, timeout_s), "reading sanitized topics")

    def hold(self, places: Iterable[str]) -> None:
        """Reads from all partitions but these, until told otherwise."""
        wanted = set(places)
        if wanted - self._held:
            self._consumer.pause([_partition(place) for place in wanted - self._held])
        if self._held - wanted:
            self._consumer.resume([_partition(place) for place in self._held - wanted])
        self._held = wanted

    def close(self) -> None:
        self._consumer.close()

    def _start(self, topic: str, partition: int, offsets: Mapping[str, int]) -> int:
        known = offsets.get(f"{topic}/{partition}")
        return bounds(self._consumer, topic, partition)[0] if known is None else known


def _partition(place: str) -> TopicPartition:
    topic, _, partition = place.rpartition("/")
    return TopicPartition(topic, int(partition))
