"""Topics and ACLs of one site, made to match the catalogue, and compared with it (promise P3).

Creates, alters and deletes only below the site prefix (ruling 5). The two cluster-wide grants of the catalogue are added where
they are missing and never taken away. A DENY is never touched: it may be the brake, and only a verified order lifts that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, TopicPartition
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
from byleave.core.kafka import Options, administered, asked, called, consumer_options
from byleave.core.topics import Catalogue, Grant, Topic, grants

REQUEST_S_MAX = 20.0
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


def apply(conf: Options, site: str, catalogue: Catalogue, endpoints: Iterable[str]) -> list[Drift]:
    """Makes the cluster match, as a super user, and returns what it had to change; a second run changes nothing.

    Raises Broken if an existing topic has another number of partitions (they carry state: eos rule 1), Transient if the brokers
    do not answer, Refused if they deny it.
    """
    admin, right = AdminClient(dict(conf)), set(grants(catalogue, site, endpoints))
    drifts = _check(admin, site, catalogue, right)
    wanted = {site + topic.name: topic for topic in catalogue.topics}
    for drift in drifts:
        if drift.kind == "topic" and drift.state == "different":
            raise Broken(f"{drift}; its partitions cannot be changed while it holds state")
    _create_topics(admin, {d.name: wanted[d.name] for d in drifts if d.kind == "topic" and d.state == "missing"})
    altered = {d.name.split(" ", 1)[0] for d in drifts if d.kind == "config"}
    _alter_configs(admin, {name: wanted[name] for name in sorted(altered)})
    found = _rules(admin)
    excess = {rule for rule in found - right if _below(rule, site) and rule.permission == "allow"}
    change_acls(admin, right - found, excess)
    _commit_zero(conf, site, catalogue)
    return drifts


def check(conf: Options, site: str, catalogue: Catalogue, endpoints: Iterable[str]) -> list[Drift]:
    """Every topic, setting and ACL that is missing, different or extra, sorted. Needs only what principal `ops` may do.

    An ACL outside the prefix is named if it reaches into the site (resource `*` or a shorter prefix), though `apply` leaves it
    alone. Raises Transient if the brokers do not answer, Refused if they deny it.
    """
    return _check(AdminClient(dict(conf)), site, catalogue, set(grants(catalogue, site, endpoints)))


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


def _check(admin: AdminClient, site: str, catalogue: Catalogue, right: set[Grant]) -> list[Drift]:
    drifts = _topic_drifts(admin, site, {site + topic.name: topic for topic in catalogue.topics})
    found, ours = _rules(admin), {grant.principal for grant in right}
    drifts += [Drift("acl", str(rule), "missing") for rule in sorted(right - found)]
    return drifts + [Drift("acl", str(rule), "extra") for rule in sorted(found - right) if _is_extra(rule, site, ours)]


def _topic_drifts(admin: AdminClient, site: str, wanted: Mapping[str, Topic]) -> list[Drift]:
    metadata = called(lambda: admin.list_topics(timeout=REQUEST_S_MAX), "looking up the topics")
    existing = {name: len(topic.partitions) for name, topic in metadata.topics.items() if name.startswith(site)}
    drifts = [Drift("topic", name, "missing") for name in wanted if name not in existing]
    for name, topic in wanted.items():
        if existing.get(name, topic.partitions) != topic.partitions:
            drifts.append(Drift("topic", name, "different", f"{topic.partitions} partitions", str(existing[name])))
    drifts += [Drift("topic", name, "extra") for name in sorted(existing.keys() - wanted.keys())]
    return drifts + _config_drifts(admin, {name: topic for name, topic in wanted.items() if name in existing})


def _config_drifts(admin: AdminClient, topics: Mapping[str, Topic]) -> list[Drift]:
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in topics]
    futures = admin.describe_configs(resources, request_timeout=REQUEST_S_MAX) if resources else {}
    drifts = []
    for resource, future in futures.items():
        found = _answer(future, f"the settings of {resource.name}")
        for setting, value in configs_of(topics[resource.name]).items():
            if (actual := getattr(found.get(setting), "value", None)) != value:
                drifts.append(Drift("config", f"{resource.name} {setting}", "different", value, str(actual)))
    return sorted(drifts, key=lambda d: d.name)


def _is_extra(rule: Grant, site: str, ours: set[str]) -> bool:
    """An ACL that nobody generated and that reaches this site. The brake's own DENY is not one: the board shows that."""
    if rule.permission == "deny" and rule.operation == "write" and rule.resource.startswith(site + RAW_PREFIX):
        return False
    if rule.resource_type == "cluster":
        return rule.principal in ours
    reaches = rule.resource == "*" or (rule.prefixed and site.startswith(rule.resource))
    return reaches or _below(rule, site)


def _below(rule: Grant, site: str) -> bool:
    return rule.resource_type != "cluster" and rule.resource.startswith(site)


