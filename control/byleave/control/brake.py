"""Edge: the broker's own brake, which needs no endpoint's cooperation (ruling 5, promise P2).

A halt of the whole site is one DENY WRITE for everybody on the prefix of the raw topics; a narrower one is a DENY for each
endpoint in its scope. Principal `brake` may alter ACLs and nothing else. A DENY outranks every ALLOW; only super users pass by
Kafka's own rule, and what they write is still refused at the fence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from byleave.core.kafka import Options, administered

RAW_PREFIX = "raw."
ANSWER_S_MAX = 10.0


def engage(connection: Options, site: str, names: Iterable[str]) -> int:
    """Denies WRITE on the raw topics to these endpoints, or to everybody ('*'); gives the number of rules set.

    Idempotent. Raises Transient where no broker answers; Refused where the cluster does not give principal `brake` the right:
    then the board must say so.
    """
    admin = AdminClient(dict(connection))
    futures = admin.create_acls([_rule(AclBinding, site, who) for who in names])
    return len([administered(future, "setting the broker brake", ANSWER_S_MAX) for future in futures.values()])


def release(connection: Options, site: str, names: Iterable[str]) -> int:
    """Takes back what `engage` set, and nothing else; gives the number of rules that are gone."""
    admin = AdminClient(dict(connection))
    futures = admin.delete_acls([_rule(AclBindingFilter, site, who) for who in names])
    return sum(len(administered(future, "lifting the broker brake", ANSWER_S_MAX)) for future in futures.values())


def engaged(connection: Options, site: str) -> frozenset[str]:
    """Who is denied now: principal names, or '*' for everybody."""
    admin = AdminClient(dict(connection))
    asked = admin.describe_acls(_rule(AclBindingFilter, site, None))
    found = administered(asked, "asking for the broker brake", ANSWER_S_MAX)
    return frozenset(str(rule.principal).removeprefix("User:") for rule in found)


def _rule(kind: type[Any], site: str, who: str | None) -> Any:
    """The DENY of one principal, as a rule or as the filter that finds it. As a filter, `who` None finds all of them."""
    principal, host = (None, None) if who is None else (f"User:{who}", "*")
    raw = (ResourceType.TOPIC, site + RAW_PREFIX, ResourcePatternType.PREFIXED)
    return kind(*raw, principal, host, AclOperation.WRITE, AclPermissionType.DENY)
