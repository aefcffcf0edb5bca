"""P3 on a real broker: who may read and write what is exactly the catalogue, and `topics check` sees every difference."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions as GroupOffsets
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from narrowed import narrowed

from byleave.core.errors import Broken, Refused
from byleave.core.topics import ENDPOINT, load_catalogue
from byleave.deploy import provision

pytestmark = pytest.mark.broker

CATALOGUE = load_catalogue()
ENDPOINTS = ("ep-a", "ep-b", "ep-c")
PARTITIONS = 2
PRINCIPALS = [("ep-a" if p.name == ENDPOINT else p.name, p.name) for p in CATALOGUE.principals]
ALLOW, DENY = AclPermissionType.ALLOW, AclPermissionType.DENY
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED


def acl(topic: str, who: str, operation: AclOperation, permission=ALLOW, pattern=LITERAL) -> AclBinding:
    return AclBinding(ResourceType.TOPIC, topic, pattern, f"User:{who}", "*", operation, permission)


def filter_of(binding: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def settle(futures) -> None:
    for future in futures.values():
        future.result(timeout=20)


@pytest.fixture
def admin(kafka) -> AdminClient:
    return AdminClient(kafka.conf("admin"))


@pytest.fixture
def temporary(admin: AdminClient) -> Iterator:
    """Adds an ACL that is taken away again after the test, since all tests share the broker."""
    added: list[AclBinding] = []

    def add(binding: AclBinding) -> None:
        settle(admin.create_acls([binding]))
        added.append(binding)

    yield add
    if added:
        settle(admin.delete_acls([filter_of(binding) for binding in added]))


def drift(kafka, site: str) -> list[str]:
    found = provision.check(kafka.conf("ops"), site, narrowed(CATALOGUE, PARTITIONS), ENDPOINTS)
    return [str(d) for d in found]


def apply(kafka, site: str) -> list[str]:
    changed = provision.apply(kafka.conf("admin"), site, narrowed(CATALOGUE, PARTITIONS), ENDPOINTS)
    return [str(d) for d in changed]


def test_a_fresh_site_is_as_the_catalogue_says_and_a_second_apply_changes_nothing(kafka, site: str) -> None:
    assert drift(kafka, site) == []
    assert apply(kafka, site) == []


def test_a_removed_acl_is_named_and_put_back(kafka, site: str, admin: AdminClient) -> None:
    removed = acl(f"{site}raw.events.v1", "redactor", AclOperation.READ)
    settle(admin.delete_acls([filter_of(removed)]))
    assert drift(kafka, site) == [f"missing acl allow User:redactor read literal topic {site}raw.events.v1"]
    apply(kafka, site)
    assert drift(kafka, site) == []


def test_an_added_acl_is_named_and_taken_away(kafka, site: str, temporary) -> None:
    temporary(acl(f"{site}raw.events.v1", "ml", AclOperation.READ))
    assert drift(kafka, site) == [f"extra acl allow User:ml read literal topic {site}raw.events.v1"]
    apply(kafka, site)
    assert drift(kafka, site) == []


@pytest.mark.parametrize(("resource", "pattern"), [("*", LITERAL), ("{half}", PREFIXED)])
def test_an_acl_that_reaches_in_from_outside_is_named_but_not_touched(
    kafka, site: str, temporary, resource: str, pattern
) -> None:
    name = resource.format(half=site[:5])
    temporary(acl(name, "ml", AclOperation.READ, pattern=pattern))
    named = f"extra acl allow User:ml read {pattern.name.lower()} topic {name}"
    assert drift(kafka, site) == [named]
    apply(kafka, site)
    assert drift(kafka, site) == [named]


def test_a_changed_setting_is_named_and_put_right(kafka, site: str, admin: AdminClient) -> None:
    longer = ConfigEntry("retention.ms", "999999999", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ConfigResource.Type.TOPIC, f"{site}raw.events.v1", incremental_configs=[longer])
    settle(admin.incremental_alter_configs([topic]))
    assert drift(kafka, site) == [f"different config {site}raw.events.v1 retention.ms: expected 86400000, found 999999999"]
    apply(kafka, site)
    assert drift(kafka, site) == []


def test_foreign_topics_and_acls_are_neither_drift_nor_touched(kafka, site: str, admin: AdminClient, temporary) -> None:
    settle(admin.create_topics([NewTopic("orders", 1, 1, config={"retention.ms": "1234"})]))
    temporary(acl("orders", "somebody", AclOperation.READ))
    try:
        assert drift(kafka, site) == []
        apply(kafka, site)
        resource = ConfigResource(ConfigResource.Type.TOPIC, "orders")
        assert admin.describe_configs([resource])[resource].result(20)["retention.ms"].value == "1234"
        assert admin.describe_acls(filter_of(acl("orders", "somebody", AclOperation.READ))).result(20)
    finally:
        settle(admin.delete_topics(["orders"]))


def test_a_topic_too_many_is_named_but_never_deleted(kafka, site: str, admin: AdminClient) -> None:
    settle(admin.create_topics([NewTopic(f"{site}stray", 1, 1)]))
    assert drift(kafka, site) == [f"extra topic {site}stray"]
    apply(kafka, site)
    assert drift(kafka, site) == [f"extra topic {site}stray"]


def test_another_number_of_partitions_stops_apply_before_it_changes_anything(kafka, site: str, admin: AdminClient) -> None:
    settle(admin.delete_acls([filter_of(acl(f"{site}raw.events.v1", "redactor", AclOperation.READ))]))
    with pytest.raises(Broken, match="partitions"):
        provision.apply(kafka.conf("admin"), site, narrowed(CATALOGUE, PARTITIONS + 1), ENDPOINTS)
    assert f"missing acl allow User:redactor read literal topic {site}raw.events.v1" in drift(kafka, site)


def test_apply_does_not_lift_the_brake(kafka, site: str, temporary, admin: AdminClient) -> None:
    brake = acl(f"{site}raw.", "*", AclOperation.WRITE, DENY, PREFIXED)
    temporary(brake)
    assert drift(kafka, site) == []
    apply(kafka, site)
    assert len(admin.describe_acls(filter_of(brake)).result(20)) == 1
    assert attempt_writes(kafka, "ep-a", [f"{site}raw.events.v1"]) == {
        f"{site}raw.events.v1": KafkaError.TOPIC_AUTHORIZATION_FAILED
    }


def test_the_redactor_starts_at_zero_and_a_second_apply_does_not_move_it_back(kafka, site: str, admin: AdminClient) -> None:
    group = f"{site}redactor"
    places = [TopicPartition(f"{site}raw.events.v1", number) for number in range(PARTITIONS)]

    def committed() -> list[int]:
        listed = admin.list_consumer_group_offsets([GroupOffsets(group, places)])[group].result(20)
        return [place.offset for place in listed.topic_partitions]

    assert committed() == [0, 0]
    moved = [TopicPartition(places[1].topic, 1, 7)]
    settle(admin.alter_consumer_group_offsets([GroupOffsets(group, moved)]))
    apply(kafka, site)
    assert committed() == [0, 7]


def test_the_time_of_a_raw_record_is_the_brokers(kafka, site: str) -> None:
    seen: list = []
    producer = Producer(kafka.conf("ep-a"))
    producer.produce(f"{site}raw.events.v1", b"x", timestamp=1000, on_delivery=lambda e, m: seen.append((e, m.timestamp()[1])))
    producer.flush(20)
    error, stamp = seen[0]
    assert error is None
    assert abs(stamp - time.time() * 1000) < 60_000


def test_a_record_over_the_topics_limit_is_refused(kafka, site: str) -> None:
    seen: list = []
    producer = Producer({**kafka.conf("ep-a"), "message.max.bytes": 1_000_000})
    limit = CATALOGUE.topic("control.ack.v1").message_bytes_max
    producer.produce(f"{site}control.ack.v1", b"x" * (limit + 1), b"k", on_delivery=lambda e, _: seen.append(e))
    producer.flush(20)
    assert seen[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def attempt_writes(kafka, who: str, topics: list[str]) -> dict[str, int | None]:
    """Topic to error code, None where the write was accepted."""
    results: dict[str, int | None] = {}
    producer = Producer({**kafka.conf(who), "message.timeout.ms": 15000})
    for topic in topics:
        done = lambda error, message: results.__setitem__(message.topic(), error and error.code())  # noqa: E731
        try:
            producer.produce(topic, b"v", b"k", on_delivery=done)
        except KafkaException as error:  # a refusal that the client has heard before is raised at once
            results[topic] = error.args[0].code()
    assert producer.flush(20) == 0
    return results


def attempt_reads(kafka, who: str, group: str, topics: list[str]) -> dict[str, int | None]:
    """Topic to error code, None where a record was handed out. Each topic holds at least one record in partition 0."""
    results: dict[str, int | None] = {}
    consumer = Consumer({**kafka.conf(who), "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        for topic in topics:  # of a topic that it may not even describe, an assigned consumer hears nothing at all
            if (error := consumer.list_topics(topic, timeout=20).topics[topic].error) is not None:
                results[topic] = error.code()
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in topics if topic not in results])
        until = time.monotonic() + 20
        while len(results) < len(topics) and time.monotonic() < until:
            for message in consumer.consume(100, 0.2):
                error = message.error()
                if error is None or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    results.setdefault(message.topic(), error and error.code())
    finally:
        consumer.close()
    return results


def test_every_principal_reads_and_writes_exactly_what_the_catalogue_says(kafka, site: str) -> None:
    full = {site + topic.name: topic for topic in CATALOGUE.topics}
    seed = Producer(kafka.conf("admin"))
    for name in full:
        seed.produce(name, b"v", b"k", partition=0)
    assert seed.flush(20) == 0
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    for who, role in PRINCIPALS:
        principal = next(p for p in CATALOGUE.principals if p.name == role)
        group = site + (principal.group or who)
        expected_writes = {name: None if role in topic.writers else denied for name, topic in full.items()}
        expected_reads = {name: None if role in topic.readers else denied for name, topic in full.items()}
        assert attempt_writes(kafka, who, list(full)) == expected_writes, who
        assert attempt_reads(kafka, who, group, list(full)) == expected_reads, who


def test_an_endpoint_may_not_join_its_neighbours_group(kafka, site: str) -> None:
    for group, expected in (("ep-b", KafkaError.GROUP_AUTHORIZATION_FAILED), ("ep-a", None)):
        consumer = Consumer({**kafka.conf("ep-a"), "group.id": site + group, "auto.offset.reset": "earliest"})
        try:
            consumer.subscribe([f"{site}control.grant.v1"])
            until = time.monotonic() + 15
            error = None
            while error is None and not consumer.assignment() and time.monotonic() < until:
                message = consumer.poll(0.1)
                error = message and message.error()
            assert (error and error.code()) == expected
            assert bool(consumer.assignment()) == (expected is None)
        finally:
            consumer.close()


@pytest.mark.parametrize(("who", "suffix"), [("redactor", "other-0"), ("ep-a", "redactor-0"), ("sink", "redactor-0")])
def test_only_the_redactor_has_transactions_and_only_under_its_own_name(kafka, site: str, who: str, suffix: str) -> None:
    Producer({**kafka.conf("redactor"), "transactional.id": f"{site}redactor-0"}).init_transactions(20)
    with pytest.raises(KafkaException) as refusal:
        Producer({**kafka.conf(who), "transactional.id": site + suffix}).init_transactions(20)
    assert refusal.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_a_principal_without_rights_can_neither_apply_nor_check(kafka, site: str) -> None:
    with pytest.raises(Refused, match="AUTHORIZATION"):
        provision.check(kafka.conf("ml"), site, narrowed(CATALOGUE, PARTITIONS), ENDPOINTS)
    with pytest.raises(Refused, match="AUTHORIZATION"):
        provision.apply(kafka.conf("ops"), f"{site[:-1]}-new.", narrowed(CATALOGUE, PARTITIONS), ENDPOINTS)
    assert not [t for t in AdminClient(kafka.conf("admin")).list_topics(timeout=20).topics if t.startswith(f"{site[:-1]}-new.")]
