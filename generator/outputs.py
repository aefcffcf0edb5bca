"""What follows from the catalogue and the role table: documents and manifests, as text. Reads and writes no cluster.

`byleave generate` writes them into the project; `--check` says which differ, so that none is ever edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from byleave.core.topics import ENDPOINT, SITE_DEFAULT, Catalogue, Principal, Topic, grants
from byleave.deploy.templates import fill
from generator import manifests
from generator.roles import Table


def outputs(catalogue: Catalogue, table: Table) -> dict[str, str]:
    """Every generated file: its path below the project's folder, and its text."""
    servers = [role for role in table.roles if role.where == "server"]
    units = {f"deploy/systemd/byleave-{role.name}.service": manifests.systemd(role) for role in table.roles}
    return {
        "docs/topics.md": topics_page(catalogue),
        "deploy/strimzi/topics.yaml": manifests.strimzi_topics(catalogue, SITE_DEFAULT),
        "deploy/strimzi/users.yaml": manifests.strimzi_users(catalogue, SITE_DEFAULT),
        "deploy/compose/compose.yaml": manifests.compose(servers),
        "deploy/prometheus/prometheus.yml": manifests.prometheus(table.roles),
        "deploy/prometheus/alerts.yml": manifests.alerts(table.alerts),
        **units,
    }


def stale(root: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` that are missing below `root` or differ."""
    return {path: text for path, text in wanted.items() if _read(root / path) != text}


def write(root: Path, texts: Mapping[str, str]) -> None:
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8", newline="\n")


def topics_page(catalogue: Catalogue) -> str:
    """docs/topics.md: every topic, every principal, and who may do what (promise P3, in a form to be read)."""
    principals = catalogue.principals
    return fill(
        "topics.md",
        __package__,
        site=SITE_DEFAULT,
        topics="\n".join(_topic_row(topic) for topic in catalogue.topics),
        names=" | ".join(p.name for p in principals),
        rule=" --- |" * len(principals),
        access="\n".join(_access_row(topic, catalogue) for topic in catalogue.topics),
        principals="\n".join(f"| {p.name} | {p.doc} | {_beside(p, catalogue)} |" for p in principals),
    )


def _topic_row(topic: Topic) -> str:
    kept = "newest of each key" if topic.cleanup == "compact" else _duration(topic.retention_ms)
    largest = f"{topic.message_bytes_max // 1024} KiB"
    return f"| `{topic.name}` | {topic.doc} | {topic.key} | {topic.partitions} | {kept} | {largest} | {topic.level} |"


def _access_row(topic: Topic, catalogue: Catalogue) -> str:
    cells = [
        ("W" if p.name in topic.writers else "") + ("R" if p.name in topic.readers else "") or "·" for p in catalogue.principals
    ]
    return f"| `{topic.name}` | {' | '.join(cells)} |"


def _beside(principal: Principal, catalogue: Catalogue) -> str:
    """Groups, transactional ids and cluster rights, as the grants say them."""
    name = principal.name
    found = [g for g in grants(catalogue, "", ["<its name>"]) if g.principal == ("<its name>" if name == ENDPOINT else name)]
    by_resource: dict[str, list[str]] = {}
    for grant in found:
        if grant.resource_type != "topic" or grant.prefixed:
            where = f"{grant.resource_type.replace('_', ' ')} `{grant.resource}{'*' if grant.prefixed else ''}`"
            by_resource.setdefault(where, []).append(grant.operation.replace("_", " "))
    return "; ".join(f"{where}: {', '.join(sorted(ops))}" for where, ops in sorted(by_resource.items())) or "nothing"


def _duration(ms: int) -> str:
    for unit, size in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        if ms % size == 0:
            return f"{ms // size} {unit}{'s' if ms > size else ''}"
    return f"{ms} ms"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
