"""Edge: the ports of `broker.py` on confluent-kafka. Options are passed explicitly, also where the default agrees."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from byleave.core.broker import Delivered, Received
from byleave.core.errors import Broken, ByleaveError, Refused, Transient

Options = Mapping[str, str | int | bool]
Answer = TypeVar("Answer")

READ_MAX = 500
QUEUE_MESSAGES_MAX = 10_000
REQUEST_S_MAX = 10.0
ASK_AGAIN_S_MAX = 2.0
BATCH_BYTES_MAX = 16_000
"""Most that the client puts into one batch of several records. A topic's largest message bounds the batch, not the record:
above the smallest of the catalogue, a burst of small records would be refused for its size, again and again."""
PREFETCH: Options = {
    "queued.min.messages": READ_MAX,
    "queued.max.messages.kbytes": 256,
    "fetch.message.max.bytes": 65_536,
    "fetch.queue.backoff.ms": 10,
}
"""The client hands out what it has fetched in the order in which it came, over all topics: an order to stop must not wait
behind a hundred thousand requests. The backoff is how long a topic is left alone while the others fill the queue."""
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


def sorted_out(
    messages: Iterable[Message], doing: str, ended: Callable[[str, int, int], None] | None = None, *, grouped: bool = False
) -> list[Received]:
    """The records among what a client read. `ended` is told of each end of a partition: topic, partition, offset. Without a
    right to its group a client that is not `grouped` can do: assign() needs none, though the client asks for one once.

    Trouble that the client mends by itself passes. Raises Broken (`input-lost`: retention passed the reader by) and what
    `translate` makes of every other error.
    """
    found = []
    for message in messages:
        error = message.error()
        if error is None:
            found.append(received(message))
        elif error.code() == KafkaError._PARTITION_EOF:
            if ended is not None:
                ended(message.topic() or "", message.partition() or 0, message.offset() or 0)
        elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and not grouped:
            continue
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise Broken(f"{doing}: records that were due are gone, retention passed them by", reason="input-lost")
        elif error.fatal() or error.code() == KafkaError._FATAL or not (error.retriable() or error.code() in _SILENT):
            raise translate(error, doing)
    return found


def called(call: Callable[[], Answer], doing: str) -> Answer:
    """What a call of the client answers. Raises our error for the client's."""
    try:
        return call()
    except KafkaException as error:
        raise translate(error.args[0], doing) from None


def asked(question: Callable[[], Answer], doing: str, seconds: float = ASK_AGAIN_S_MAX) -> Answer:
    """As `called`, again for so long: a broker that has just started answers 'not ready'. Silence is not asked twice."""
    until_s = time.monotonic() + seconds
    while True:
        try:
            return question()
        except KafkaException as error:
            failure = translate(error.args[0], doing)
            if not isinstance(failure, Transient) or error.args[0].code() in _SILENT or time.monotonic() > until_s:
                raise failure from None
            time.sleep(0.2)


def administered(future: Future[Answer], doing: str, seconds: float) -> Answer:
    """What an administrator's request brought. Raises our error for the client's, Transient if no answer comes in time."""
    try:
        return called(lambda: future.result(timeout=seconds), doing)
    except TimeoutError:  # an OSError: whoever keeps files would take it for a full disk
        raise Transient(f"{doing}: no broker answers within {seconds:.0f} s", reason="broker") from None


def partitions(consumer: Consumer, topic: str) -> list[int]:
    """The partitions of a topic. Raises Transient, Refused."""
    doing = f"looking up {topic}"
    metadata = asked(lambda: consumer.list_topics(topic, timeout=REQUEST_S_MAX), doing).topics[topic]
    if metadata.error is not None:
        raise translate(metadata.error, doing)
    return sorted(metadata.partitions)


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset that stands in a partition, and the next one to be written. Raises Transient, Refused."""
    place, doing = TopicPartition(topic, partition), f"looking up {topic}"
    found = asked(lambda: consumer.get_watermark_offsets(place, timeout=REQUEST_S_MAX), doing)
    if found is None:
        raise Transient(f"{doing}: no answer in time", reason="broker")
    return int(found[0]), int(found[1])


class KafkaTail:
    """`broker.Tail`: assigned, never subscribed, so that no rebalance and no committed offset can hide a record.

    A topic that was made anew with fewer records than were read, or whose records were taken from under the reader, is Broken.
    """

    def __init__(self, connection: Options, group: str, topics: Sequence[str], **more: str | int | bool) -> None:
        self._consumer = Consumer(consumer_options(connection, group, **{**PREFETCH, "enable.partition.eof": True, **more}))
        self._topics = tuple(topics)
        self._ends: dict[tuple[str, int], int] = {}
        self.rewind()

    def rewind(self) -> None:
        ends: dict[tuple[str, int], int] = {}
        places = []
        for topic in self._topics:
            for partition in partitions(self._consumer, topic):
                low, high = bounds(self._consumer, topic, partition)
                places.append(TopicPartition(topic, partition, low))
                if high > low:
                    ends[topic, partition] = high
        self._ends, self._reached = ends, dict[tuple[str, int], int]()
        self._consumer.assign(places)

    def read(self, timeout_s: float) -> Sequence[Received]:
        first = self._consumer.poll(timeout_s)  # consume() alone would wait out its time, although a halt is there already
        if first is None:
            return []
        found = sorted_out([first, *self._consumer.consume(READ_MAX - 1, 0)], "reading control topics", self._passed)
        for record in found:  # the end itself is told only when the broker has nothing new for a while
            if record.offset + 1 >= self._ends.get((record.topic, record.partition), math.inf):
                del self._ends[record.topic, record.partition]
        return found

    @property
    def caught_up(self) -> bool:
        return not self._ends

    def at_end(self, topic: str) -> bool:
        _, high = bounds(self._consumer, topic, 0)
        [place] = self._consumer.position([TopicPartition(topic, 0)])
        return max(0, place.offset, self._reached.get((topic, 0), 0)) >= high

    def close(self) -> None:
        self._consumer.close()

    def _passed(self, topic: str, partition: int, offset: int) -> None:
        """An end-of-partition event: its offset counts markers and compacted records, which positions do not."""
        self._reached[topic, partition] = offset
        if offset >= self._ends.get((topic, partition), 0):
            self._ends.pop((topic, partition), None)


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
        called(lambda: self._producer.poll(0), f"writing to {topic}")

    def flush(self, timeout_s: float) -> bool:
        # a client that is spent raises here, too: the broker may have denied it while nobody wrote
        return called(lambda: self._producer.flush(timeout_s), "waiting for the broker") == 0

    def purge(self) -> None:
        """What is queued goes at once. What is on the wire is gone already; its answers are awaited, nothing is flushed."""
        self._producer.purge(in_queue=True, in_flight=False)
        until = time.monotonic() + PURGE_S_MAX
        with contextlib.suppress(KafkaException):  # a client that is spent says so instead of answering
            while len(self._producer) and time.monotonic() < until:
                self._producer.poll(0.01)
        self._producer.purge(in_queue=True, in_flight=True)
        with contextlib.suppress(KafkaException):
            self._producer.poll(0)

    def close(self) -> None:
        """Purges first: closing must not send what was not meant to be sent any more."""
        self.purge()
        with contextlib.suppress(KafkaException):
            self._producer.flush(1.0)
