"""Edge: the broker's own brake, which needs no endpoint's cooperation (ruling 5, promise P2).

A halt of the whole site is one DENY WRITE for everybody on the prefix of the raw topics; a narrower one is a DENY for each
endpoint in its scope. Principal `brake` may alter ACLs and nothing else. A DENY outranks every ALLOW; only super users pass by
Kafka's own rule, and what they write is still refused at the fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from byleave.core.errors import Transient
from byleave.core.kafka import Options, translate

RAW_PREFIX = "raw."
ANSWER_S_MAX = 10.0


def engage(connection: Options, site: str, endpoints: Iterable[str] | None) -> int:
    """Denies WRITE on the raw topics to everybody (`endpoints` None) or to these endpoints; gives the number of rules set.

    Idempotent. Raises Transient where no broker answers; Refused where the cluster does not give principal `brake` the right:
    then the board must say so.
    """
    admin = AdminClient(dict(connection))
    _await(admin.create_acls([_deny(site, who) for who in _principals(endpoints)]), "setting the broker brake")
    return len(_principals(endpoints))


def release(connection: Options, site: str, endpoints: Iterable[str] | None) -> int:
    """Takes back what `engage` set, and nothing else; gives the number of rules that are gone."""
    admin = AdminClient(dict(connection))
    wanted = [_filter(site, who) for who in _principals(endpoints)]
    removed = _await(admin.delete_acls(wanted), "lifting the broker brake")
    return sum(len(rules) for rules in removed)


def engaged(connection: Options, site: str) -> frozenset[str]:
    """Who is denied now: principal names, or '*' for everybody."""
    admin = AdminClient(dict(connection))
    found = _answer(admin.describe_acls(_filter(site, None)), "asking for the broker brake")
    return frozenset(str(rule.principal).removeprefix("User:") for rule in found)


def _principals(endpoints: Iterable[str] | None) -> tuple[str, ...]:
    return ("*",) if endpoints is None else tuple(endpoints)


def _deny(site: str, who: str) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        site + RAW_PREFIX,
        ResourcePatternType.PREFIXED,
        f"User:{who}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )


def _filter(site: str, who: str | None) -> AclBindingFilter:
    principal: Any = None if who is None else f"User:{who}"
    anywhere: Any = None  # the stubs know no wildcard
    return AclBindingFilter(
        ResourceType.TOPIC,
        site + RAW_PREFIX,
        ResourcePatternType.PREFIXED,
        principal,
        anywhere,
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )


def _await(futures: Mapping[Any, Future[Any]], doing: str) -> list[list[Any]]:
    return [_answer(future, doing) or [] for future in futures.values()]


def _answer(future: Future[Any], doing: str) -> Any:
    try:
        return future.result(timeout=ANSWER_S_MAX)
    except KafkaException as error:
        raise translate(error.args[0], doing) from None
    except TimeoutError:  # an OSError: whoever keeps files would take it for a full disk
        raise Transient(f"{doing}: no broker answers within {ANSWER_S_MAX:.0f} s", reason="broker") from None
