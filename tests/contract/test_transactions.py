"""What the redactor relies on, asked of the real broker: transactions hide what they did not commit, rights are enforced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from redactor_site import partition_of

from byleave.core.kafka import BATCH_BYTES_MAX, KafkaTail, consumer_options, producer_options
from byleave.core.topics import load_catalogue

pytestmark = pytest.mark.broker
OUT, STATE, RAW = "sanitized.events.l1.v1", "redactor.state.v1", "raw.events.v1"


def transactional(kafka: Any, site: str, name: str = "redactor-t", principal: str = "redactor") -> Producer:
    return Producer(
        producer_options(kafka.conf(principal)) | {"transactional.id": site + name, "transaction.timeout.ms": 10_000}
    )


@pytest.fixture
def producer(kafka: Any, site: str) -> Producer:
    producer = transactional(kafka, site)
    producer.init_transactions(20)
    return producer


@pytest.fixture
def group(kafka: Any, site: str) -> Iterator[Consumer]:
    group = Consumer(consumer_options(kafka.conf("redactor"), f"{site}redactor") | {"group.protocol": "consumer"})
    group.subscribe([site + RAW])
    for _ in range(200):
        group.consume(1, 0.1)
        if len(group.assignment()) == 2:
            break
    yield group
    group.close()


def committed(kafka: Any, site: str, *topics: str) -> list[bytes | None]:
    tail = KafkaTail(kafka.conf("admin"), "test", [site + topic for topic in topics])
    found = []
    while not tail.caught_up:
        found += [record.value for record in tail.read(0.2)]
    tail.close()
    return found


def test_what_an_aborted_transaction_wrote_is_seen_by_nobody(kafka, site: str, producer: Producer, group: Consumer) -> None:
    place = TopicPartition(site + RAW, 0, 7, "s=1")
    producer.begin_transaction()
    producer.produce(site + OUT, b"never", b"k")
    producer.produce(site + STATE, b"never", b"k")
    producer.send_offsets_to_transaction([place], group.consumer_group_metadata(), 20)
    producer.abort_transaction(20)
    assert committed(kafka, site, OUT, STATE) == []
    assert [p.offset for p in group.committed([TopicPartition(site + RAW, 0)], 20)] == [0]


def test_outputs_state_and_offsets_appear_together(kafka, site: str, producer: Producer, group: Consumer) -> None:
    producer.begin_transaction()
    producer.produce(site + OUT, b"out", b"k")
    producer.produce(site + STATE, b"state", b"k")
    producer.flush(20)
    assert [p.offset for p in group.committed([TopicPartition(site + RAW, 0)], 20)] == [0]
    producer.send_offsets_to_transaction([TopicPartition(site + RAW, 0, 7, "s=1")], group.consumer_group_metadata(), 20)
    producer.commit_transaction(20)
    assert sorted(committed(kafka, site, OUT, STATE)) == [b"out", b"state"]
    [place] = group.committed([TopicPartition(site + RAW, 0)], 20)
    assert (place.offset, place.metadata) == (7, "s=1")


def test_a_second_producer_of_the_same_slot_fences_the_first(kafka, site: str, producer: Producer) -> None:
    producer.begin_transaction()
    producer.produce(site + OUT, b"zombie", b"k")
    producer.flush(20)
    transactional(kafka, site).init_transactions(20)
    with pytest.raises(KafkaException) as caught:
        producer.commit_transaction(20)
    assert caught.value.args[0].code() == KafkaError._FENCED
    assert committed(kafka, site, OUT) == []


def test_offsets_of_one_who_left_the_group_are_refused(site: str, producer: Producer, group: Consumer) -> None:
    member = group.consumer_group_metadata()
    group.unsubscribe()
    for _ in range(20):
        group.consume(1, 0.1)
    producer.begin_transaction()
    with pytest.raises(KafkaException):
        producer.send_offsets_to_transaction([TopicPartition(site + RAW, 0, 7)], member, 20)
    producer.abort_transaction(20)


@pytest.mark.parametrize(
    ("principal", "name"), [("redactor", "sink-0"), ("sink", "redactor-0"), ("ep-a", "redactor-0")], ids=lambda value: value
)
def test_a_transactional_id_that_is_not_ones_own_is_denied(kafka, site: str, principal: str, name: str) -> None:
    with pytest.raises(KafkaException) as caught:
        transactional(kafka, site, name, principal).init_transactions(20)
    assert caught.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_the_client_batches_less_than_the_smallest_topic_takes() -> None:
    assert min(topic.message_bytes_max for topic in load_catalogue().topics) > BATCH_BYTES_MAX


@pytest.mark.parametrize(
    ("topic", "principal", "count", "size"), [("refused.v1", "redactor", 1_000, 120), (RAW, "ep-a", 40, 40_000)]
)
def test_a_burst_of_records_is_not_refused_for_the_size_of_its_batch(kafka, site: str, topic, principal, count, size) -> None:
    producer, answers = Producer(producer_options(kafka.conf(principal))), []
    for _ in range(count):
        producer.produce(site + topic, bytes(size), b"k", on_delivery=lambda error, _: answers.append(error))
    assert producer.flush(30) == 0
    assert answers == [None] * count


def test_only_the_redactor_writes_its_outputs(kafka, site: str) -> None:
    for principal in ("ep-a", "sink", "ml"):
        producer, answers = Producer(kafka.conf(principal)), []
        with contextlib.suppress(KafkaException):  # the client may know it already
            producer.produce(site + OUT, b"v", b"k", on_delivery=lambda error, _, found=answers: found.append(error.code()))
        producer.flush(20)
        assert answers in ([], [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    assert committed(kafka, site, OUT) == []


def test_the_clients_partitioner_is_the_one_that_the_redactor_checks(kafka, site: str) -> None:
    producer, found = Producer(producer_options(kafka.conf("ep-a"))), {}
    for name in ("ep-a", "ep-b", "ep-c", "a-rather-longer-name-of-an-endpoint", "ü"):
        producer.produce(
            site + RAW, b"v", name.encode(), on_delivery=lambda _, message: found.update({message.key(): message.partition()})
        )
    assert producer.flush(20) == 0
    assert found == {key: partition_of(key, 2) for key in found}
    assert len(found) == 5
