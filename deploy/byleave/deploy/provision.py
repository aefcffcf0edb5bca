"""Topics and ACLs of one site, made to match the catalogue, and compared with it (promise P3).

Creates, alters and deletes only below the site prefix (ruling 5). The two cluster-wide grants of the catalogue are added where
they are missing and never taken away. A DENY is never touched: it may be the brake, and only a verified order lifts that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
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

from byleave.core.errors import Broken, Transient
from byleave.core.kafka import consumer_options
from byleave.core.topics import Catalogue, Grant, Topic, grants

REQUEST_S_MAX = 20.0
COORDINATOR_LOADING = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
    KafkaError._TIMED_OUT,
)
SEGMENT_MS_COMPACTED = 600_000
RAW_PREFIX = "raw."
REDACTOR_INPUTS = ("raw.events.v1",)

_TYPES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
_TYPE_NAMES = {kind: name for name, kind in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the catalogue and the cluster. `state` is missing, different or extra."""

    kind: str  # topic | config | acl | offset
    name: str
    state: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        detail = f": expected {self.expected}, found {self.found}" if self.state == "different" else ""
        return f"{self.state} {self.kind} {self.name}{detail}"


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One ACL as the broker has it."""

    principal: str
    resource_type: str
    resource: str
    pattern: str  # literal | prefixed
    operation: str
    permission: str = "allow"
    host: str = "*"

    def __str__(self) -> str:
        return f"{self.permission} {self.principal} {self.operation} {self.pattern} {self.resource_type} {self.resource}"


def apply(
    conf: Mapping[str, Any],
    site: str,
    catalogue: Catalogue,
    endpoints: Iterable[str],
    *,
    partitions: int | None = None,
) -> list[Drift]:
    """Makes the cluster match, as a super user, and returns what it had to change; a second run changes nothing.

    `partitions` overrides the catalogue's for topics with more than one. Raises Broken if an existing topic has another number
    of partitions (they carry state: eos rule 1), Transient if the brokers do not answer.
    """
    admin = AdminClient(dict(conf))
    fleet = tuple(endpoints)
    drifts = _check(admin, site, catalogue, fleet, partitions)
    wanted = {site + topic.name: topic for topic in catalogue.topics}
    for drift in drifts:
        if drift.kind == "topic" and drift.state == "different":
            raise Broken(f"{drift}; its partitions cannot be changed while it holds state")
    missing = [wanted[d.name] for d in drifts if d.kind == "topic" and d.state == "missing"]
    _create_topics(admin, site, missing, partitions)
    _alter_configs(admin, site, [wanted[name] for name in _topics_with_other_configs(drifts)])
    found, right = _rules(admin), rules_of(grants(catalogue, site, fleet))
    _create_acls(admin, right - found)
    _delete_acls(admin, {rule for rule in found - right if _below(rule, site) and rule.permission == "allow"})
    _commit_zero(conf, site, catalogue, partitions)
    return drifts


def check(
    conf: Mapping[str, Any],
    site: str,
    catalogue: Catalogue,
    endpoints: Iterable[str],
    *,
    partitions: int | None = None,
) -> list[Drift]:
    """Every topic, setting and ACL that is missing, different or extra, sorted. Needs only what principal `ops` may do.

    An ACL outside the prefix is named if it reaches into the site (resource `*` or a shorter prefix), though `apply` leaves it
    alone. Raises Transient if the brokers do not answer.
    """
    return _check(AdminClient(dict(conf)), site, catalogue, tuple(endpoints), partitions)


def withdraw(conf: Mapping[str, Any], site: str, granted: Iterable[Grant]) -> None:
    """Takes these grants away, those below the prefix only: the end of an endpoint, or of a trial site."""
    _delete_acls(AdminClient(dict(conf)), {rule for rule in rules_of(granted) if _below(rule, site)})


def configs_of(topic: Topic) -> dict[str, str]:
    """The topic's settings. Without `segment.ms` Kafka keeps a busy topic's records for a week, whatever its retention."""
    sealed = topic.level == 4 or topic.schema.endswith("_batch")  # ciphertext does not compress
    settings = {
        "cleanup.policy": topic.cleanup,
        "max.message.bytes": str(topic.message_bytes_max),
        "message.timestamp.type": "LogAppendTime" if topic.timestamp == "broker" else "CreateTime",
        "compression.type": "uncompressed" if sealed else "producer",
        "retention.ms": str(topic.retention_ms or -1),
    }
    if topic.cleanup == "compact":
        settings |= {"segment.ms": str(SEGMENT_MS_COMPACTED), "min.cleanable.dirty.ratio": "0.1"}
        settings |= {"segment.bytes": str(16 << 20)}
    else:
        settings |= {"segment.ms": str(min(3_600_000, max(60_000, topic.retention_ms // 10)))}
    return settings


def partitions_of(topic: Topic, override: int | None) -> int:
    """A topic of one partition has a total order that its readers rely on: no override reaches it."""
    return topic.partitions if override is None or topic.partitions == 1 else override


def rules_of(found: Iterable[Grant]) -> set[Rule]:
    """The generated grants as ACLs."""
    return {
        Rule(f"User:{g.principal}", g.resource_type, g.resource, "prefixed" if g.prefixed else "literal", g.operation)
        for g in found
    }


def _check(admin: AdminClient, site: str, catalogue: Catalogue, fleet: tuple[str, ...], partitions: int | None) -> list[Drift]:
    drifts = _topic_drifts(admin, site, catalogue, partitions)
    found, right = _rules(admin), rules_of(grants(catalogue, site, fleet))
    ours = {rule.principal for rule in right}
    drifts += [Drift("acl", str(rule), "missing") for rule in sorted(right - found)]
    drifts += [Drift("acl", str(rule), "extra") for rule in sorted(found - right) if _is_extra(rule, site, ours)]
    return drifts


def _topic_drifts(admin: AdminClient, site: str, catalogue: Catalogue, partitions: int | None) -> list[Drift]:
    existing = {n: len(t.partitions) for n, t in _metadata(admin).items() if n.startswith(site)}
    drifts: list[Drift] = []
    present = []
    for topic in catalogue.topics:
        name, count = site + topic.name, partitions_of(topic, partitions)
        if name not in existing:
            drifts.append(Drift("topic", name, "missing"))
            continue
        present.append(topic)
        if existing[name] != count:
            drifts.append(Drift("topic", name, "different", f"{count} partitions", str(existing[name])))
    known = {site + topic.name for topic in catalogue.topics}
    drifts += [Drift("topic", name, "extra") for name in sorted(existing.keys() - known)]
    return drifts + _config_drifts(admin, site, present)


def _config_drifts(admin: AdminClient, site: str, topics: list[Topic]) -> list[Drift]:
    resources = {ConfigResource(ConfigResource.Type.TOPIC, site + t.name): t for t in topics}
    if not resources:
        return []
    drifts = []
    for resource, future in admin.describe_configs(list(resources), request_timeout=REQUEST_S_MAX).items():
        found = _result(future, f"the settings of {resource.name}")
        for setting, value in configs_of(resources[resource]).items():
            if (actual := getattr(found.get(setting), "value", None)) != value:
                drifts.append(Drift("config", f"{resource.name} {setting}", "different", value, str(actual)))
    return sorted(drifts, key=lambda d: d.name)


def _topics_with_other_configs(drifts: list[Drift]) -> list[str]:
    return sorted({d.name.split(" ", 1)[0] for d in drifts if d.kind == "config"})


def _is_extra(rule: Rule, site: str, ours: set[str]) -> bool:
    """An ACL that nobody generated and that reaches this site. The brake's own DENY is not one: the board shows that."""
    if rule.permission == "deny" and rule.operation == "write" and rule.resource.startswith(site + RAW_PREFIX):
        return False
    if rule.resource_type == "cluster":
        return rule.principal in ours
    reaches = rule.resource == "*" or (rule.pattern == "prefixed" and site.startswith(rule.resource))
    return reaches or _below(rule, site)


