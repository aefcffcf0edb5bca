"""What runs out, when, and who must sign before (P1, P2; ruling 4). Pure.

Promises  everything in the control documents that has an end stands in it: root, state, manifests in force, enrolments, the
          level policy, the redactor's key, officers' keys that have not worked for 90 days, and the certificates that the
          caller names. Consents have no end: they count until they are taken back or the manifest is another one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from byleave.control import trust
from byleave.control.documents import LevelPolicy, Root
from byleave.control.knowledge import Knowledge
from byleave.control.rollcall import rehearsed_ms
from byleave.control.roots import DAY_MS, OFFICERS
from byleave.core.errors import Forged

SOON_MS, URGENT_MS = 14 * DAY_MS, 3 * DAY_MS
REHEARSED_MS = 90 * DAY_MS
RECIPIENT_MS = 30 * DAY_MS
"""How long the redactor may open with one key: a state names it, and a state lives no longer."""


class Level(StrEnum):
    """How near the end is."""

    OK = "ok"
    SOON = "soon"
    URGENT = "urgent"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Due:
    """One thing that runs out. `ends_ms` is None for what should have happened and never did: then its level is soon."""

    what: str
    name: str
    ends_ms: int | None
    who: str
    level: Level
    days: int | None


def calendar(
    root: Root, knowledge: Knowledge, certificates: Mapping[str, int], names: Mapping[str, str], now_ms: int,
    policy: LevelPolicy | None = None,
) -> list[Due]:  # fmt: skip
    """All of it, the nearest first. `certificates`: end by name; `names`: officers by public key, where they are known."""
    rows = [*_documents(root, knowledge), *_keys(root, knowledge, names, now_ms)]
    rows += [("certificate", name, ends_ms, "whoever runs the certificate authority") for name, ends_ms in certificates.items()]
    if policy is not None:
        rows.append(("level policy", f"version {policy.version}", policy.expires_ms, _who(root, "manifest")))
    found = [
        Due(what, name, ends_ms, who, level(ends_ms, now_ms), None if ends_ms is None else (ends_ms - now_ms) // DAY_MS)
        for what, name, ends_ms, who in rows
    ]
    return sorted(found, key=lambda due: (due.ends_ms is None, due.ends_ms or 0, due.what, due.name))


def soonest(knowledge: Knowledge, now_ms: int) -> dict[str, int]:
    """Milliseconds until the first of each kind runs out, negative once it has: what the beacon service exports."""
    ends: dict[str, int] = {}
    for what, _, ends_ms, _ in (*_documents(knowledge.root, knowledge), *_keys(knowledge.root, knowledge, {}, now_ms)):
        if ends_ms is not None:
            ends[what] = min(ends_ms - now_ms, ends.get(what, ends_ms - now_ms))
    return ends


def level(ends_ms: int | None, now_ms: int) -> Level:
    """Soon at 14 days, urgent at 3."""
    if ends_ms is None:
        return Level.SOON
    left_ms = ends_ms - now_ms
    if left_ms <= 0:
        return Level.OVER
    return Level.URGENT if left_ms <= URGENT_MS else Level.SOON if left_ms <= SOON_MS else Level.OK


def _documents(root: Root, knowledge: Knowledge) -> Iterator[tuple[str, str, int | None, str]]:
    yield "root", f"version {root.version}", root.expires_ms, _who(root, "root")
    state = knowledge.state
    if state is not None:
        yield "state", f"epoch {state.epoch}", state.expires_ms, _who(root, "resume")
        for name in sorted({run.manifest for run in state.run} & knowledge.manifests.keys()):
            manifest = knowledge.manifests[name]
            yield "manifest", f"{manifest.title} ({name[:12]})", manifest.expires_ms, _who(root, "manifest")
        for key_id in sorted({run.key_id for run in state.run}):
            yield "redactor key", key_id, _day_of(key_id), f"a new key, and a state that names it: {_who(root, 'resume')}"
    for endpoint, enrolment in sorted(knowledge.enrolments.items()):
        yield "enrolment", endpoint, enrolment.until_ms, _who(root, "enrol")


def _keys(
    root: Root, knowledge: Knowledge, names: Mapping[str, str], now_ms: int
) -> Iterator[tuple[str, str, int | None, str]]:
    owners = {
        key: group for role in root.roles if role.name in OFFICERS for key, group in zip(role.keys, role.groups, strict=True)
    }
    for key, group in owners.items():
        worked_ms = rehearsed_ms(knowledge, key, now_ms)
        ends_ms = None if worked_ms is None else worked_ms + REHEARSED_MS
        yield "rehearsal", f"{names.get(key, key[:12])} ({group})", ends_ms, "its owner: byleave keys rehearse"


def _who(root: Root, name: str) -> str:
    try:
        role = trust.role_of(root, name)
    except Forged:
        return f"nobody: the root names no role {name}"
    some = f"{role.groups_min} of the groups {', '.join(sorted(set(role.groups)))}"
    return f"{role.threshold} of {len(role.keys)} of role {name}, from {some}"


def _day_of(key_id: str) -> int | None:
    """The end of a day key, from the date in its name; None if it has none."""
    try:
        day = dt.datetime.fromisoformat(key_id[-10:]).replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return int(day.timestamp() * 1000) + RECIPIENT_MS
