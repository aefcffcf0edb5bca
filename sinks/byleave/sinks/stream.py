"""Edge: sanitized topics as the sink reads them, assigned at the offsets that the lake itself holds.

No group decides where reading begins and no offset is committed to the broker: rows and offsets live in one place (P8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from byleave.core.broker import Received
from byleave.core.errors import Transient
from byleave.core.kafka import READ_MAX, REQUEST_S_MAX, Options, consumer_options, received, translate


class SanitizedStream:
    """All partitions of the given topics, read_committed, for as long as it lives."""

    def __init__(self, connection: Options, group: str, topics: Sequence[str], offsets: Mapping[str, int]) -> None:
        """Begins where `offsets` ('topic/partition': next) say, else at the beginning.

        Raises Transient: no answer. Refused: not allowed. An offset that retention has passed raises Broken in `read`.
        """
        self._consumer = Consumer(consumer_options(connection, group))
        self._held: set[str] = set()
        try:
            places = [self._start(topic, partition, offsets) for topic in topics for partition in self._partitions(topic)]
            self._consumer.assign(places)
        except KafkaException as error:
            self._consumer.close()
            raise translate(error.args[0], "assigning sanitized topics") from None

    def read(self, timeout_s: float) -> list[Received]:
        """The next records, at most 500. Raises Broken: records that the lake does not have are gone from the broker."""
        found = []
        for message in self._consumer.consume(READ_MAX, timeout_s):
            error = message.error()
            if error is None:
                found.append(received(message))
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # assign() needs no group; the client asks for one all the same and reports the answer once
            elif not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise translate(error, "reading sanitized topics")
        return found

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

    def _partitions(self, topic: str) -> list[int]:
        metadata = self._consumer.list_topics(topic, timeout=REQUEST_S_MAX).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)

    def _start(self, topic: str, partition: int, offsets: Mapping[str, int]) -> TopicPartition:
        place = TopicPartition(topic, partition)
        known = offsets.get(f"{topic}/{partition}")
        if known is None:
            watermarks = self._consumer.get_watermark_offsets(place, timeout=REQUEST_S_MAX)
            if watermarks is None:
                raise Transient(f"{topic}: no answer in time", reason="broker")
            known = watermarks[0]
        place.offset = known
        return place


def _partition(place: str) -> TopicPartition:
    topic, _, partition = place.rpartition("/")
    return TopicPartition(topic, int(partition))