def _below(rule: Rule, site: str) -> bool:
    return rule.resource_type != "cluster" and rule.resource.startswith(site)


def _metadata(admin: AdminClient) -> Mapping[str, Any]:
    try:
        topics: Mapping[str, Any] = admin.list_topics(timeout=REQUEST_S_MAX).topics
    except KafkaException as error:
        raise Transient(f"no broker answers ({_why(error)}); see 'byleave status' and BYLEAVE_BOOTSTRAP") from None
    return topics


def _rules(admin: AdminClient) -> set[Rule]:
    everything = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # None is "any", which the stubs do not know
        ResourcePatternType.ANY,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    bindings = _result(admin.describe_acls(everything, request_timeout=REQUEST_S_MAX), "the ACLs")
    return {
        Rule(
            b.principal,
            _TYPE_NAMES.get(b.restype, b.restype.name.lower()),
            b.name,
            b.resource_pattern_type.name.lower(),
            b.operation.name.lower(),
            b.permission_type.name.lower(),
            b.host,
        )
        for b in bindings
    }


def _create_topics(admin: AdminClient, site: str, topics: list[Topic], partitions: int | None) -> None:
    if not topics:
        return
    new = [
        NewTopic(site + t.name, num_partitions=partitions_of(t, partitions), replication_factor=-1, config=configs_of(t))
        for t in topics
    ]
    for name, future in admin.create_topics(new, operation_timeout=REQUEST_S_MAX).items():
        _result(future, f"creating {name}")


