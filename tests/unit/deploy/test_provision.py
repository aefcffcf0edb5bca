"""The pure part of provisioning: settings of topics, and which ACLs count as drift."""

from __future__ import annotations

import pytest
from narrowed import narrowed

from byleave.core.topics import Grant, grants, load_catalogue
from byleave.deploy import broker, provision

CATALOGUE = load_catalogue()
SITE = "byleave."


@pytest.mark.parametrize("topic", CATALOGUE.topics, ids=lambda t: t.name)
def test_a_topic_really_keeps_no_longer_than_it_says(topic) -> None:
    settings = provision.configs_of(topic)
    assert settings["message.timestamp.type"] == "LogAppendTime"
    if topic.cleanup == "delete":  # only a closed segment is deleted: so one must close well within the retention
        assert int(settings["segment.ms"]) <= max(60_000, topic.retention_ms // 10)
        assert int(settings["retention.ms"]) == topic.retention_ms
    else:
        assert (settings["retention.ms"], settings["segment.ms"]) == ("-1", "600000")


@pytest.mark.parametrize("name", ["raw.events.v1", "redactor.state.v1", "sanitized.actions.l2.v1", "review.l3.v1"])
def test_ciphertext_is_not_compressed(name: str) -> None:
    assert provision.configs_of(CATALOGUE.topic(name))["compression.type"] == "uncompressed"


def test_no_override_gives_a_topic_with_one_order_a_second_partition() -> None:
    for topic in CATALOGUE.topics:
        [found] = [t for t in narrowed(CATALOGUE, 3).topics if t.name == topic.name]
        assert found.partitions == (1 if topic.partitions == 1 else 3)


def test_no_grant_names_anything_outside_the_site_but_the_cluster_itself() -> None:
    for rule in grants(CATALOGUE, SITE, ["ep-a"]):
        assert rule.resource.startswith(SITE) or (rule.resource_type, rule.resource) == ("cluster", "kafka-cluster")
        assert rule.permission == "allow"


def rule(resource: str, **changes: str | bool) -> Grant:
    fields = {"principal": "x", "resource_type": "topic", "prefixed": False, "operation": "read", **changes}
    return Grant(resource=resource, **fields)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rule("byleave.raw.events.v1"), True),
        (rule("byleave.", prefixed=True), True),
        (rule("by", prefixed=True), True),
        (rule("*"), True),
        (rule("*", resource_type="group"), True),
        (rule("orders"), False),
        (rule("other", prefixed=True), False),
        (rule("byleave-next.raw"), False),
        (rule("byleave.raw.", permission="deny", operation="write", prefixed=True), False),  # the brake
        (rule("byleave.raw.", permission="deny", operation="read", prefixed=True), True),
        (rule("byleave.control.halt.v1", permission="deny", operation="write"), True),
        (rule("kafka-cluster", resource_type="cluster"), False),
        (rule("kafka-cluster", resource_type="cluster", principal="brake", operation="create"), True),
    ],
)
def test_what_reaches_the_site_is_drift_and_the_rest_is_not(found: Grant, expected: bool) -> None:
    assert provision._is_extra(found, SITE, {"brake"}) is expected


def test_the_broker_has_no_listener_without_tls_and_no_default_access(tmp_path) -> None:
    lines = broker.server_properties(tmp_path, broker.Ports(1111, 2222)).splitlines()
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert settings["listeners"] == "SSL://127.0.0.1:1111,CONTROLLER://127.0.0.1:2222"
    assert set(settings["listener.security.protocol.map"].split(",")) == {"SSL:SSL", "CONTROLLER:SSL"}
    assert settings["ssl.client.auth"] == "required"
    assert settings["allow.everyone.if.no.acl.found"] == "false"
    assert "ANONYMOUS" not in "".join(lines)