def _rules(admin: AdminClient) -> set[Grant]:
    """Every ACL of the cluster."""
    anything: Any = None  # which the stubs do not know
    everything = AclBindingFilter(
        ResourceType.ANY, anything, ResourcePatternType.ANY, anything, anything, AclOperation.ANY, AclPermissionType.ANY
    )
    return {
        Grant(
            b.principal.removeprefix("User:"), _TYPE_NAMES.get(b.restype, b.restype.name.lower()), b.name,
            b.resource_pattern_type is ResourcePatternType.PREFIXED, b.operation.name.lower(), b.permission_type.name.lower(),
            b.host,
        )
        for b in _answer(admin.describe_acls(everything, request_timeout=REQUEST_S_MAX), "the ACLs")
    }  # fmt: skip


def _create_topics(admin: AdminClient, topics: Mapping[str, Topic]) -> None:
    new = [NewTopic(name, t.partitions, replication_factor=-1, config=configs_of(t)) for name, t in topics.items()]
    for name, future in (admin.create_topics(new, operation_timeout=REQUEST_S_MAX) if new else {}).items():
        _answer(future, f"creating {name}")


def _alter_configs(admin: AdminClient, topics: Mapping[str, Topic]) -> None:
    def changes(topic: Topic) -> list[ConfigEntry]:
        wanted = configs_of(topic).items()
        return [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted]

    kind = ConfigResource.Type.TOPIC
    resources = [ConfigResource(kind, name, incremental_configs=changes(topic)) for name, topic in topics.items()]
    futures = admin.incremental_alter_configs(resources, request_timeout=REQUEST_S_MAX) if resources else {}
    for resource, future in futures.items():
        _answer(future, f"the settings of {resource.name}")


def change_acls(admin: AdminClient, missing: set[Grant], excess: set[Grant]) -> None:
    """Sets and takes away. The controller answers before the brokers have heard, so this waits until they have: for some
    100 ms the old rules would still be in force."""
    new, gone = [_binding(r) for r in sorted(missing)], [_binding(r, AclBindingFilter) for r in sorted(excess)]
    futures = list(admin.create_acls(new, request_timeout=REQUEST_S_MAX).values()) if new else []
    futures += admin.delete_acls(gone, request_timeout=REQUEST_S_MAX).values() if gone else []
    for future in futures:
        _answer(future, "changing an ACL")
    until = time.monotonic() + REQUEST_S_MAX
    while futures and not (missing <= (found := _rules(admin)) and not excess & found):
        if time.monotonic() > until:
            raise Transient(f"the brokers have not taken over the new ACLs in {REQUEST_S_MAX:.0f} s")
        time.sleep(0.02)


def admit(conf: Options, site: str, catalogue: Catalogue, endpoint: str) -> int:
    """Gives one endpoint its rights; how many were missing. Only the super user may. Raises as `apply`."""
    admin = AdminClient(dict(conf))
    wanted = {grant for grant in grants(catalogue, site, [endpoint]) if grant.principal == endpoint} - _rules(admin)
    change_acls(admin, wanted, set())
    return len(wanted)


def expel(conf: Options, site: str, principal: str) -> int:
    """Takes away whatever one principal may do below the site; how many rules that were. Gives nobody anything.

    Principal `brake` may: it only narrows. Raises as `apply`.
    """
    admin = AdminClient(dict(conf))
    held = {rule for rule in _rules(admin) if rule.principal == principal and _below(rule, site) and rule.permission == "allow"}
    change_acls(admin, set(), held)
    return len(held)


def _binding(rule: Grant, kind: type[AclBinding] | type[AclBindingFilter] = AclBinding) -> Any:
    pattern = ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL
    operation, permission = AclOperation[rule.operation.upper()], AclPermissionType[rule.permission.upper()]
    return kind(_TYPES[rule.resource_type], rule.resource, pattern, f"User:{rule.principal}", rule.host, operation, permission)


def _commit_zero(conf: Options, site: str, catalogue: Catalogue) -> None:
    """The redactor takes "no committed offset" for an error, not for 0 (eos rule 9): so 0 is committed once, here.

    By a consumer that never joins: the admin client's way to ask for a group's offsets crashes the process while the group's
    coordinator is loading, as it is for a moment after a broker's start (librdkafka issue 5040).
    """
    group = site + next(p.group for p in catalogue.principals if p.name == "redactor")
    topics = [catalogue.topic(name) for name in REDACTOR_INPUTS]
    inputs = [TopicPartition(site + topic.name, number) for topic in topics for number in range(topic.partitions)]
    consumer = Consumer(consumer_options(conf, group))

    def commit_zero() -> None:
        places = consumer.committed(inputs, timeout=REQUEST_S_MAX)
        if fresh := [TopicPartition(p.topic, p.partition, 0) for p in places if p.offset < 0]:
            consumer.commit(offsets=fresh, asynchronous=False)

    try:
        asked(commit_zero, f"committing 0 for {group}", REQUEST_S_MAX)
    finally:
        consumer.close()


def _answer(future: Any, what: str) -> Any:
    return administered(future, what, REQUEST_S_MAX + 5)