def _alter_configs(admin: AdminClient, site: str, topics: list[Topic]) -> None:
    if not topics:
        return
    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            site + topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in configs_of(topic).items()
            ],
        )
        for topic in topics
    ]
    for resource, future in admin.incremental_alter_configs(resources, request_timeout=REQUEST_S_MAX).items():
        _result(future, f"the settings of {resource.name}")


def _create_acls(admin: AdminClient, rules: set[Rule]) -> None:
    if rules:
        for future in admin.create_acls([_binding(r) for r in sorted(rules)], request_timeout=REQUEST_S_MAX).values():
            _result(future, "creating an ACL")
        _await_rules(admin, lambda found: rules <= found)


def _delete_acls(admin: AdminClient, rules: set[Rule]) -> None:
    if rules:
        filters = [_binding(r, AclBindingFilter) for r in sorted(rules)]
        for future in admin.delete_acls(filters, request_timeout=REQUEST_S_MAX).values():
            _result(future, "deleting an ACL")
        _await_rules(admin, lambda found: not rules & found)


def _await_rules(admin: AdminClient, settled: Callable[[set[Rule]], bool]) -> None:
    """The controller answers before the brokers have heard: for some 100 ms the old rules would still be in force."""
    until = time.monotonic() + REQUEST_S_MAX
    while not settled(_rules(admin)):
        if time.monotonic() > until:
            raise Transient(f"the brokers have not taken over the new ACLs in {REQUEST_S_MAX:.0f} s")
        time.sleep(0.02)


def _binding(rule: Rule, kind: type[AclBinding] | type[AclBindingFilter] = AclBinding) -> Any:
    return kind(
        _TYPES[rule.resource_type],
        rule.resource,
        ResourcePatternType[rule.pattern.upper()],
        rule.principal,
        rule.host,
        AclOperation[rule.operation.upper()],
        AclPermissionType[rule.permission.upper()],
    )


def _commit_zero(conf: Mapping[str, Any], site: str, catalogue: Catalogue, partitions: int | None) -> None:
    """The redactor takes "no committed offset" for an error, not for 0 (eos rule 9): so 0 is committed once, here.

    By a consumer that never joins: the admin client's way to ask for a group's offsets crashes the process while the group's
    coordinator is loading, as it is for a moment after a broker's start (librdkafka issue 5040).
    """
    group = site + next(p.group for p in catalogue.principals if p.name == "redactor")
    inputs = [
        TopicPartition(site + name, number)
        for name in REDACTOR_INPUTS
        for number in range(partitions_of(catalogue.topic(name), partitions))
    ]
    consumer = Consumer(consumer_options(conf, group))
    try:
        places = _when_coordinated(lambda: consumer.committed(inputs, timeout=REQUEST_S_MAX), f"the offsets of {group}")
        fresh = [TopicPartition(p.topic, p.partition, 0) for p in places if p.offset < 0]
        if fresh:
            _when_coordinated(lambda: consumer.commit(offsets=fresh, asynchronous=False), f"committing 0 for {group}")
    finally:
        consumer.close()


def _when_coordinated(ask: Callable[[], Any], what: str) -> Any:
    """Asks again while the group's coordinator is not there yet."""
    until = time.monotonic() + REQUEST_S_MAX
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_LOADING or time.monotonic() > until:
                raise Transient(f"{what}: {_why(error)}") from None
        time.sleep(0.1)


def _result(future: Any, what: str) -> Any:
    try:
        return future.result(timeout=REQUEST_S_MAX + 5)
    except KafkaException as error:
        raise Transient(f"{what}: {_why(error)}") from None
    except TimeoutError:
        raise Transient(f"{what}: no answer in {REQUEST_S_MAX + 5:.0f} s") from None


def _why(error: KafkaException) -> str:
    return str(error.args[0].name())
