"""The topic catalogue as values: what exists, who writes, who reads (promise P3).

Read once from `schemas/topics.toml`; topics, ACLs, manifests and docs are generated from it and nowhere else. Every name
carries the site prefix (ruling 5).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from byleave.core.errors import Misconfigured

ENDPOINT = "endpoint"
"""The principal name that stands for each enrolled endpoint's own certificate."""

PSEUDONYM = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
"""Of endpoints, people, teams and principals: as it stands in record keys, certificates, file names and ACLs."""
SITE_DEFAULT = "byleave."


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the catalogue; `name` is without the site prefix."""

    name: str
    doc: str
    key: str
    partitions: int
    cleanup: str
    retention_ms: int
    message_bytes_max: int
    level: int
    timestamp: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who may connect. `group` and `transactional` are prefixes, without the site."""

    name: str
    doc: str
    group: str = ""
    transactional: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One allowed operation: the unit from which ACLs and the access matrix are made. `resource` carries the site prefix.

    What a broker has may also be a denial, or for one host only; none of that is ever generated.
    """

    principal: str
    resource_type: str  # topic | group | transactional_id | cluster
    resource: str
    prefixed: bool
    operation: str
    permission: str = "allow"
    host: str = "*"

    def __str__(self) -> str:
        pattern = "prefixed" if self.prefixed else "literal"
        return f"{self.permission} User:{self.principal} {self.operation} {pattern} {self.resource_type} {self.resource}"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All topics and principals. Unknown principals in a row are refused when it is read."""

    topics: tuple[Topic, ...]
    principals: tuple[Principal, ...]

    def topic(self, name: str) -> Topic:
        for topic in self.topics:
            if topic.name == name:
                return topic
        raise Misconfigured(f"no topic {name} in the catalogue; see schemas/topics.toml")


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that ships with this version.

    Raises Misconfigured if a row names an unknown principal or lacks a field.
    """
    text = resources.files("byleave.schemas").joinpath("topics.toml").read_text(encoding="utf-8")
    return parse_catalogue(text)


def parse_catalogue(text: str) -> Catalogue:
    """Reads a catalogue from TOML text; unknown and missing fields are errors (Misconfigured)."""
    try:
        rows = tomllib.loads(text)
        principals = tuple(Principal(**row) for row in rows["principal"])
        topics = tuple(
            Topic(**{**row, "writers": tuple(row["writers"]), "readers": tuple(row["readers"])}) for row in rows["topic"]
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise Misconfigured(f"schemas/topics.toml cannot be read: {error}") from None
    known = {p.name for p in principals}
    for topic in topics:
        unknown = {*topic.writers, *topic.readers} - known
        if unknown:
            raise Misconfigured(f"topic {topic.name} names unknown principals {sorted(unknown)}")
    return Catalogue(topics, principals)


def grants(catalogue: Catalogue, site: str, endpoints: Iterable[str]) -> tuple[Grant, ...]:
    """Every operation that anybody is allowed, sorted; all else is denied by the broker's default."""
    fleet, found = tuple(endpoints), set[Grant]()

    def allow(name: str, kind: str, resource: str, *operations: str, prefixed: bool = False) -> None:
        for who in fleet if name == ENDPOINT else (name,):
            found.update(Grant(who, kind, resource, prefixed, operation) for operation in operations)

    for topic in catalogue.topics:
        for role in topic.writers:
            allow(role, "topic", site + topic.name, "write", "describe")
        for role in topic.readers:
            allow(role, "topic", site + topic.name, "read", "describe")
    for endpoint in fleet:  # librdkafka asks for a group even to assign(); a prefix would also match a neighbour's name
        allow(endpoint, "group", site + endpoint, "read", "describe")
    for principal in catalogue.principals:
        if principal.group:
            allow(principal.name, "group", site + principal.group, "read", "describe", prefixed=True)
        if principal.transactional:
            allow(principal.name, "transactional_id", site + principal.transactional, "write", "describe", prefixed=True)
    allow("brake", "cluster", "kafka-cluster", "alter", "describe")
    allow("ops", "topic", site, "describe", "describe_configs", prefixed=True)
    allow("ops", "cluster", "kafka-cluster", "describe")
    return tuple(sorted(found, key=lambda g: (g.principal, g.resource_type, g.resource, g.operation)))
