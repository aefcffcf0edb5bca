"""Edge: the ports of `broker.py` on confluent-kafka. Options are passed explicitly, also where the default agrees."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from byleave.core.broker import Delivered, Received
from byleave.core.errors import Broken, ByleaveError, Refused, Transient

Options = Mapping[str, str | int | bool]
Answer = TypeVar("Answer")

READ_MAX = 500
QUEUE_MESSAGES_MAX = 10_000
REQUEST_S_MAX = 10.0
BATCH_BYTES_MAX = 16_000
"""Most that the client puts into one batch of several records. A topic's largest message bounds the batch, not the record:
above the smallest of the catalogue, a burst of small records would be refused for its size, again and again."""
PURGE_S_MAX = 0.3
"""How long a purge waits to learn whether the broker took what was on the wire."""

_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_SILENT = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
_FATAL = {KafkaError._FATAL, KafkaError._FENCED, KafkaError._AUTO_OFFSET_RESET, KafkaError.INVALID_PRODUCER_EPOCH}


def translate(error: KafkaError, doing: str) -> ByleaveError:
    """Our error for a client's, by what the operator does next. An event of code `_FATAL` has fatal() unset: test both."""
    name = error.name()
    if error.code() in _DENIED:
        return Refused(f"{doing}: the broker denies it ({name}); see 'byleave topics check'", reason="denied")
    if error.fatal() or error.code() in _FATAL:
        return Broken(f"{doing}: {name}; the client must be made anew", reason="client-fatal")
    if error.code() in _SILENT:
        return Transient(f"{doing}: no broker answers ({name}); see 'byleave status' and BYLEAVE_BOOTSTRAP", reason="broker")
    return Transient(f"{doing}: {name}", reason="broker")


def consumer_options(connection: Options, group: str, **more: str | int | bool) -> dict[str, str | int | bool]:
    """Options of a consumer: read_committed, no automatic commit, no automatic reset unless `more` says so."""
    return {
        **connection,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,
        "fetch.error.backoff.ms": 50,
        "allow.auto.create.topics": False,
        **more,
    }


def producer_options(connection: Options, **more: str | int | bool) -> dict[str, str | int | bool]:
    """Options of a producer: idempotent, acknowledged by all, Java's partitioner, no compression of ciphertext."""
    return {
        **connection,
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 5,
        "compression.type": "none",
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
        "message.max.bytes": 1_100_000,
        "batch.size": BATCH_BYTES_MAX,
        **more,
    }


def received(message: Message) -> Received:
    """The record of a message without error."""
    return Received(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
    )


class KafkaTail:
    """`broker.Tail`: assigned, never subscribed, so that no rebalance and no committed offset can hide a record."""

    def __init__(self, connection: Options, group: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {**consumer_options(connection, group), "auto.offset.reset": "earliest", "enable.partition.eof": True}
        )
        self._topics = tuple(topics)
        self._ends: dict[tuple[str, int], int] = {}
        self.rewind()

    def rewind(self) -> None:
        ends: dict[tuple[str, int], int] = {}
        places = []
        for topic in self._topics:
            for partition in self._partitions(topic):
                low, high = self._watermarks(topic, partition)
                places.append(TopicPartition(topic, partition, low))
                if high > low:
                    ends[topic, partition] = high
        self._ends = ends
        self._consumer.assign(places)

    def read(self, timeout_s: float) -> Sequence[Received]:
        found = []
        first = self._consumer.poll(timeout_s)  # consume() alone would wait out its time, although a halt is there already
        rest = self._consumer.consume(READ_MAX - 1, 0) if first is not None else []
        for message in [*([first] if first is not None else []), *rest]:
            error = message.error()
            if error is None:
                found.append(received(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._passed(message.topic() or "", message.partition() or 0, message.offset() or 0)
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # assign() needs no group; the client asks for one all the same and reports the answer once
            elif not error.retriable() and error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise translate(error, "reading control topics")
        return found

    @property
    def caught_up(self) -> bool:
        return not self._ends

    def close(self) -> None:
        self._consumer.close()

    def _passed(self, topic: str, partition: int, offset: int) -> None:
        """An end-of-partition event: its offset counts markers and compacted records, which positions do not."""
        if offset >= self._ends.get((topic, partition), 0):
            self._ends.pop((topic, partition), None)

    def _partitions(self, topic: str) -> list[int]:
        metadata = _asked(lambda: self._consumer.list_topics(topic, timeout=REQUEST_S_MAX), f"looking up {topic}").topics[topic]
        if metadata.error is not None:
            raise translate(metadata.error, f"looking up {topic}")
        return sorted(metadata.partitions)

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        low, high = _asked(lambda: self._consumer.get_watermark_offsets(place, timeout=REQUEST_S_MAX), f"looking up {topic}")
        return low, high


class KafkaPublisher:
    """`broker.Publisher` on an idempotent producer."""

    def __init__(self, connection: Options, **more: str | int | bool) -> None:
        self._producer = Producer(producer_options(connection, **more))

    def publish(self, topic: str, key: bytes, value: bytes | None, delivered: Delivered | None = None) -> None:
        def answered(error: KafkaError | None, _: Message) -> None:
            if delivered is not None and (error is None or error.code() != KafkaError._PURGE_INFLIGHT):
                delivered(error is None)

        try:
            self._producer.produce(topic, value, key, on_delivery=answered)
        except BufferError:
            raise Transient(f"{topic}: {QUEUE_MESSAGES_MAX} records wait already", reason="queue-full") from None
        except KafkaException as error:  # a denied topic is remembered by the client and raised here
            raise translate(error.args[0], f"writing to {topic}") from None
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> bool:
        return self._producer.flush(timeout_s) == 0

    def purge(self) -> None:
        """What is queued goes at once. What is on the wire is gone already; its answers are awaited, nothing is flushed."""
        self._producer.purge(in_queue=True, in_flight=False)
        until = time.monotonic() + PURGE_S_MAX
        while len(self._producer) and time.monotonic() < until:
            self._producer.poll(0.01)
        self._producer.purge(in_queue=True, in_flight=True)
        self._producer.poll(0)

    def close(self) -> None:
        """Purges first: closing must not send what was not meant to be sent any more."""
        self.purge()
        with contextlib.suppress(KafkaException):
            self._producer.flush(1.0)


def _asked(question: Callable[[], Answer], doing: str) -> Answer:
    """Asks up to five times: a broker that has just started answers 'not ready' for a moment. Silence is not asked twice."""
    for attempt in range(5):
        try:
            return question()
        except KafkaException as error:
            failure = translate(error.args[0], doing)
            if not isinstance(failure, Transient) or error.args[0].code() in _SILENT or attempt == 4:
                raise failure from None
            time.sleep(0.2 * (attempt + 1))
    raise Broken("unreachable")  # the loop returns or raises
