"""The broker's brake stops endpoints that do not cooperate, touches nothing else, and is lifted only as it was set."""

from __future__ import annotations

import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from byleave.control import brake
from byleave.core.errors import Refused
from byleave.core.kafka import KafkaPublisher, consumer_options, producer_options

pytestmark = pytest.mark.broker


def offer(conf: dict, topic: str) -> str:
    """Writes one record; gives the broker's answer."""
    answers: list[str] = []
    producer = Producer(producer_options(conf, **{"message.timeout.ms": 5_000}))
    try:
        producer.produce(topic, b"v", b"k", on_delivery=lambda error, _: answers.append(error.name() if error else "written"))
    except KafkaException as error:  # a denied topic that the client remembers is raised at once
        return str(error.args[0].name())
    producer.flush(10)
    return answers[0]


def records_on(conf: dict, topic: str) -> int:
    consumer = Consumer(consumer_options(conf, "count", **{"auto.offset.reset": "earliest"}))
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1]
            for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        )
    finally:
        consumer.close()


def test_a_global_brake_denies_every_endpoint_and_leaves_nothing_behind(kafka, site) -> None:
    raw = site + "raw.events.v1"
    assert offer(kafka.conf("ep-a"), raw) == "written"
    brake.engage(kafka.conf("brake"), site, ["*"])
    try:
        assert brake.engaged(kafka.conf("brake"), site) == {"*"}
        assert {offer(kafka.conf(name), raw) for name in ("ep-a", "ep-b")} == {"TOPIC_AUTHORIZATION_FAILED"}
        assert records_on(kafka.conf("admin"), raw) == 1
    finally:
        assert brake.release(kafka.conf("brake"), site, ["*"]) == 1
    assert brake.engaged(kafka.conf("brake"), site) == frozenset()
    assert offer(kafka.conf("ep-b"), raw) == "written"


def test_a_client_that_is_denied_with_records_under_way_is_thrown_away_without_an_error(kafka, site) -> None:
    """An agent purges its client while the brake is on: a client that is spent by then must not end the agent."""
    raw = site + "raw.events.v1"
    publisher = KafkaPublisher(kafka.conf("ep-a"), **{"enable.gapless.guarantee": True, "message.timeout.ms": 30_000})
    publisher.publish(raw, b"k", b"v")
    assert publisher.flush(10)
    brake.engage(kafka.conf("brake"), site, ["*"])
    try:
        answers: list[bool] = []
        publisher.publish(raw, b"k", b"v", answers.append)
        time.sleep(0.5)  # nobody polls, so nothing tells that the denial has come
        publisher.purge()
        publisher.close()
        assert True not in answers
        assert records_on(kafka.conf("admin"), raw) == 1
    finally:
        brake.release(kafka.conf("brake"), site, ["*"])


def test_a_narrow_brake_stops_one_endpoint_only(kafka, site) -> None:
    raw = site + "raw.events.v1"
    brake.engage(kafka.conf("brake"), site, ["ep-a"])
    try:
        assert offer(kafka.conf("ep-a"), raw) == "TOPIC_AUTHORIZATION_FAILED"
        assert offer(kafka.conf("ep-b"), raw) == "written"
    finally:
        brake.release(kafka.conf("brake"), site, ["ep-a"])


def test_a_foreign_topic_is_written_throughout(kafka, site) -> None:
    foreign = f"elsewhere-{site}orders"
    admin = AdminClient(kafka.conf("admin"))
    for future in admin.create_topics([NewTopic(foreign, 1, 1)]).values():
        future.result(timeout=20)
    failures: list[str] = []
    written, stop = threading.Event(), threading.Event()

    def write_on() -> None:
        producer = Producer(producer_options(kafka.conf("admin")))
        while not stop.is_set():
            producer.produce(
                foreign, b"v", on_delivery=lambda error, _: failures.append(error.name()) if error else written.set()
            )
            producer.flush(5)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        brake.engage(kafka.conf("brake"), site, ["*"])
        written.clear()
        assert written.wait(10)  # another record was accepted after the brake was set
    finally:
        stop.set()
        writer.join(20)
        brake.release(kafka.conf("brake"), site, ["*"])
        for future in admin.delete_topics([foreign]).values():
            future.result(timeout=20)
    assert failures == []


def test_nobody_but_the_brake_may_set_it(kafka, site) -> None:
    for principal in ("ep-a", "ml", "security", "ops"):
        with pytest.raises(Refused):
            brake.engage(kafka.conf(principal), site, ["*"])
    assert brake.engaged(kafka.conf("brake"), site) == frozenset()


def test_the_brake_bites_within_a_tenth_of_a_second_of_its_answer(kafka, site) -> None:
    """Not a speed goal (bench/ has those): after `engage` has answered, no write is accepted any more."""
    raw = site + "raw.events.v1"
    producer = Producer(producer_options(kafka.conf("ep-a"), **{"message.timeout.ms": 5_000}))
    producer.produce(raw, b"v")
    producer.flush(10)
    brake.engage(kafka.conf("brake"), site, ["*"])
    answered = time.monotonic()
    try:
        accepted_after = []
        for _ in range(20):
            try:
                producer.produce(
                    raw, b"v", on_delivery=lambda e, _: accepted_after.append(time.monotonic()) if e is None else None
                )
                producer.flush(5)
            except KafkaException:
                break
        assert [at for at in accepted_after if at - answered > 0.1] == []
    finally:
        brake.release(kafka.conf("brake"), site, ["*"])
